"""The three ways through long films, from a table to a report: equal where they must be, resumed, damaged, streamed."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file

from unreel import experiment, inference, training
from unreel.config import RunConfig, to_yaml
from unreel.data import AugmentConfig, SamplingConfig, SplitConfig, split
from unreel.data.readers.arrays import ArraySource
from unreel.errors import ConfigError, ReadError
from unreel.inference import intervals, outputs
from unreel.models import CNNRNNConfig, ConvLSTMTaggerConfig, EncoderConfig, ModelConfig
from unreel.runs import Run, load_manifest
from unreel.tasks import OptimConfig
from unreel.training import StoppedError, fitting

from films import CHUNK, tiny_films, write_films  # isort: skip
from test_resume import StopAfter, assert_same_run  # isort: skip

QUIET = Console(quiet=True)
Way = Literal["whole", "recompute", "truncated"]


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 5)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_films(tmp_path_factory.mktemp("long") / "films")


@pytest.fixture(scope="module")
def undisturbed(films: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Way, Path]:
    folder = tmp_path_factory.mktemp("undisturbed")
    ways: tuple[Way, ...] = ("recompute", "truncated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "RESAMPLES", 5)
        return {way: experiment.fit(tiny_films(films, way), folder / way, QUIET).folder for way in ways}


def trained(config: RunConfig, folder: Path) -> Run:
    """Train and no more."""
    manifest = load_manifest(config)
    splits = split(manifest, config.data.split)
    run = Run.create(folder, config, *experiment.look(config, manifest))
    run.write_splits(manifest, splits)
    training.fit(run, splits, QUIET)
    return run


CNN_RNN = CNNRNNConfig(encoder=EncoderConfig(channels=(4,), features=8), recurrence="gru", hidden_size=8)
TAGGER = ConvLSTMTaggerConfig(channels=(4, 3), head_channels=2, dense=(8, 4), norm_frames=CHUNK, heads="joint")


def without_chance(config: RunConfig, model: ModelConfig = CNN_RNN) -> RunConfig:
    """Nothing draws at random but the first weights and the order of films; SGD, since Adam makes much of rounding."""
    return replace(
        config,
        model=model,
        data=replace(config.data, augment=AugmentConfig()),
        optim=OptimConfig(optimizer="sgd", lr=0.05),
    )


def assert_close_weights(one: Run, two: Run) -> None:
    first, second = load_file(one.weights), load_file(two.weights)
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-5)


def assert_same_weights(one: Run, two: Run) -> None:
    first, second = load_file(one.weights), load_file(two.weights)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("model", [CNN_RNN, TAGGER], ids=lambda model: model.name)
def test_recompute_learns_what_the_whole_way_learns(films: Path, tmp_path: Path, model: ModelConfig) -> None:
    ways: tuple[Way, ...] = ("whole", "recompute")
    whole, again = (trained(without_chance(tiny_films(films, way), model), tmp_path / way) for way in ways)
    assert_close_weights(whole, again)
    values = [(run.folder / "history.csv").read_text().splitlines()[-1].split(",") for run in (whole, again)]
    for first, second in zip(*values, strict=True):
        if values[0].index(first) != 3:  # seconds
            assert float(first) == pytest.approx(float(second), abs=1e-4)


def test_a_film_of_one_chunk_is_learned_from_alike_in_all_ways(films: Path, tmp_path: Path) -> None:
    config = without_chance(tiny_films(films, "truncated"))
    config = replace(config, training=replace(config.training, chunk=20))
    whole = trained(without_chance(tiny_films(films, "whole")), tmp_path / "whole")
    assert_close_weights(whole, trained(config, tmp_path / "truncated"))


def test_truncated_takes_a_step_a_chunk(undisturbed: dict[Way, Path], films: Path) -> None:
    run = Run.load(undisturbed["truncated"])
    lengths = [len(np.load(run.root / example.path)) for example in run.splits().train]
    rows = list(csv.DictReader((run.folder / "history.csv").read_text().splitlines()))
    assert int(rows[-1]["step"]) == 2 * sum(-(-length // CHUNK) for length in lengths)
    metrics = json.loads((run.folder / "metrics.json").read_text())
    tested = [len(np.load(run.root / example.path)) for example in run.splits().test]
    assert metrics["n_test"] == sum(tested)  # each frame once


@pytest.mark.parametrize(("way", "step"), [("recompute", 2), ("truncated", 2), ("truncated", 7), ("truncated", 18)])
def test_stopping_in_mid_film_and_resuming_changes_no_bit(
    undisturbed: dict[Way, Path],
    films: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: Way,
    step: int,
) -> None:
    build = fitting.build_trainer

    def build_stopping(*arguments: Any) -> Any:
        trainer = build(*arguments)
        trainer.callbacks.insert(0, StopAfter(step))
        return trainer

    monkeypatch.setattr(fitting, "build_trainer", build_stopping)
    with pytest.raises(StoppedError, match=f"stopped by SIGINT after step {step}"):
        experiment.fit(tiny_films(films, way), tmp_path / "run", QUIET)
    kept = [name for name in load_file(tmp_path / "run" / "checkpoint.safetensors") if name.startswith("/carried")]
    assert bool(kept) == (way == "truncated")
    monkeypatch.setattr(fitting, "build_trainer", build)
    experiment.resume(tmp_path / "run", QUIET)
    assert_same_run(undisturbed[way], tmp_path / "run")


def test_a_killed_process_goes_on_in_mid_film(undisturbed: dict[Way, Path], films: Path, tmp_path: Path) -> None:
    config = tiny_films(films, "truncated")
    often = replace(config, training=replace(config.training, checkpoint_minutes=0.0))  # after every step
    (tmp_path / "config.yaml").write_text(to_yaml(often))
    run = tmp_path / "run"
    command = [sys.executable, "-m", "unreel", "train", "--config", str(tmp_path / "config.yaml"), "--out", str(run)]
    quiet = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, **quiet)
    deadline = time.monotonic() + 120
    while not (run / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()
    experiment.resume(run, QUIET)
    assert_same_run(undisturbed["truncated"], run)


def as_images(films: Path, folder: Path, damaged: str, at: int) -> Path:
    """The same films as folders of PNG, one frame of the film `damaged` being no image."""
    for film in sorted(films.parent.glob("*.npy")):
        (folder / film.stem).mkdir(parents=True)
        for index, frame in enumerate(np.load(film)):
            Image.fromarray(frame[0]).save(folder / film.stem / f"{index:03d}.png")
    (folder / damaged / f"{at:03d}.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    (folder / "films.csv").write_text(films.read_text().replace(".npy", ""))
    return folder / "films.csv"


def left_out(run: Run) -> dict[str, str]:
    with (run.folder / "left_out.csv").open(newline="", encoding="utf-8") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("way", ["recompute", "truncated"])
def test_a_film_that_breaks_in_its_middle(films: Path, tmp_path: Path, way: Way) -> None:
    config = tiny_films(films, way, epochs=1)
    manifest = load_manifest(config)
    damaged = split(manifest, config.data.split).train[0].path
    table = as_images(films, tmp_path / "images", damaged.removesuffix(".npy"), at=6)
    config = tiny_films(table, way, epochs=1)
    run = trained(config, tmp_path / "run")
    assert damaged.removesuffix(".npy") in {example.path for example in run.splits().train}
    assert list(left_out(run)) == [damaged.removesuffix(".npy")]
    # the damaged film is a step that teaches nothing (recompute), or its damaged chunk is: the others are as before
    steps = int(list(csv.DictReader((run.folder / "history.csv").read_text().splitlines()))[-1]["step"])
    whole = trained(tiny_films(films, way, epochs=1), tmp_path / "whole")
    assert steps == int(list(csv.DictReader((whole.folder / "history.csv").read_text().splitlines()))[-1]["step"])


def test_a_film_that_breaks_while_it_is_read_again_teaches_nothing(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recompute reads a film twice. Whether the first or the second reading fails, the weights become the same."""
    config = tiny_films(films, "recompute", epochs=1)
    damaged = split(load_manifest(config), config.data.split).train[-1].path
    read = ArraySource.read

    def train(fails_at: int) -> Run:
        beginnings: list[int] = []

        def failing(self: ArraySource, indices: Any) -> torch.Tensor:
            if self._path.name == damaged and list(indices) == list(range(CHUNK)):
                beginnings.append(1)
                if len(beginnings) == fails_at:
                    raise ReadError(self._path, f"reading {fails_at} failed")
            return read(self, indices)

        monkeypatch.setattr(ArraySource, "read", failing)
        run = trained(config, tmp_path / str(fails_at))
        assert len(beginnings) == min(fails_at, 2)
        return run

    first, second, never = map(train, (1, 2, 3))
    assert left_out(first) == {damaged: "reading 1 failed"}
    assert left_out(second) == {damaged: "reading 2 failed"}
    assert_same_weights(first, second)
    with pytest.raises(AssertionError):
        assert_same_weights(second, never)


