"""The cache of frames: built once, found again, built anew when damaged, safe with several writers."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unreel.data.cache import FrameCache
from unreel.data.manifest import Example
from unreel.data.transforms import PreprocessConfig

FRAMES, TIMES = torch.arange(24, dtype=torch.uint8).reshape(4, 1, 2, 3), torch.arange(4, dtype=torch.float64) / 7
VIEWS = torch.tensor([0, 0, 2, 1])
CONFIG = PreprocessConfig((2, 3))


class Builder:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> tuple[Tensor, Tensor, Tensor]:
        self.calls += 1
        return FRAMES, TIMES, VIEWS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_text("content")
    return path


def get(cache: FrameCache, path: Path, build: Builder, config: PreprocessConfig = CONFIG, **part: float) -> None:
    frames, times, views = cache.get(path, Example("a.mp4", **part), config, build)  # type: ignore[arg-type]
    assert isinstance(frames, np.memmap)
    assert np.array_equal(frames, FRAMES.numpy())
    assert torch.equal(times, TIMES)
    assert views is not None
    assert torch.equal(views, VIEWS)


def test_an_entry_is_built_once(tmp_path: Path, file: Path) -> None:
    cache, build = FrameCache(tmp_path / "cache"), Builder()
    assert cache.size() == 0
    for _ in range(3):
        get(cache, file, build)
    assert build.calls == 1
    assert cache.size() >= FRAMES.numel()
    moved = file.rename(tmp_path / "b.mp4")
    get(FrameCache(tmp_path / "cache"), moved, build)
    assert build.calls == 1


def test_other_content_setting_or_part_is_another_entry(tmp_path: Path, file: Path) -> None:
    cache, build = FrameCache(tmp_path / "cache"), Builder()
    get(cache, file, build)
    get(cache, file, build, PreprocessConfig((3, 2)))
    get(cache, file, build, start=1.0)
    get(cache, file, build, end=1.0)
    file.write_text("changed content")
    get(cache, file, build)
    assert build.calls == 5


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"not numpy at all" * 20, "cut", "gone", "longer"])
@pytest.mark.parametrize("which", ["frames", "times"])
def test_a_damaged_entry_is_built_anew(tmp_path: Path, file: Path, which: str, damage: bytes | str) -> None:
    cache, build = FrameCache(tmp_path / "cache"), Builder()
    get(cache, file, build)
    (entry,) = cache.folder.glob(f"*.{which}.npy")
    if damage == "gone":
        entry.unlink()
    elif damage == "longer":
        np.save(entry, np.repeat(np.load(entry), 2, axis=0))
    else:
        entry.write_bytes(entry.read_bytes()[:-1] if damage == "cut" else damage)  # type: ignore[arg-type]
    get(cache, file, build)
    get(cache, file, build)
    assert build.calls == 2


def test_pickles_are_never_loaded(tmp_path: Path, file: Path) -> None:
    cache, build = FrameCache(tmp_path / "cache"), Builder()
    get(cache, file, build)
    (entry,) = cache.folder.glob("*.times.npy")
    np.save(entry, np.array([{"a": 1}] * 4, dtype=object), allow_pickle=True)
    get(cache, file, build)
    assert build.calls == 2


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path, file: Path) -> None:
    def fail() -> tuple[Tensor, Tensor]:
        raise ValueError("no frames")

    cache = FrameCache(tmp_path / "cache")
    with pytest.raises(ValueError, match="no frames"):
        cache.get(file, Example("a.mp4"), CONFIG, fail)
    assert not cache.folder.exists() or not list(cache.folder.iterdir())


def _fill(folder: Path, path: Path) -> None:
    for start in range(30):
        get(FrameCache(folder), path, Builder(), start=start)


def test_several_processes_may_write_at_once(tmp_path: Path, file: Path) -> None:
    folder = tmp_path / "cache"
    writers = [multiprocessing.Process(target=_fill, args=(folder, file)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert len(list(folder.iterdir())) == 60
