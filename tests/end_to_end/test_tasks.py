"""The road from clips to a report, for every task and for every setting that turns off it and must come back."""

from __future__ import annotations

import csv
import json
import math
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file

from unreel import experiment, inference, training
from unreel.config import RunConfig
from unreel.data import AugmentConfig, ManifestConfig, SamplingConfig, SplitConfig, load, split
from unreel.inference import intervals
from unreel.inference.intervals import mean_interval
from unreel.models import EncoderConfig
from unreel.runs import Run, load_manifest
from unreel.training import features, fitting

from conftest import write_moving_dots  # isort: skip
from tiny import tiny  # isort: skip

QUIET = Console(quiet=True)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The intervals have tests of their own."""
    monkeypatch.setattr(intervals, "RESAMPLES", 20)


@pytest.fixture(scope="module")
def dots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_moving_dots(tmp_path_factory.mktemp("tasks") / "dots")


def relabelled(dots: Path, name: str, columns: list[str], rows: Callable[[dict[str, str]], list[list[Any]]]) -> Path:
    """Another table beside the manifest: for each of its rows those that `rows` says, after path and group."""
    path = dots / name
    with (dots / "manifest.csv").open() as source, path.open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["path", "group", *columns])
        for row in csv.DictReader(source):
            writer.writerows([row["path"], row["group"], *more] for more in rows(row))
    return path


def trained(config: RunConfig, folder: Path) -> Run:
    """Train and no more: neither measures nor report."""
    manifest = load_manifest(config)
    run = Run.create(folder, config, *experiment.look(config, manifest))
    run.write_splits(manifest, split(manifest, config.data.split))
    training.fit(run, run.splits(), QUIET)
    return run


def history(run: Run) -> list[dict[str, str]]:
    """The rows of history.csv without the seconds."""
    rows = csv.DictReader((run.folder / "history.csv").read_text().splitlines())
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def assert_same(one: Run, two: Run) -> None:
    first, second = load_file(one.weights), load_file(two.weights)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert history(one) == history(two)


def with_training(config: RunConfig, **settings: Any) -> RunConfig:
    return replace(config, training=replace(config.training, **settings))


def metrics(run: Run) -> dict[str, Any]:
    numbers = run.read_json("metrics.json")
    assert (run.folder / "report.html").stat().st_size > 5_000
    return numbers


def test_classify_with_its_control(dots: Path, tmp_path: Path) -> None:
    run = experiment.fit(with_training(tiny(dots), control=True), tmp_path / "run", QUIET)
    numbers = metrics(run)
    assert numbers["task"] == "classify"
    assert numbers["controls"].keys() == {"majority", "per_frame_cnn"}
    for measures in (numbers["test"], *numbers["controls"].values()):
        assert measures.keys() == {"accuracy", "macro_f1", "auroc"}
        assert all(0 <= value["low"] <= value["value"] <= value["high"] <= 1 for value in measures.values())
    control = Run.load(run.folder / "control")
    assert control.config.model.recurrence == "none"
    assert control.splits() == run.splits()
    assert numbers["controls"]["per_frame_cnn"] == inference.evaluate(control).to_json()["test"]


def test_multilabel(dots: Path, tmp_path: Path) -> None:
    several = {"left": "moves;to the left", "right": "moves"}
    path = relabelled(dots, "multilabel.csv", ["labels"], lambda row: [[several[row["label"]]]])
    config = replace(tiny(path), task="multilabel", model=tiny(path).model)
    run = experiment.fit(config, tmp_path / "run", QUIET)
    assert run.labels == ("moves", "to the left")
    assert metrics(run)["test"].keys() == {"macro_ap", "macro_f1", "auroc", "accuracy"}
    [row] = inference.predict(run, [dots / "left" / "s00_0.npy"])
    assert row["labels"] == [name for name in run.labels if row["scores"][name] >= 0.5]
    assert row["scores"]["moves"] > 0.5, "every clip moves"
    stored = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text().splitlines()]
    assert {tuple(row["truth"]) for row in stored} <= {("moves",), ("moves", "to the left")}


def test_regress(dots: Path, tmp_path: Path) -> None:
    """The number is the count of frames, in units far from those of the net."""
    path = relabelled(dots, "regress.csv", ["label"], lambda row: [[1000 + 100 * len(np.load(dots / row["path"]))]])
    config = tiny(path, epochs=3, sampling=SamplingConfig("all"), augment=AugmentConfig())
    run = experiment.fit(replace(config, task="regress"), tmp_path / "run", QUIET)
    numbers = metrics(run)
    assert run.labels == ("value",)
    assert numbers["test"].keys() == {"mae", "rmse", "r2"}
    assert numbers["controls"].keys() == {"mean"}
    assert numbers["controls"]["mean"]["r2"]["value"] <= 0.0
    assert numbers["test"]["mae"]["value"] < 150
    truth = [float(example.labels[0]) for example in run.splits().train]
    mean = sum(truth) / len(truth)
    off = [abs(float(example.labels[0]) - mean) for example in run.splits().test]
    assert numbers["controls"]["mean"]["mae"]["value"] == pytest.approx(sum(off) / len(off), rel=1e-5)
    [row] = inference.predict(run, [dots / "left" / "s00_0.npy"])
    assert 1300 < row["values"][0] < 1700


def test_tag(dots: Path, tmp_path: Path) -> None:
    """Two frames of way, then rest, and of the last frame nothing is said."""

    def rows(row: dict[str, str]) -> list[list[Any]]:
        length = len(np.load(dots / row["path"]))
        return [[row["label"], 0, 2], ["rest", 2, length - 1]]

    path = relabelled(dots, "tag.csv", ["label", "start", "end"], rows)
    config = tiny(path, epochs=6, sampling=SamplingConfig("all"), augment=AugmentConfig())
    run = experiment.fit(replace(config, task="tag"), tmp_path / "run", QUIET)
    numbers = metrics(run)
    assert run.labels == ("left", "rest", "right")
    stored = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text().splitlines()]
    known = [(truth, said) for row in stored for truth, said in zip(row["truth"], row["labels"], strict=True) if truth]
    assert numbers["n_test"] == len(known) == np.sum(numbers["confusion"])
    assert numbers["test"]["accuracy"]["value"] == pytest.approx(np.mean([truth == said for truth, said in known]))
    assert all(row["truth"][-1] is None and None not in row["truth"][:-1] for row in stored)
    assert all(row["truth"][2:-1] == ["rest"] * (len(row["truth"]) - 3) for row in stored)
    clip = dots / "right" / "s00_1.npy"
    [row] = inference.predict(run, [clip])
    length = len(np.load(clip))
    assert row["times"] == list(range(length))
    assert len(row["labels"]) == length
    assert {len(scores) for scores in row["scores"].values()} == {length}
    np.testing.assert_allclose(np.sum(list(row["scores"].values()), 0), 1, atol=1e-6)


def test_several_seeds_and_folds(dots: Path, tmp_path: Path) -> None:
    config = replace(tiny(dots, epochs=1, split=SplitConfig(folds=2)), seeds=2, seed=5)
    experiment.fit(config, tmp_path / "run", QUIET)
    names = [f"fold{fold}-seed{seed}" for fold in (0, 1) for seed in (5, 6)]
    assert sorted(path.parent.name for path in (tmp_path / "run").glob("*/metrics.json")) == names
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [run["name"] for run in summary["runs"]] == names
    accuracies = [metrics(Run.load(tmp_path / "run" / name))["test"]["accuracy"]["value"] for name in names]
    assert summary["test"]["accuracy"]["value"] == pytest.approx(np.mean(accuracies))
    assert summary["test"]["accuracy"]["n"] == 4
    over_folds = mean_interval([np.mean(accuracies[:2]), np.mean(accuracies[2:])])
    assert summary["test"]["accuracy"]["low"] == pytest.approx(over_folds.low)
    assert summary["controls"].keys() == {"majority"}
    tested = [
        {example.path for example in Run.load(tmp_path / "run" / f"fold{fold}-seed5").splits().test} for fold in (0, 1)
    ]
    assert not tested[0] & tested[1]
    assert len(tested[0] | tested[1]) == 24
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in names)
    weights = [load_file(tmp_path / "run" / f"fold0-seed{seed}" / "weights.safetensors") for seed in (5, 6)]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("policy", ["uniform", "segment"])
def test_features_of_a_frozen_encoder_change_nothing(
    dots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    config = tiny(dots, sampling=SamplingConfig(policy, frames=3), augment=AugmentConfig())  # type: ignore[arg-type]
    model = replace(config.model, encoder=EncoderConfig("resnet10t", frozen=True), dropout=0.0)  # masks may differ
    config = replace(
        config, model=model, data=replace(config.data, preprocess=replace(config.data.preprocess, size=(32, 32)))
    )
    # Adam would make a step of the sign of a gradient that is almost zero
    config = replace(config, optim=replace(config.optim, optimizer="sgd"))
    assert features.features_stay(config)
    cached = trained(config, tmp_path / "cached")
    assert any((tmp_path / "cached" / "cache" / "features").rglob("*.npy"))
    monkeypatch.setattr(fitting, "features_stay", lambda config: False)
    direct = trained(config, tmp_path / "direct")
    assert not (tmp_path / "direct" / "cache").exists()
    first, second = load_file(cached.weights), load_file(direct.weights)
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-5)
    for one, two in zip(history(cached), history(direct), strict=True):
        for name in ("train_loss", "val_loss", "val_accuracy"):
            assert float(one[name]) == pytest.approx(float(two[name]), abs=1e-5)


def test_features_are_not_kept_where_they_do_not_stay(dots: Path) -> None:
    frozen = replace(tiny(dots).model, encoder=EncoderConfig("resnet10t", frozen=True))
    config = replace(tiny(dots, augment=AugmentConfig()), model=frozen)
    assert features.features_stay(config)
    partly = replace(frozen, encoder=replace(frozen.encoder, unfreeze_from="layer4"))
    differences = replace(frozen, input="difference")
    for changed in (
        tiny(dots, augment=AugmentConfig()),
        replace(tiny(dots), model=frozen),
        replace(config, model=partly),
        replace(config, model=differences),
    ):
        assert not features.features_stay(changed)
    always = replace(config.data, sampling=SamplingConfig("uniform"))
    assert features.features_stay(replace(config, model=differences, data=always))


def test_caches_change_nothing(dots: Path, tmp_path: Path) -> None:
    runs = [trained(tiny(dots, cache=cache), tmp_path / cache) for cache in ("none", "disk", "memory")]
    assert any((tmp_path / "disk" / "cache" / "frames").rglob("*.npy"))
    assert not (tmp_path / "memory" / "cache").exists()
    assert_same(runs[0], runs[1])
    assert_same(runs[0], runs[2])


@pytest.mark.parametrize("balance", ["sampler", "loss"])
def test_balance(dots: Path, tmp_path: Path, balance: str) -> None:
    """Right is rare: what is told of it must weigh as much as what is told of left."""
    with (dots / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    rare = [row for index, row in enumerate(rows) if row["label"] == "left" or index % 6 == 1]
    path = dots / f"rare-{balance}.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "label", "group"])
        writer.writeheader()
        writer.writerows(rare)
    run = trained(tiny(path, epochs=1, balance=balance), tmp_path / "run")
    plain = trained(tiny(path, epochs=1), tmp_path / "plain")
    assert any(
        not torch.equal(weight, load_file(plain.weights)[name]) for name, weight in load_file(run.weights).items()
    )
    splits = run.splits()
    counts = [sum(example.labels == (label,) for example in splits.train) for label in run.labels]
    assert counts[0] > 2 * counts[1]
    task = fitting.build_task(run, splits)
    if balance == "loss":
        assert task.class_weights is not None
        weights = task.class_weights
        assert weights[0] * counts[0] == pytest.approx(float(weights[1] * counts[1]))
    else:
        loader = fitting.build_loader(run, fitting.build_dataset(run, task, splits, "train"))
        drawn = [label for _ in range(30) for batch in loader for label in batch.targets["label"].tolist()]
        assert np.mean(drawn) == pytest.approx(0.5, abs=0.1)


def write_images(folder: Path, count: int = 24) -> Path:
    """Class folders of grey images, bright above or below."""
    generator = np.random.default_rng(0)
    for index in range(count):
        label = ("above", "below")[index % 2]
        pixels = generator.integers(0, 60, (8, 8), dtype=np.uint8)
        pixels[: 4 if label == "above" else None, :][-4:] += 150
        path = folder / label / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


def test_images_are_clips_of_one_frame(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder).as_posix())
    run = experiment.fit(tiny(folder), tmp_path / "run", QUIET)
    assert run.frame_shape == (1, 8, 8)
    assert metrics(run)["n_test"] == len(run.splits().test) > 0
    rows = list(inference.predict(run, [folder]))
    assert len(rows) == 24
    zipped = inference.evaluate(run, tmp_path / "images.zip")
    scores = {Path(row["file"]).name: row["scores"] for row in rows}
    assert {row["file"].rpartition("/")[2] for row in zipped.rows} == scores.keys()
    for row in zipped.rows:
        assert row["scores"] == pytest.approx(scores[row["file"].rpartition("/")[2]], abs=1e-6)
    from_zip = trained(tiny(tmp_path / "images.zip", epochs=1), tmp_path / "from zip")
    assert from_zip.weights.is_file()
    assert inference.evaluate(from_zip).n == len(from_zip.splits().test)


def test_a_folder_of_frames_is_one_clip_in_training_and_ever_after(dots: Path, tmp_path: Path) -> None:
    for path in sorted(dots.rglob("*.npy")):
        target = tmp_path / "frames" / path.parent.name / path.stem
        target.mkdir(parents=True)
        for index, frame in enumerate(np.load(path)):
            Image.fromarray(frame[0]).save(target / f"{index}.png")
    run = trained(tiny(tmp_path / "frames", epochs=1), tmp_path / "run")
    assert len(run.splits().examples) == 24
    clip = tmp_path / "frames" / "left" / "s00_0"
    [row] = inference.predict(run, [clip])
    assert row["file"] == str(clip)
    rows = list(inference.predict(run, [tmp_path / "frames"]))
    assert len(rows) == 24
    measured = inference.evaluate(run, tmp_path / "frames")
    said = {row["file"]: row["scores"] for row in rows}
    for row in measured.rows:
        assert said[str(tmp_path / "frames" / row["file"])] == pytest.approx(row["scores"], abs=1e-6)


def test_patience_ends_early(dots: Path, tmp_path: Path) -> None:
    """A learning rate that moves nothing improves nothing."""
    config = with_training(tiny(dots, epochs=9), patience=2)
    config = replace(config, optim=replace(config.optim, lr=1e-12, schedule="constant"))
    run = trained(config, tmp_path / "run")
    assert [row["epoch"] for row in history(run)] == ["0", "1", "2"]


def test_lower_precision(dots: Path, tmp_path: Path) -> None:
    config = with_training(tiny(dots, epochs=1), precision="bf16-mixed")
    run = experiment.fit(config, tmp_path / "run", QUIET)
    assert {tensor.dtype for tensor in load_file(run.weights).values()} <= {torch.float32, torch.int64}
    assert math.isfinite(float(history(run)[0]["train_loss"]))
    full = trained(tiny(dots, epochs=1), tmp_path / "full")
    assert float(history(run)[0]["train_loss"]) == pytest.approx(float(history(full)[0]["train_loss"]), rel=0.05)
    assert history(run) != history(full)


def test_accumulated_steps(dots: Path, tmp_path: Path) -> None:
    run = trained(with_training(tiny(dots, epochs=1), accumulate=2), tmp_path / "run")
    assert int(history(run)[0]["step"]) == -(-len(run.splits().train) // 8)


def test_a_group_stays_on_one_side(dots: Path, tmp_path: Path) -> None:
    by_column = trained(tiny(dots, epochs=1), tmp_path / "column").splits()
    pattern = ManifestConfig(group_from=r"(s\d\d)_")
    folders = tmp_path / "dots"
    folders.mkdir()
    (folders / "left").symlink_to(dots / "left")
    (folders / "right").symlink_to(dots / "right")
    by_pattern = split(load(folders, pattern), SplitConfig(val=0.25, test=0.25))
    for splits in (by_column, by_pattern):
        sides = [{example.group for example in side} for side in (splits.train, splits.val, splits.test)]
        assert all(sides)
        assert None not in set().union(*sides)
        assert sum(map(len, sides)) == len(set().union(*sides)) == 6