def test_a_film_that_breaks_in_its_middle_is_not_measured_and_its_row_is_an_error(
    undisturbed: dict[Way, Path], films: Path, tmp_path: Path
) -> None:
    run = Run.load(undisturbed["recompute"])
    table = as_images(films, tmp_path / "images", "3", at=6)
    measured = inference.evaluate(run, table)
    assert list(measured.left_out) == ["3"]
    assert sorted(row["file"] for row in measured.rows) == list("0124567")
    lengths = [len(np.load(film)) for film in sorted(films.parent.glob("*.npy")) if film.stem != "3"]
    assert measured.n == sum(lengths)
    damaged = shutil.make_archive(str(tmp_path / "3"), "zip", tmp_path / "images" / "3")
    whole, broken = inference.predict(run, [damaged, films.parent / "2.npy"])
    assert (Path(whole["file"]).name, len(whole["labels"])) == ("2.npy", 11)
    assert (broken["file"], "006.png" in broken["error"]) == (damaged, True)


def test_nothing_to_learn_from_is_an_error(films: Path, tmp_path: Path) -> None:
    table = tmp_path / "films.csv"
    shutil.copy(films, table)
    config = replace(tiny_films(films, "recompute"), data=replace(tiny_films(table, "recompute").data))
    manifest = load_manifest(tiny_films(films, "recompute"))
    run = Run.create(tmp_path / "run", config, *experiment.look(tiny_films(films, "recompute"), manifest))
    with pytest.raises((ReadError, ConfigError), match="could be read"):
        training.fit(run, split(manifest, SplitConfig(val=0.25, test=0.25)), QUIET)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames each read of an array took."""
    counted: list[int] = []
    read = ArraySource.read

    def counting(self: ArraySource, indices: Any) -> torch.Tensor:
        counted.append(len(indices))
        return read(self, indices)

    monkeypatch.setattr(ArraySource, "read", counting)
    return counted


@pytest.mark.parametrize("way", ["recompute", "truncated"])
def test_no_more_than_a_chunk_is_ever_read_at_once(films: Path, tmp_path: Path, reads: list[int], way: Way) -> None:
    config = tiny_films(films, way, epochs=1)
    manifest = load_manifest(config)
    run = Run.create(tmp_path / "run", config, *experiment.look(config, manifest))
    splits = split(manifest, config.data.split)
    run.write_splits(manifest, splits)
    training.fit(run, splits, QUIET)
    statistics = [1] + [min(16, len(np.load(run.root / example.path))) for example in splits.train]
    assert reads[: len(statistics)] == statistics  # one frame to learn the shape, some for mean and deviation
    assert max(reads[len(statistics) :]) == CHUNK
    inference.evaluate(run)
    assert max(reads[len(statistics) :]) == CHUNK


@pytest.mark.parametrize("task", ["tag", "classify"])
def test_a_model_trained_on_whole_clips_answers_for_long_ones_as_a_stream(
    films: Path, tmp_path: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    config = tiny_films(films, "whole", epochs=1)
    if task == "classify":
        table = films.with_name("clips.csv")
        names = sorted(films.parent.glob("*.npy"))
        lines = [f"{film.name},{('left', 'right')[index % 2]}" for index, film in enumerate(names)]
        table.write_text("path,label\n" + "\n".join(lines) + "\n")
        config = replace(config, task="classify", data=replace(config.data, path=str(table)))
    run = trained(config, tmp_path / "run")
    film = np.random.default_rng(1).integers(0, 255, (299, 1, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "film.npy", film)
    reads.clear()
    (streamed,) = inference.predict(run, [tmp_path / "film.npy"])
    assert sum(reads) == 299
    assert max(reads) == CHUNK
    monkeypatch.setattr(outputs, "LONG_FRAMES", 300)
    (whole,) = inference.predict(run, [tmp_path / "film.npy"])
    assert max(reads) == 299
    assert streamed.keys() == whole.keys()
    for label, scores in streamed["scores"].items():
        assert scores == pytest.approx(whole["scores"][label], abs=1e-5)


def test_memory_of_prediction_does_not_grow_with_the_film(films: Path, tmp_path: Path) -> None:
    run = trained(tiny_films(films, "whole", epochs=1), tmp_path / "run")
    for name, frames in (("short", 300), ("long", 1500)):
        np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", np.uint8, (frames, 1, 512, 512))  # zeros, no disk
    script = (
        "import resource, sys, torch; from unreel import inference; from unreel.runs import Run\n"
        "run = Run.load(sys.argv[1])\n"
        "for film in sys.argv[2:]:\n"
        "    (row,) = inference.predict(run, [film])\n"
        "    print(len(row['labels']), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    films_there = [str(tmp_path / f"{name}.npy") for name in ("short", "long")]
    done = subprocess.run(
        [sys.executable, "-c", script, str(run.folder), *films_there],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (short, before), (long, after) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert (short, long) == (300, 1500)
    assert (after - before) * 1024 < 50e6  # ru_maxrss is in KiB; the longer film has 314 MB more


def test_what_cannot_be_done_in_chunks_is_refused_early(films: Path) -> None:
    config = tiny_films(films, "recompute")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"data": replace(config.data, batch_size=4)}, "data.batch_size 1, and training.accumulate 4"),
        ({"data": replace(config.data, cache="memory")}, "data.cache none"),
        ({"model": replace(config.model, bidirectional=True)}, "model.bidirectional false"),
        ({"data": replace(config.data, sampling=SamplingConfig(frames=CHUNK))}, "data.sampling.policy all"),
        ({"task": "classify"}, "such as tag"),
        ({"training": replace(config.training, devices=2)}, "training.devices 1"),
    ]
    for change, told in cases:
        with pytest.raises(ConfigError, match=told):
            replace(config, **change)
    truncated = replace(config.training, through_time="truncated")
    with pytest.raises(ConfigError, match=r"data\.balance loss"):
        replace(config, training=truncated, data=replace(config.data, balance="sampler"))
    with pytest.raises(ConfigError, match="chunk must be at least 1"):
        replace(config.training, chunk=0)
