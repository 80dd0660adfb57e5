"""Scan and its report: what is there, what is broken, what is twice, as value, JSON, tables and figure."""

import io
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from unreel.data import scanning
from unreel.data.folders import load
from unreel.data.manifest import Example, Manifest, ManifestConfig, Segment
from unreel.data.readers import Reading
from unreel.data.report import DataReport, FileReport, by_reason
from unreel.data.report_plot import scan_plot
from unreel.data.scanning import scan
from unreel.errors import RunError


def video(path: Path, seed: int, bitrate: int = 400_000) -> None:
    """Twelve frames at 8 a second: coarse noise that moves."""
    rng = np.random.default_rng(seed)
    picture = np.kron(rng.integers(0, 255, (6, 8)), np.ones((8, 8))).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = 48, 64, "yuv420p", bitrate
        for step in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(picture, 2 * step, 1), format="gray")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    for folder in ("cat", "dog"):
        (root / folder).mkdir()
    video(root / "cat/1.mp4", 1)
    (root / "dog/copy.mp4").write_bytes((root / "cat/1.mp4").read_bytes())
    video(root / "dog/again.mp4", 1, bitrate=80_000)
    video(root / "dog/other.mp4", 2)
    whole = (root / "cat/1.mp4").read_bytes()
    (root / "cat/cut.mp4").write_bytes(whole[: len(whole) // 3])
    (root / "cat/text.mp4").write_text("no video")
    (root / "cat/empty.mp4").write_bytes(b"")
    np.save(root / "dog/features.npy", np.zeros((5, 7), dtype=np.float32))
    Image.fromarray(np.zeros((9, 11), dtype=np.uint8)).save(root / "cat/dark.png")
    return root


@pytest.fixture(scope="module")
def report(root: Path) -> DataReport:
    return scan(load(root), workers=2)


def test_every_file_is_listed_with_its_measures(report: DataReport) -> None:
    files = {file.path: file for file in report.files}
    assert list(files) == sorted(files)
    one = files["cat/1.mp4"]
    assert (one.frames, one.size, one.reason) == (12, (3, 48, 64), None)
    assert (one.fps, one.seconds) == (pytest.approx(8), pytest.approx(1.5))
    assert files["dog/features.npy"].size == (7,)
    assert files["cat/dark.png"] == FileReport("cat/dark.png", 1, 0.0, None, (1, 9, 11))
    assert set(report.unreadable) == {"cat/cut.mp4", "cat/text.mp4", "cat/empty.mp4"}
    assert all(report.unreadable.values())
    assert len(report.readable) == 6


def test_what_is_twice_or_nearly_so_is_found(report: DataReport) -> None:
    assert report.identical == (("cat/1.mp4", "dog/copy.mp4"),)
    assert report.near == (("cat/1.mp4", "dog/again.mp4"), ("dog/again.mp4", "dog/copy.mp4"))


def test_nearly_the_same_is_looked_for_among_a_bounded_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 255, (1, 16, 16)).astype(np.uint8).repeat(3, 0)
    image[1, 0, 0] ^= 1
    np.savez(tmp_path / "a.npz", x_train=image, y_train=np.array([0, 1, 0]))
    manifest, names = load(tmp_path / "a.npz"), [f"a.npz!x_train/{row}" for row in range(3)]
    found = scan(manifest, workers=1)
    assert found.identical == ((names[0], names[2]),)
    assert found.near == ((names[0], names[1]), (names[1], names[2]))
    monkeypatch.setattr(scanning, "NEAR_AMONG", 2)
    assert scan(manifest, workers=1) == replace(found, near=())


def test_classes_are_counted(report: DataReport) -> None:
    assert report.classes == {"cat": 5, "dog": 4}
    assert report.small == ("cat", "dog")
    numbers = Manifest(Path(), tuple(Example(f"{i}", (f"{i / 7}",)) for i in range(50)))
    assert scanning._classes(numbers.examples) == {}
    assert scanning._classes([Example("a", ("x",), (Segment(0, 1, "y"), Segment(1, 2, "y")))]) == {"x": 1, "y": 2}


def test_json_keeps_everything(report: DataReport) -> None:
    assert DataReport.from_json(report.to_json()) == report
    for text in ("{", "{}", "[]", '{"files": [{"path": "a"}]}'):
        with pytest.raises(RunError, match="expected a data report"):
            DataReport.from_json(text)


def test_tables_show_everything(report: DataReport) -> None:
    console = Console(file=io.StringIO(), width=200)
    for table in report.tables():
        console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("9 files, 3 unreadable", "cat", "55.6%", "too few", "3 × 48 × 64", "1.50", "8.00", *report.unreadable):
        assert part in text
    assert "cat/1.mp4, dog/copy.mp4" in text
    assert "Nearly the same pictures: 2" in text


def test_long_lists_are_cut_and_brackets_kept() -> None:
    files = tuple(FileReport(f"[red]{number}", reason=f"[bold]{number}") for number in range(50))
    console = Console(file=io.StringIO(), width=200)
    for table in DataReport(files, {}).tables():
        console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]29" in text
    assert "[red]30" not in text
    assert "and 20 more" in text


