"""Explaining a run's clips: what is asked for, what comes back, and what is refused."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unreel import experiment
from unreel.data import Broken
from unreel.errors import ConfigError
from unreel.inference import Explanation, explain, predict
from unreel.runs import Run

from conftest import write_moving_dots  # isort: skip
from tiny import tiny  # isort: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("explain")
    config = tiny(write_moving_dots(folder / "dots"), epochs=1)
    return experiment.fit(replace(config, model=replace(config.model, pool="attention")), folder / "run")


def test_a_side_of_the_run(run: Run) -> None:
    found = list(explain(run, side="test"))
    assert len(found) == len(run.splits().test)
    said = {row["file"]: row for row in predict(run, [run.root / "left", run.root / "right"])}
    for one in found:
        assert isinstance(one, Explanation)
        row = json.loads(json.dumps(one.row()))
        wanted = said[str(run.root / row["file"])]
        assert row["target"] == wanted["label"] == row["said"]["label"]
        assert row["said"]["scores"] == pytest.approx(wanted["scores"], abs=1e-5)
        assert row["truth"] == Path(row["file"]).parts[0]
        for shares in (row["importance"], row["attention"]):
            assert len(shares) == len(row["times"]) == 4
            assert sum(shares) == pytest.approx(1) or not any(shares)
        assert len(row["occlusion"]["frames"]) == 4
        assert np.shape(row["occlusion"]["patches"]) == (7, 7)
        assert set(row["agreement"]) == {"frames", "patches"}
        assert one.heat is not None
        assert one.heat.shape == (4, 8, 8)
        assert one.frames.shape == (4, 1, 8, 8)


def test_another_target_is_another_explanation(run: Run) -> None:
    file = run.root / run.splits().test[0].path
    [left], [right] = (list(explain(run, [file], target=label)) for label in ("left", "right"))
    assert isinstance(left, Explanation)
    assert isinstance(right, Explanation)
    assert (left.target, right.target) == ("left", "right")
    scores = left.said["scores"]
    assert left.score - right.score == pytest.approx(np.log(scores["left"] / scores["right"]), abs=1e-4)
    assert left.truth == {}
    assert not torch.equal(left.importance, right.importance)
    [average] = explain(run, [file], target="left", method="grad_cam")
    assert isinstance(average, Explanation)
    assert not torch.equal(left.importance, average.importance)


def test_what_cannot_be_explained_is_told_and_stops_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.npy").write_bytes(b"nothing")
    np.save(tmp_path / "b.npy", np.zeros((5, 1, 8, 8), np.uint8))
    broken, fine = explain(run, [tmp_path])
    assert isinstance(broken, Broken)
    assert Path(broken.path).name == "a.npy"
    assert isinstance(fine, Explanation)
    monkeypatch.setattr(sys.modules["unreel.inference.explain"], "LONG_FRAMES", 3)
    _, long = explain(run, [tmp_path])
    assert isinstance(long, Broken)
    assert re.match(r"4 frames are more than the 3 that are held .* say --most 4", long.reason)
    _, held = explain(run, [tmp_path], most=4)
    assert isinstance(held, Explanation)
    assert torch.equal(held.importance, fine.importance)


def test_what_is_refused(run: Run, tmp_path: Path) -> None:
    for given in ({}, {"paths": [tmp_path], "side": "test"}):
        with pytest.raises(ConfigError, match="either files or one of the run's own sides"):
            explain(run, **given)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"target must be a label of the run, left, right; got 'lift'.*mean left"):
        explain(run, side="test", target="lift")
    with pytest.raises(ConfigError, match="a side is one of train, val, test, got 'tests' - did you mean test"):
        explain(run, side="tests")
    with pytest.raises(ConfigError, match="at least 1 frame"):
        explain(run, side="test", most=0)
    with pytest.raises(ConfigError, match="found none"):
        explain(run, [tmp_path])


def test_the_report_of_a_run_shows_why(run: Run) -> None:
    folder = run.folder / "explanations"
    rows = [json.loads(line) for line in (folder / "explanations.jsonl").read_text("utf-8").splitlines()]
    assert 1 <= len(rows) <= 6
    assert all((folder / row["picture"]).read_bytes().startswith(b"\x89PNG") for row in rows)
    page = (run.folder / "report.html").read_text("utf-8")
    assert page.count('<figure class="why">') == len(rows)
    assert '<a href="#explanations">' in page
