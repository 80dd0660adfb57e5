"""From pictures with captions to a run that writes its own."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

from unreel import experiment, inference
from unreel.cli import main
from unreel.config import DataConfig, RunConfig, TrainingConfig
from unreel.data import AugmentConfig, PreprocessConfig, SamplingConfig
from unreel.errors import ConfigError
from unreel.inference import intervals
from unreel.models import CaptionerConfig, EncoderConfig
from unreel.models.picture import Picture
from unreel.nn import SearchConfig
from unreel.reports.gallery import SHOWN
from unreel.runs import Run, load_manifest
from unreel.tasks import CaptionConfig
from unreel.tokens import TextConfig
from unreel.training import StoppedError, fitting

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
    assert set(run.labels[2:]) == {"a", "the", "square", "at", "is", "red", "green", "blue", "left", "right"}
    numbers = run.read_json("metrics.json")
    assert numbers["test"].keys() == {
        *(f"bleu_{n}" for n in (1, 2, 3, 4)),
        "rouge_l",
        "cider",
        "cider_d",
        "distinct",
        "vocabulary",
    }
    assert numbers["controls"].keys() == {"constant", "nearest"}
    mark = numbers["test"]["cider_d"]["value"]
    assert mark > 1.5 * numbers["controls"]["constant"]["cider_d"]["value"]
    # each picture has its like on the training side, with the same two captions
    assert (
        numbers["controls"]["nearest"]["cider_d"]["value"] > 1.5 * numbers["controls"]["constant"]["cider_d"]["value"]
    )
    assert "caution" not in numbers

    rows = rows_of(run)
    assert rows[0].keys() == {"file", "start", "end", "truth", "caption", "score", "captions", "cider_d"}
    assert sum(row["cider_d"] for row in rows) / len(rows) == pytest.approx(mark, rel=1e-4)
    [best] = rows[0]["captions"]
    assert best["caption"] == rows[0]["caption"] == " ".join(word["word"] for word in best["words"])
    words = [row["captions"][0]["words"] for row in rows]
    shown = [said for said in words if any("attention" in word for word in said)]
    assert 0 < len(shown) <= 3 * SHOWN < len(rows)  # those of the gallery
    for word in shown[0]:
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
    sampled = ["--caption.search.method", "sample", "--caption.search.n_best", "2", "--caption.search.temperature", "5"]
    main(["predict", str(run.folder), *files, *sampled])
    both = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    main(["predict", str(run.folder), files[1], *sampled])
    alone = json.loads(capsys.readouterr().out)
    drawn = [[one["caption"] for one in row["captions"]] for row in (alone, both[1])]
    assert drawn[0] == drawn[1], "a draw is the clip's own"
    assert main(["predict", str(run.folder), *files, "--caption.search.beam", "0"]) == 2
    measured = inference.evaluate(run, table)
    assert measured.n == 96


def test_one_caption_for_all_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(self: Picture, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), self.linear.out_features)

    monkeypatch.setattr(Picture, "forward", blind)
    table = write_pictures(tmp_path / "pictures")
    config = captioning(table, epochs=1)
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
    run = experiment.fit(
        replace(config, model=replace(config.model, encoder=frozen), data=data), tmp_path / "run", QUIET
    )
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
    with pytest.raises(ConfigError, match=r"at the end of training\.epochs 1, got 1 and 1"):
        replace(config, caption=CaptionConfig(self_critical=1, concepts=1, concepts_first=1))
    with pytest.raises(ConfigError, match="at the begin, but not all"):
        replace(config, caption=CaptionConfig(concepts=1, concepts_first=1))


def test_labels_and_captions_are_two_things(tmp_path: Path, moving_dots: Path) -> None:
    table = write_pictures(tmp_path / "pictures", count=6)
    with pytest.raises(ConfigError, match="its labels are captions, of which the task classify can learn nothing"):
        load_manifest(tiny(table))
    with pytest.raises(ConfigError, match="the task caption needs captions"):
        load_manifest(captioning(moving_dots / "manifest.csv", epochs=1))
    run = Run(tmp_path, tiny(table), ("left", "right"), (1, SIDE, SIDE))
    with pytest.raises(ConfigError, match="a run of the task classify writes no captions"):
        run.searching(SEARCH)


def test_words_must_be_there_often_enough(tmp_path: Path) -> None:
    table = write_pictures(tmp_path / "pictures", count=12)
    config = captioning(table, epochs=1)
    config = replace(config, data=replace(config.data, text=TextConfig(min_count=99)))
    with pytest.raises(ConfigError, match="none stands there 99 times"):
        experiment.fit(config, tmp_path / "run", QUIET)


def test_long_and_foreign_captions_are_learned_from_and_kept_whole(tmp_path: Path) -> None:
    table = write_pictures(tmp_path / "pictures", count=24)
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    whole = "красный квадрат " + "очень " * 200
    for row in rows:
        row["captions"] = ["", "...", whole.strip(), "да"]
    rows[0]["captions"] = []
    rows[1]["captions"] = [" . "]
    table.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    run = experiment.fit(captioning(table, epochs=1), tmp_path / "run", QUIET)
    assert set(run.labels[2:]) == {"красный", "квадрат", "очень", "да"}
    left_out = (run.folder / "left_out.csv").read_text()
    assert "000.npy" in left_out
    assert "001.npy" in left_out
    assert all(row["truth"] == [whole.strip(), "да"] for row in rows_of(run))
    assert all(len(row["captions"][0]["words"]) <= 10 for row in rows_of(run))


def test_epochs_of_concepts_alone_write_nothing_and_stop_nothing(tmp_path: Path) -> None:
    table = write_pictures(tmp_path / "pictures", count=24)
    config = captioning(table, epochs=4, concepts=1.0, concepts_first=3)
    config = replace(config, training=replace(config.training, patience=1))
    said = Console(record=True, width=200, quiet=False, file=io.StringIO())
    run = experiment.fit(config, tmp_path / "run", said)
    lines = [line for line in said.export_text().splitlines() if line.startswith("run  epoch")]
    assert [line.split()[3] for line in lines] == ["train_concepts"] * 3 + ["train_loss"]
    assert all("val_concepts" in line for line in lines[:3])
    with (run.folder / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert [row["val_cider_d"] != "" for row in history] == [False] * 3 + [True]
    assert json.loads((run.folder / "metrics.json").read_text())["best_epoch"] == 3


class StopAfter(Callback):
    """Sends this process a SIGINT in the middle of the given step, as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_step + 1 == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def test_stopping_and_resuming_changes_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Concepts alone in the first epoch, own words among the true ones in the second, then drawn captions' rewards."""
    table = write_pictures(tmp_path / "pictures", count=24)
    config = captioning(table, epochs=3, scheduled_sampling=0.9, self_critical=1, concepts=0.5, concepts_first=1)
    config = replace(config, model=replace(config.model, dropout=0.2))
    experiment.fit(config, tmp_path / "undisturbed", QUIET)
    build = fitting.build_trainer

    def build_stopping(*arguments):
        trainer = build(*arguments)
        trainer.callbacks.insert(0, StopAfter(trainer_steps.pop(0)))
        return trainer

    trainer_steps = [3, 6]
    monkeypatch.setattr(fitting, "build_trainer", build_stopping)
    with pytest.raises(StoppedError, match="after step 3"):
        experiment.fit(config, tmp_path / "run", QUIET)
    with pytest.raises(StoppedError, match="after step 6"):
        experiment.resume(tmp_path / "run", QUIET)
    monkeypatch.setattr(fitting, "build_trainer", build)
    experiment.resume(tmp_path / "run", QUIET)
    for name in ("weights.safetensors", "checkpoint.safetensors"):
        first, second = (load_file(tmp_path / folder / name) for folder in ("undisturbed", "run"))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)
    tables = [(tmp_path / name / "history.csv").read_text().splitlines() for name in ("undisturbed", "run")]
    histories = [list(csv.DictReader(table)) for table in tables]
    kept = ("epoch", "step", "val_loss", "val_cider_d", "val_constant_cider_d")
    assert [[row[key] for key in kept] for row in histories[0]] == [[row[key] for key in kept] for row in histories[1]]
    losses = [{name: row[f"train_{name}"] != "" for name in ("concepts", "loss", "reward")} for row in histories[0]]
    assert [list(epoch.values()) for epoch in losses] == [[True, False, False], [True, True, False], [True, True, True]]
    assert 0 < float(histories[0][2]["train_reward"]) < 10
    rows = [(tmp_path / name / "predictions.jsonl").read_text() for name in ("undisturbed", "run")]
    assert rows[0] == rows[1]
    steps = {
        key: value
        for key, value in first.items()
        if key.startswith("/optimizer_states/0/state/") and key.endswith("/step")
    }
    assert {int(value) for value in steps.values()} == {4}, (
        "four in the epoch of rewards: what Adam knew before is forgotten"
    )
    concepts = [float(row["train_concepts"]) for row in histories[0]]
    assert concepts[2] < concepts[1] < concepts[0]


@pytest.mark.parametrize(
    ("strategy", "processes", "refused"), [("ddp", 2, True), ("auto", 2, True), ("auto", 1, False)]
)
def test_concepts_first_in_several_processes_is_refused_before_it_fails(
    strategy: str, processes: int, refused: bool
) -> None:
    config = RunConfig(
        task="caption",
        data=DataConfig("films"),
        model=CaptionerConfig(),
        caption=CaptionConfig(concepts=1.0, concepts_first=1),
        training=TrainingConfig(strategy=strategy),
    )
    told = pytest.raises(ConfigError, match=r"set training\.strategy ddp_find_unused_parameters_true")
    with told if refused else nullcontext():
        fitting.refuse_unused_parameters(config, processes)
