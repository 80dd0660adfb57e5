"""Cache of decoded frames on disk: every preprocessed frame of an example, memory-mapped when read.

An entry is two .npy files, frames (T, *frame) and times (T,), or (2, T) with the views where frames have some. They are
named after the hash of the file's content, the preprocessing, the settings of its reader and the part of the file. So a
changed file or setting makes a new entry, and a renamed file finds its old one. Entries are written beside their place
and moved there whole, so several processes may write at once.

What this file is not: it never deletes, except an entry that it cannot open. Removing the folder is safe at any time.

Shape letters: T frames.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unreel.data.content import content_hash
from unreel.data.manifest import Example
from unreel.data.readers import Reading
from unreel.data.readers.audio import is_sound_name
from unreel.data.transforms import PreprocessConfig
from unreel.errors import ReadError

_FORMAT = 1

Kept = tuple[NDArray[np.generic], Tensor, Tensor | None]
"""Frames (T, *frame), times (T,), and views (T,) where frames have some."""


class FrameCache:
    """Decoded frames in a folder.

    Args:
        folder: made where it does not exist. Runs and splits may share one.
        reading: what the readers that made the frames knew.
    """

    def __init__(self, folder: str | Path, reading: Reading | None = None) -> None:
        self.folder = Path(folder)
        self.reading = reading or Reading()

    def get(
        self,
        path: Path,
        example: Example,
        preprocess: PreprocessConfig,
        build: Callable[[], tuple[Tensor, Tensor, Tensor | None]],
    ) -> Kept:
        """Frames (T, *frame), memory-mapped and read-only, times (T,) float64 seconds, and views (T,) int64, if any.

        Args:
            path: the file.
            example: which part of it.
            preprocess: what was done to the frames.
            build: makes frames, times and views where there is no entry, or a damaged one.

        Raises:
            ReadError: the file cannot be read, or what `build` raises.
        """
        found = self._open(self._entry(path, example, preprocess))
        if found is None:
            frames, times, views = build()
            self.put(path, example, preprocess, frames, times, views)
            found = self._open(self._entry(path, example, preprocess))
            if found is None:  # somebody removes entries while we write them
                return frames.numpy(), times, views
        return found

    def put(
        self,
        path: Path,
        example: Example,
        preprocess: PreprocessConfig,
        frames: Tensor,
        times: Tensor,
        views: Tensor | None = None,
    ) -> None:
        """Write the entry of an example: frames (T, *frame), times (T,), views (T,). Other arguments as for `get`."""
        entry = self._entry(path, example, preprocess)
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = times if views is None else torch.stack([times, views.to(times.dtype)])
        _write(entry.with_suffix(".times.npy"), rows.numpy())
        _write(entry.with_suffix(".frames.npy"), frames.numpy())

    def holds(self, path: Path, example: Example, preprocess: PreprocessConfig) -> bool:
        """Whether there is a whole entry; False too for a file that cannot be read. Arguments as for `get`."""
        try:
            return self._open(self._entry(path, example, preprocess)) is not None
        except ReadError:
            return False

    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in self.folder.glob("*.npy")) if self.folder.is_dir() else 0

    def _entry(self, path: Path, example: Example, preprocess: PreprocessConfig) -> Path:
        sound = is_sound_name(path)
        made = asdict(self.reading.sound) if sound else [asdict(preprocess), asdict(self.reading.volume)]
        named = json.dumps([_FORMAT, content_hash(path), made, example.start, example.end])
        return self.folder / hashlib.blake2b(named.encode(), digest_size=16).hexdigest()

    def _open(self, entry: Path) -> Kept | None:
        try:
            frames = np.load(entry.with_suffix(".frames.npy"), mmap_mode="r", allow_pickle=False)
            rows = np.load(entry.with_suffix(".times.npy"), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        shapes = (frames.shape[:1], (2, *frames.shape[:1]))  # without and with views
        if frames.ndim < 1 or rows.dtype != np.float64 or rows.shape not in shapes or not len(frames):
            return None
        told = torch.from_numpy(rows)
        return (frames, told, None) if told.ndim == 1 else (frames, told[0], told[1].long())


def _write(path: Path, array: NDArray[np.generic]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix="writing-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, array, allow_pickle=False)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)  # not there any more where all went well
