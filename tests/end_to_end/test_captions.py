"""From pictures with captions to a run that writes its own."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from unreel import experiment, inference
from unreel.cli import main
from unreel.config import RunConfig
from unreel.data import AugmentConfig, PreprocessConfig, SamplingConfig
from unreel.errors import ConfigError
from unreel.inference import intervals
from unreel.models import CaptionerConfig, EncoderConfig
from unreel.nn import SearchConfig
from unreel.runs import Run
from unreel.tasks import CaptionConfig
from unreel.tokens import TextConfig

from captioned_pictures import SIDE, write_pictures  # isort: skip
from tiny import tiny  # isort: skip

QUIET = Console(quiet=True)
SEARCH = SearchConfig("beam", beam=3, max_length=10)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 20)


def captioning(path: Path, epochs: int, form: str = "show_and_tell", **caption: object) -> RunConfig:
    config = tiny(path, epochs, sampling=SamplingConfig("all"), augment=AugmentConfig(), cache="memory")
    data = replace(
        config.data,
        preprocess=PreprocessConfig(size=(SIDE, SIDE)),
        text=TextConfig(rule="ptb", min_count=1),
        batch_size=3,
    )
    model = CaptionerConfig(
        encoder=EncoderConfig(channels=(8,), features=16), form=form, embedding_size=16, hidden_size=24, dropout=0.0
    )
    return replace(
        config,
        task="caption",
        data=data,
        model=model,
        caption=CaptionConfig(search=SEARCH, **caption),
        optim=replace(config.optim, lr=0.02),
    )


def rows_of(run: Run) -> list[dict]:
    return [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text().splitlines()]


def test_pictures_are_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_pictures(tmp_path / "pictures", count=96)
    run = experiment.fit(captioning(table, epochs=6, form="attention"), tmp_path / "run", QUIET)
    assert run.labels[:2] == ("<pad>", "<unk>")
    assert set(run.labels[2:]) == set("a the square at is red green blue left right".split())
    numbers = run.read_json("metrics.json")
    assert numbers["test"].keys() == {
        *(f"bleu_{n}" for n in (1, 2, 3, 4)), "rouge_l", "cider", "cider_d", "distinct", "vocabulary"
    }
    assert numbers["controls"].keys() == {"constant", "nearest"}
    mark = numbers["test"]["cider_d"]["value"]
    assert mark > 2 * numbers["controls"]["constant"]["cider_d"]["value"]
    assert "caution" not in numbers

    rows = rows_of(run)
    assert rows[0].keys() == {"file", "start", "end", "truth", "caption", "score", "captions", "cider_d"}
    assert sum(row["cider_d"] for row in rows) / len(rows) == pytest.approx(mark, rel=1e-4)
    assert sum(row["caption"] in [text.rstrip(" .") for text in row["truth"]] for row in rows) / len(rows) > 0.8
    [best] = rows[0]["captions"]
    assert best["caption"] == rows[0]["caption"] == " ".join(word["word"] for word in best["words"])
    for word in best["words"]:
        assert word["log_prob"] <= 0
        assert len(word["attention"]) == 1
        assert sum(word["attention"][0]) == pytest.approx(1, abs=1e-2)

    with (run.folder / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert {"val_cider_d", "val_distinct", "val_constant_cider_d", "val_loss"} <= history[0].keys()
    assert len({row["val_constant_cider_d"] for row in history}) == 1
    assert float(history[-1]["val_loss"]) < 0.5 * float(history[0]["val_loss"])
    assert "cider_d" in experiment.headline(run.folder)
    assert (run.folder / "report.html").is_file()

    # what flags ask for, at the verbs
    files = [str(tmp_path / "pictures" / rows[place]["file"]) for place in (0, 1)]
    assert main(["predict", str(run.folder), *files]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["caption"] for row in said] == [row["caption"] for row in rows[:2]]
    assert main(["predict", str(run.folder), *files, "--caption.search.n_best", "3"]) == 0
    several = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [len(row["captions"]) for row in several] == [3, 3]
    assert [row["caption"] for row in several] == [row["caption"] for row in rows[:2]]
    sampled = "--caption.search.method sample --caption.search.n_best 2 --caption.search.temperature 5".split()
    main(["predict", str(run.folder), *files, *sampled])
    both = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    main(["predict", str(run.folder), files[1], *sampled])
    assert json.loads(capsys.readouterr().out)["captions"] == both[1]["captions"], "a draw is the clip's own"
    assert main(["predict", str(run.folder), *files, "--caption.search.beam", "0"]) == 2
    measured = inference.evaluate(run, table)
    assert measured.n == 96


def test_one_caption_for_all_is_told(tmp_path: Path) -> None:
    table = write_pictures(tmp_path / "pictures")
    config = captioning(table, epochs=1)
    config = replace(config, optim=replace(config.optim, lr=1e-7))
    told = Console(file=io.StringIO(), width=400)
    run = experiment.fit(config, tmp_path / "run", told)
    assert "captions are almost all the same: 1 different of" in told.file.getvalue()  # type: ignore[attr-defined]
    assert run.read_json("metrics.json")["caution"].startswith("captions are almost all the same")


def test_clips_have_a_control_without_order(tmp_path: Path) -> None:
    table = write_pictures(tmp_path / "films", count=24, frames=4)
    config = captioning(table, epochs=1, form="encoder_decoder")
    config = replace(config, training=replace(config.training, control=True))
    run = experiment.fit(config, tmp_path / "run", QUIET)
    numbers = run.read_json("metrics.json")
    assert numbers["controls"].keys() == {"constant", "nearest", "unordered_frames"}
    assert "attention" not in rows_of(run)[0]["captions"][0]["words"][0]


def test_features_of_a_frozen_encoder_are_kept(tmp_path: Path) -> None:
    table = write_pictures(tmp_path / "pictures", count=24)
    config = captioning(table, epochs=1, form="attention")
    frozen = EncoderConfig("test_resnet", frozen=True)
    data = replace(config.data, cache="none", preprocess=PreprocessConfig(size=(32, 32)))
    run = experiment.fit(replace(config, model=replace(config.model, encoder=frozen), data=data), tmp_path / "run", QUIET)
    assert len([file for file in (run.folder / "cache" / "features").rglob("*") if file.is_file()]) >= 18
    assert run.read_json("metrics.json")["n_test"] == 6


def test_task_and_model_belong_together(tmp_path: Path) -> None:
    config = captioning(tmp_path, epochs=1)
    for wrong in ({"task": "classify"}, {"model": tiny(tmp_path).model}):
        with pytest.raises(ConfigError, match="belong together"):
            replace(config, **wrong)
    with pytest.raises(ConfigError, match="no classes to balance"):
        replace(config, data=replace(config.data, balance="loss"))
    with pytest.raises(ConfigError, match="one answer a clip"):
        replace(config, training=replace(config.training, through_time="recompute"))
    with pytest.raises(ConfigError, match=r"epochs at the end of training\.epochs 1, got 2"):
        replace(config, caption=CaptionConfig(self_critical=2))


def test_words_must_be_there_often_enough(tmp_path: Path) -> None:
    table = write_pictures(tmp_path / "pictures", count=12)
    config = captioning(table, epochs=1)
    config = replace(config, data=replace(config.data, text=TextConfig(min_count=99)))
    with pytest.raises(ConfigError, match="none stands there 99 times"):
        experiment.fit(config, tmp_path / "run", QUIET)