def test_a_reason_that_many_share_is_told_once() -> None:
    missing = {f"{number}.jpg": "there is none" for number in range(4000)} | {"a.jpg": "torn", "b.jpg": "torn"}
    assert by_reason(missing) == [("0.jpg, 1.jpg, 2.jpg and 3997 more", "there is none"), ("a.jpg, b.jpg", "torn")]
    assert by_reason({}) == []


@pytest.mark.parametrize("classes", [0, 2, 200])
def test_the_figure_is_a_picture_whatever_is_there(report: DataReport, classes: int) -> None:
    counts = {f"$class_{number}$ with a name that is far too long": number + 1 for number in range(classes)}
    for shown in (DataReport(report.files, counts, tuple(counts)[:1]), DataReport((), counts)):
        with Image.open(io.BytesIO(scan_plot(shown))) as picture:
            assert picture.format == "PNG"
            assert picture.size == (1210, 825)


def test_a_zip_of_images_is_scanned(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("cat/1.png", "dog/2.png", "dog/clip/1.png", "dog/clip/2.png", "dog/bad.png"):
            picture = io.BytesIO()
            Image.fromarray(np.random.default_rng(len(name)).integers(0, 255, (8, 8), dtype=np.uint8)).save(
                picture, "png"
            )
            archive.writestr(name, b"bad" if "bad" in name else picture.getvalue())
    report = scan(load(tmp_path / "all.zip"))
    assert [(file.path, file.frames) for file in report.readable] == [
        ("all.zip!cat/1.png", 1),
        ("all.zip!dog/2.png", 1),
        ("all.zip!dog/clip", 2),
    ]
    assert list(report.unreadable) == ["all.zip!dog/bad.png"]
    assert report.identical == (("all.zip!cat/1.png", "all.zip!dog/2.png"),)


def test_a_reader_that_crashes_or_hangs_costs_one_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_or_die(path: Path, reading: Reading | None) -> object:
        if path.name == "1.mp4":
            os._exit(9)
        while path.name == "copy.mp4":
            pass
        return original(path, reading)

    original = scanning.open_source
    monkeypatch.setattr(scanning, "open_source", open_or_die)  # reaches the processes because they are forked
    names = ("cat/1.mp4", "dog/copy.mp4", "dog/other.mp4")
    found = scan(Manifest(root, tuple(Example(name) for name in names)), seconds=2.0)
    assert found.unreadable == {
        "cat/1.mp4": "the process that read it ended, exit code 9",
        "dog/copy.mp4": "took longer than 2 s",
    }
    assert found.files[2].frames == 12


def test_progress_is_drawn_where_it_is_asked_for(root: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    scan(Manifest(root, (Example("dog/other.mp4"),)), console=console)
    assert "looking at files" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.shared_data
def test_real_clips() -> None:
    table = Path(__file__).parents[3] / "shared/data/fights/sources.csv"
    if not table.is_file():
        pytest.skip("needs the measuring data beside the checkout: ../shared/data/fights")
    manifest = load(table, ManifestConfig(group_column="source"))
    report = scan(Manifest(manifest.root, manifest.examples[:3] + manifest.examples[-3:]))
    assert report.unreadable == {}
    assert report.classes == {"fight": 3, "no_fight": 3}
    assert all(20 <= file.frames <= 142 for file in report.files)
