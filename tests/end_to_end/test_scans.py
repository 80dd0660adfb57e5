"""The road of scans: from each layout to numbers, report and rows, at the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from made_scans import volume, write_dicom, write_medmnist, write_mrnet, write_nifti
from unreel.cli import main
from unreel.config import RunConfig, from_yaml, load_config, to_yaml
from unreel.data import ClipDataset, PreprocessConfig, SamplingConfig, VolumeConfig, load
from unreel.inference import intervals
from unreel.runs import Run

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    *("--size", "[8,8]", "--workers", "0", "--batch-size", "8", "--data.preprocess.channels", "grey"),
    *("--model.name", "scan_rnn", "--model.encoder.channels", "[4]", "--model.encoder.features", "8"),
    *("--model.hidden_size", "8", "--optim.lr", "0.02", "--training.accelerator", "cpu"),
]


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 20)


def typed(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def rows_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_medmnist_from_scan_to_predict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = write_medmnist(tmp_path / "set.npz"), tmp_path / "run"
    typed("scan", data)
    assert "24 files, 0 unreadable" in capsys.readouterr().out
    settings = ("--epochs", "2", "--frames", "2", "--data.sampling.policy", "segment", "--training.choose_by", "auroc")
    typed("train", data, "--out", run, *TINY, *settings)
    numbers = json.loads((run / "metrics.json").read_text())
    assert numbers["monitor"] == "val_auroc"
    assert numbers["n_test"] == 6
    assert {"low", "high"} < numbers["test"]["auroc"].keys()
    assert "per_frame_cnn" in numbers["controls"]
    with (run / "manifest.csv").open() as file:
        sides = [row["split"] for row in csv.DictReader(file)]
    assert [sides.count(side) for side in ("train", "val", "test")] == [12, 6, 6]
    assert Run.load(run).frame_shape == (1, 8, 8)
    page = (run / "report.html").read_text()
    assert 'title="sagittal ' in page
    assert "No picture" not in page
    typed("evaluate", run, data, "--rows", tmp_path / "rows.jsonl")
    assert len(rows_of(tmp_path / "rows.jsonl")) == 24
    typed("predict", run, f"{data}!test_images/3", "--out", tmp_path / "one.jsonl")
    (one,) = rows_of(tmp_path / "one.jsonl")
    (same,) = (row for row in rows_of(tmp_path / "rows.jsonl") if row["file"] == "set.npz!test_images/3")
    assert one["scores"] == pytest.approx(same["scores"], abs=1e-5)
    typed("predict", run, data, "--out", tmp_path / "all.jsonl")
    assert len(rows_of(tmp_path / "all.jsonl")) == 24


def test_mrnet_with_missing_planes_and_a_broken_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, run = write_mrnet(tmp_path / "mrnet", exams=16), tmp_path / "run"
    broken = root / "train" / "coronal" / "0002.npy"
    broken.write_bytes(broken.read_bytes()[:200])
    settings = ("--task", "multilabel", "--epochs", "1", "--data.sampling.policy", "all", "--data.split.val", "0.25")
    typed("train", root, "--out", run, *TINY, *settings, "--training.control", "false")
    assert "left out: train!0002: coronal/0002.npy" in " ".join(capsys.readouterr().err.split())
    numbers = json.loads((run / "metrics.json").read_text())
    assert numbers["n_test"] == 8
    typed("predict", run, root / "valid", root / "train!0003", "--out", tmp_path / "rows.jsonl")
    rows = rows_of(tmp_path / "rows.jsonl")
    assert [Path(str(row["file"])).name for row in rows] == [
        *(f"valid!000{number}" for number in range(8)),
        "train!0003",
    ]
    assert all({"abnormal", "acl"} == row["scores"].keys() for row in rows)  # type: ignore[attr-defined]


def write_told_by_plane(folder: Path, exams: int = 48) -> Path:
    """A bright square is in the axial slices or in the coronal ones: only who knows the plane can tell which."""
    generator = np.random.default_rng(0)
    for number in range(exams):
        bright = ("axial", "coronal")[number % 2]
        exam = folder / f"in {bright}" / f"case{number}"
        exam.mkdir(parents=True)
        for plane in ("axial", "coronal"):
            slices = generator.integers(0, 40, (int(generator.integers(1, 4)), 8, 8), dtype=np.uint8)
            slices[:, 2:6, 2:6] += 200 if plane == bright else 0
            np.save(exam / f"{plane}.npy", slices)
    return folder


@pytest.mark.parametrize("encoders", ["shared", "separate"])
def test_what_only_the_plane_tells_is_learned(tmp_path: Path, encoders: str) -> None:
    data, run = write_told_by_plane(tmp_path / "data"), tmp_path / "run"
    window = ("--data.volume.window", "[0,255]", "--model.encoders", encoders)
    typed("train", data, "--out", run, *TINY, *window, "--epochs", "12", "--training.control", "false")
    assert json.loads((run / "metrics.json").read_text())["test"]["accuracy"]["value"] >= 0.9


def test_nifti_and_dicom_beside_each_other(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for number in range(4):
        for label, add in (("dark", 0), ("bright", 100)):
            scan = volume((6, 7, 8), number) // 2 + add
            write_nifti(data / label / f"n{number}.nii.gz", scan.astype(np.uint8))
            write_dicom(data / label / f"d{number}", scan + number, patient=f"{label}{number}")
    (data / "dark" / "n0.nii.gz").write_bytes(b"broken")
    run = tmp_path / "run"
    settings = ("--epochs", "1", "--planes", "[coronal,axial]", "--frames", "1", "--training.control", "false")
    typed("train", data, "--out", run, *TINY, *settings, "--data.split.val", "0.25", "--data.split.test", "0.25")
    left_out = (run / "left_out.csv").read_text()
    assert "dark/n0.nii.gz" in left_out
    assert len(left_out.splitlines()) == 2
    assert from_yaml((run / "config.yaml").read_text()).data.volume.planes == ("coronal", "axial")
    typed("predict", run, data / "dark", "--out", tmp_path / "rows.jsonl")
    rows = rows_of(tmp_path / "rows.jsonl")
    wanted = ["d0", "d1", "d2", "d3", "n1.nii.gz", "n2.nii.gz", "n3.nii.gz", "n0.nii.gz"]
    assert [Path(str(row["file"])).name for row in rows] == wanted
    assert "error" in rows[-1]


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_clips_carry_views_wherever_their_frames_come_from(tmp_path: Path, cache: str) -> None:
    from unreel.data import FrameCache

    root = write_mrnet(tmp_path / "mrnet")
    dataset = ClipDataset(
        load(root).examples,
        root,
        SamplingConfig("segment", frames=2),
        PreprocessConfig((8, 8), channels="grey"),
        training=True,
        cache=FrameCache(tmp_path / "cache") if cache == "disk" else None,
        memory=cache == "memory",
    )
    plain = ClipDataset(load(root).examples, root, dataset.sampling, dataset.preprocess, training=True)
    for index in range(len(dataset)):
        for _ in range(2):  # made, and found again
            clip, same = dataset[3, index], plain[3, index]
            assert clip.views is not None  # type: ignore[union-attr]
            assert same.views is not None  # type: ignore[union-attr]
            assert clip.views.tolist() == same.views.tolist()  # type: ignore[union-attr]
            assert (clip.frames == same.frames).all()  # type: ignore[union-attr]
        assert clip.views.bincount().max() == 2  # type: ignore[union-attr]
    film = dataset.open(3, 1, 2)
    with film:  # type: ignore[union-attr]
        assert film.clip.whole.views.shape == film.clip.whole.times.shape  # type: ignore[union-attr]
        assert film.clip.whole.views[0].tolist() == dataset[3, 1].views.tolist()  # type: ignore[union-attr]


def test_pictures_of_three_planes_are_the_tutorials_case(tmp_path: Path) -> None:
    for number in range(16):
        for plane in ("axial", "coronal", "sagittal"):
            folder = tmp_path / "data" / ("a", "b")[number % 2] / f"case{number}"
            folder.mkdir(parents=True, exist_ok=True)
            grey = np.full((9, 7), 10 * number, np.uint8)
            grey[number % 9, 0] = 255
            Image.fromarray(grey).save(folder / f"{plane}.png")
    settings = ("--epochs", "1", "--training.control", "false", "--data.split.val", "0.25", "--data.split.test", "0.25")
    typed("train", tmp_path / "data", "--out", tmp_path / "run", *TINY, *settings)
    manifest = load(tmp_path / "data")
    clip = ClipDataset(manifest.examples, manifest.root, SamplingConfig(), PreprocessConfig((8, 8)))[0, 5]
    assert clip.views is not None  # type: ignore[union-attr]
    assert clip.views.tolist() == [0, 1, 2]  # type: ignore[union-attr]
    assert len(json.loads((tmp_path / "run" / "predictions.jsonl").read_text().splitlines()[0])["scores"]) == 2


def test_the_configuration_for_adrenals_comes_back_from_yaml() -> None:
    config = load_config(ROOT / "configs" / "adrenal.yaml")
    assert isinstance(config, RunConfig)
    assert config.model.name == "scan_rnn"
    assert config.monitor == "auroc"
    assert from_yaml(to_yaml(config)) == config
    assert config.data.volume == VolumeConfig()
