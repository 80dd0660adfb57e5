"""ClipDataset: (epoch, index) -> Clip, or an open Film. Opens, samples, preprocesses, augments, asks for targets.

All randomness of a clip comes from (seed, epoch, key), so it is the same in every process and after every resume.
A file that cannot be read becomes a `Broken`, a value like another, and stops nothing.

What this file is not: it batches nothing and knows no order (`loading.py`).

Shape letters: T frames.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.utils.data import Dataset

from unreel.clip import Clip
from unreel.data.cache import FrameCache
from unreel.data.films import Film
from unreel.data.manifest import Example
from unreel.data.readers import Reading, open_source
from unreel.data.readers.audio import is_sound_name
from unreel.data.readers.text import reads_text
from unreel.data.sampling import SamplingConfig, choose, within
from unreel.data.sound_transforms import augment_sound, shift_sound
from unreel.data.transforms import AugmentConfig, PreprocessConfig, augment, preprocess
from unreel.errors import ReadError

EncodeTargets = Callable[[Example, Tensor], Mapping[str, Tensor]]
"""(example, times (T,)) -> targets by name: `Task.encode`."""


@dataclass(frozen=True)
class Broken:
    """A clip that could not be made: its key, its path as the manifest has it, and why."""

    key: str
    path: str
    reason: str


class ClipDataset(Dataset[Clip | Broken]):
    """Clips of examples, by (epoch, index).

    Args:
        examples: what there is.
        root: folder that the paths of the examples start from.
        sampling: which frames.
        preprocess: what is done to every frame.
        augment: what is done at random in training; None for nothing.
        encode_targets: targets of a clip; None for none.
        seed: of sampling and augmentation.
        training: sample at random and augment; else always the same clip.
        cache: keeps decoded frames on disk.
        memory: keep decoded frames of all examples in memory once they were read.
        frame_shape: shape of every preprocessed frame, such as (3, 112, 112): a clip of another one is Broken. None
            checks nothing, and then clips that do not fit together fail when they are collated.
        frame_dtype: the same for the dtype.
        reading: what readers must know besides the file.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        root: str | Path,
        sampling: SamplingConfig,
        preprocess: PreprocessConfig,
        augment: AugmentConfig | None = None,
        encode_targets: EncodeTargets | None = None,
        seed: int = 0,
        training: bool = False,
        cache: FrameCache | None = None,
        memory: bool = False,
        frame_shape: Sequence[int] | None = None,
        frame_dtype: torch.dtype | None = None,
        reading: Reading | None = None,
    ) -> None:
        self.examples = tuple(examples)
        self.root = Path(root)
        self.sampling = sampling
        self.preprocess = preprocess
        self.augment = augment
        self.encode_targets = encode_targets
        self.seed = seed
        self.training = training
        self.cache = cache
        self.memory = memory
        self.frame_shape = None if frame_shape is None else tuple(frame_shape)
        self.frame_dtype = frame_dtype
        self.reading = reading or Reading()
        self._kept: dict[int, tuple[NDArray[np.generic], Tensor]] = {}

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, place: tuple[int, int]) -> Clip | Broken:
        epoch, index = place
        example = self.examples[index]
        try:
            frames, times = self._frames(epoch, index, example)
            self._check_fit(example, frames)
        except ReadError as error:
            return Broken(example.key, example.path, error.reason)
        frames, heard = self._shift(epoch, example, frames, times)
        frames = self._change(epoch, example, frames)
        targets = {} if self.encode_targets is None else self.encode_targets(example, heard)
        return Clip(frames=frames, times=times, key=example.key, targets=targets)

    def open(self, epoch: int, index: int, chunk: int) -> Film | Broken:
        """An example as an open film, for clips too long to be held: the same frames as those of `self[epoch, index]`.

        Neither cache nor memory takes part. Whatever the film's chunks are asked for, and how often, they are augmented
        alike.

        Args:
            epoch: of the place.
            index: of the example.
            chunk: frames that are read at a time.
        """
        example = self.examples[index]
        path = self.root / example.path
        with ExitStack() as on_error:
            try:
                source = on_error.enter_context(open_source(path, self.reading))
                inside = self._inside(path, source.times, example)
            except ReadError as error:
                return Broken(example.key, example.path, error.reason)
            chosen = inside[self._choose(epoch, example, len(inside))]
            targets = {} if self.encode_targets is None else self.encode_targets(example, source.times[chosen])
            on_error.pop_all()
            return Film(
                example.key,
                source,
                chosen,
                chunk,
                partial(self._prepare, example),
                partial(self._change, epoch, example),
                targets,
            )

    def count(self, index: int) -> int | Broken:
        """How many frames of an example are taken, the same in every epoch; its file is opened, no frame read."""
        example = self.examples[index]
        path = self.root / example.path
        try:
            with open_source(path, self.reading) as source:
                inside = self._inside(path, source.times, example)
        except ReadError as error:
            return Broken(example.key, example.path, error.reason)
        return len(choose(len(inside), self.sampling))

    def _prepare(self, example: Example, frames: Tensor) -> Tensor:
        frames = preprocess(frames, self.preprocess)
        self._check_fit(example, frames)
        return frames

    def _change(self, epoch: int, example: Example, frames: Tensor) -> Tensor:
        """What is random in training; the seed alone decides, so that all parts of a clip are changed alike."""
        if not self.training or self.augment is None:
            return frames
        seed = self._seed("augment", epoch, example)
        if is_sound_name(example.path):
            return augment_sound(frames, self.augment.sound, self.reading.sound, seed)
        return augment(frames, self.augment, seed)

    def _shift(self, epoch: int, example: Example, frames: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """A clip of sound as if it had begun at another time, and when in its source each of its frames was heard."""
        if not self.training or self.augment is None or not is_sound_name(example.path):
            return frames, times
        return shift_sound(frames, times, self.augment.sound, self._seed("shift", epoch, example))

    def _frames(self, epoch: int, index: int, example: Example) -> tuple[Tensor, Tensor]:
        """The chosen frames (T, *frame), preprocessed, and their times."""
        path = self.root / example.path
        if self.cache is None and not self.memory:
            with open_source(path, self.reading) as source:
                inside = self._inside(path, source.times, example)
                chosen = inside[self._choose(epoch, example, len(inside))]
                return preprocess(source.read(chosen.tolist()), self.preprocess), source.times[chosen]
        whole, times = self._whole(path, index, example)
        chosen = self._choose(epoch, example, len(times))
        return torch.from_numpy(np.ascontiguousarray(whole[chosen.numpy()])), times[chosen]

    def _whole(self, path: Path, index: int, example: Example) -> tuple[NDArray[np.generic], Tensor]:
        """All frames of an example, preprocessed, from memory, from the cache or from the file."""
        if index in self._kept:
            return self._kept[index]
        if self.cache is None or reads_text(path):  # tokens cost nothing, and depend on the vocabulary
            frames, times = self._decode(path, example)
            whole = frames.numpy(), times
        else:
            whole = self.cache.get(path, example, self.preprocess, lambda: self._decode(path, example))
        if self.memory:
            self._kept[index] = whole
        return whole

    def _decode(self, path: Path, example: Example) -> tuple[Tensor, Tensor]:
        with open_source(path, self.reading) as source:
            inside = self._inside(path, source.times, example)
            # a piece at a time: the frames of a long video are far larger before preprocessing than after
            pieces = [preprocess(source.read(piece.tolist()), self.preprocess) for piece in inside.split(64)]
            return torch.cat(pieces), source.times[inside]

    def _inside(self, path: Path, times: Tensor, example: Example) -> Tensor:
        inside = within(times, example.start, example.end)
        if not len(inside):
            span = f"{float(times[0]):.3f} to {float(times[-1]):.3f} s" if len(times) else "nothing"
            raise ReadError(path, f"expected frames from {example.start} to {example.end} s, the file holds {span}")
        return inside

    def _check_fit(self, example: Example, frames: Tensor) -> None:
        for what, expected, found in (
            ("shape", self.frame_shape, tuple(frames.shape[1:])),
            ("dtype", self.frame_dtype, frames.dtype),
        ):
            if expected is not None and expected != found:
                raise ReadError(example.path, f"expected frames of {what} {expected} like the others, found {found}")

    def _choose(self, epoch: int, example: Example, length: int) -> Tensor:
        if not self.training:
            return choose(length, self.sampling)
        return choose(length, self.sampling, Generator().manual_seed(self._seed("sample", epoch, example)))

    def _seed(self, purpose: str, epoch: int, example: Example) -> int:
        named = f"{purpose}\0{self.seed}\0{epoch}\0{example.key}".encode()
        return int.from_bytes(hashlib.blake2b(named, digest_size=7).digest(), "little")
