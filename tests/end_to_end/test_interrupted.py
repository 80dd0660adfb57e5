"""What a kill may leave behind before and after training, and how one goes on from it."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from unreel import experiment
from unreel.errors import RunError

from tiny import tiny  # isort: skip

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def dots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from conftest import write_moving_dots

    return write_moving_dots(tmp_path_factory.mktemp("interrupted") / "dots")


def test_before_training_the_same_command_begins_anew(dots: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    # what an earlier command, on other data, has seen: of no use now
    (run / "data.json").write_text('{"files": [], "classes": {}, "small": [], "identical": [], "near": []}')
    with pytest.raises(RunError, match="stopped before training began"):
        experiment.resume(run, QUIET)
    experiment.fit(tiny(dots, epochs=1), run, QUIET)
    assert '"left"' in (run / "data.json").read_text()


@pytest.mark.parametrize("name", ["data.json", "config.yaml", "manifest.csv", "metrics.json"])
def test_no_file_is_ever_half_written(dots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    replaced = os.replace

    def killed_before(source: Path, target: Path) -> None:
        if Path(target).name == name:
            raise KeyboardInterrupt
        replaced(source, target)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed_before)
        with pytest.raises(KeyboardInterrupt):
            experiment.fit(tiny(dots, epochs=1), run, QUIET)
    assert not (run / name).exists()
    if (run / "config.yaml").exists():
        experiment.resume(run, QUIET)
    else:
        experiment.fit(tiny(dots, epochs=1), run, QUIET)
    assert (run / "report.html").is_file()
    assert not list(run.rglob("*.partial*"))


def test_a_report_that_was_not_written_is(dots: Path, tmp_path: Path) -> None:
    run = experiment.fit(tiny(dots, epochs=1), tmp_path / "run", QUIET)
    (run.folder / "report.html").unlink()
    experiment.resume(run.folder, QUIET)
    assert (run.folder / "report.html").is_file()


@pytest.mark.skipif(os.sep != "/", reason="needs a file system that takes any bytes as a name")
def test_names_that_are_no_text_are_left_out_and_listed(dots: Path, tmp_path: Path) -> None:
    data = shutil.copytree(dots, tmp_path / "dots")
    (data / "manifest.csv").unlink()
    whole = next(path for path in (data / "left").iterdir())
    (data / "left" / os.fsdecode(b"\xff.npy")).write_bytes(whole.read_bytes())
    run = experiment.fit(tiny(data, epochs=1), tmp_path / "run", QUIET)
    with (run.folder / "left_out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["reason"][:24]) for row in rows] == [(r"left/\udcff.npy", "expected a name in UTF-8")]
    assert r"\udcff.npy" in (run.folder / "report.html").read_text(encoding="utf-8")
