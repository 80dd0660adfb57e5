"""What counts as the same file, and as nearly the same clip."""

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unreel.data.content import content_hash, frame_hash, join, near_pairs, same_content
from unreel.errors import ReadError


def test_hash_of_a_file_is_blake2b_and_follows_changes(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"one")
    assert content_hash(file) == hashlib.blake2b(b"one", digest_size=16).hexdigest()
    file.write_bytes(b"other")
    assert content_hash(file) == hashlib.blake2b(b"other", digest_size=16).hexdigest()


def test_folders_and_members_of_a_zip_are_the_same_by_content(tmp_path: Path) -> None:
    for name in ("x", "y", "z"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_text("one")
        (tmp_path / name / "2.png").write_text("z" if name == "z" else "two")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for folder in (tmp_path / "x", tmp_path / "z"):
            for file in folder.iterdir():
                archive.write(file, f"in/{folder.name}/{file.name}")
    inside = {name: content_hash(tmp_path / f"a.zip!in/{name}") for name in ("x", "z")}
    assert content_hash(tmp_path / "x") == content_hash(tmp_path / "y") == inside["x"]
    assert content_hash(tmp_path / "z") == inside["z"] != inside["x"]
    assert content_hash(tmp_path / "a.zip!in/x/1.png") == content_hash(tmp_path / "x/1.png")


@pytest.mark.parametrize("name", ["none", "a.zip!none", "none.zip!a", "b.zip!a"])
def test_what_is_not_there_cannot_be_hashed(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", "a")
    (tmp_path / "b.zip").write_text("no zip")
    with pytest.raises(ReadError, match="cannot be read"):
        content_hash(tmp_path / name)


def test_same_content_names_the_first(tmp_path: Path) -> None:
    for name, text in (("a", "11"), ("b", "22"), ("c", "11"), ("d", "333")):
        (tmp_path / name).write_text(text)
    paths = [tmp_path / name for name in "abcdef"]  # e and f are not there
    same = same_content(paths)
    assert [Path(same[str(path)]).name for path in paths] == ["a", "b", "a", "d", "e", "f"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a system with named pipes")
@pytest.mark.timeout(20)
def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    paths = [tmp_path / "empty.mp4", tmp_path / "pipe.mp4", tmp_path / "empty2.mp4"]
    os.mkfifo(paths[1])
    paths[0].touch()
    paths[2].touch()
    assert list(same_content(paths).values()) == [str(paths[0]), str(paths[1]), str(paths[0])]


def test_near_pairs_are_those_of_a_plain_count() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.random((1100, 64)) < 0.5
    hashes[700] = hashes[3]
    hashes[700, :2] ^= True
    hashes[1050] = hashes[700]
    hashes[40] = hashes[41] = False  # two dark screens
    plain = [
        (i, i + 1 + int(j))
        for i in range(len(hashes))
        for j in np.flatnonzero((hashes[i] ^ hashes[i + 1 :]).sum(1) <= 2)
        if i != 40
    ]
    assert near_pairs(hashes, most=2 / 64) == plain
    assert {(3, 700), (3, 1050), (700, 1050)} <= set(plain)
    assert near_pairs(np.zeros((0, 64), dtype=bool)) == []


def test_scaled_and_noisy_frames_hash_alike() -> None:
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 255, (2, 8, 9)).astype(np.float64)
    frames = np.kron(coarse, np.ones((1, 16, 16)))
    noisy = (frames + rng.normal(0, 3, frames.shape)).clip(0, 255).astype(np.uint8)[:, ::2, ::2]
    one = frame_hash(list(frames.astype(np.uint8)))
    assert one.shape == (128,)
    other = frame_hash([np.stack([frame] * 3, -1) for frame in noisy])
    assert (one ^ other).mean() < 0.04 < (one ^ frame_hash(list(frames[:, ::-1].astype(np.uint8)))).mean()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_join_is_reachability(pairs: list[tuple[int, int]]) -> None:
    reach = np.eye(10, dtype=bool)
    for i, j in pairs:
        reach[i, j] = reach[j, i] = True
    for _ in range(4):
        reach = reach @ reach
    assert join(10, pairs) == [int(row.argmax()) for row in reach]
