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
from torch import Generator, Tensor
from torch.utils.data import Dataset

from unreel.clip import Clip, ClipBatch, stacked
from unreel.data.cache import FrameCache, Kept
from unreel.data.films import Film
from unreel.data.manifest import Example
from unreel.data.readers import Reading, open_source
from unreel.data.readers.audio import is_sound_name
from unreel.data.readers.text import reads_text
from unreel.data.sampling import SamplingConfig, choose_by_view, within
from unreel.data.sound_transforms import augment_sound, shift_sound
from unreel.data.transforms import AugmentConfig, PreprocessConfig, augment, augment_each, preprocess
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
        self._kept: dict[int, Kept] = {}

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, place: tuple[int, int]) -> Clip | Broken:
        epoch, index = place
        example = self.examples[index]
        try:
            frames, times, views = self._frames(epoch, index, example)
            self._check_fit(example, frames)
        except ReadError as error:
            return Broken(example.key, example.path, error.reason)
        frames, heard = self._shift(epoch, example, frames, times)
        frames = self._change(epoch, example, frames)
        targets = {} if self.encode_targets is None else self.encode_targets(example, heard)
        return Clip(frames=frames, times=times, key=example.key, views=views, targets=targets)

    def __getitems__(self, places: Sequence[tuple[int, int]]) -> ClipBatch | list[Clip | Broken]:
        """A batch at once, which the DataLoader asks for by this name.

        Clips of one frame and one view that are kept in memory come joined, as `collate` would join them and many times
        faster; all others one by one.
        """
        stills = self._stills([index for _, index in places])
        if stills is None:
            return [self[place] for place in places]
        frames, times = stills
        examples = [self.examples[index] for _, index in places]
        if self.training and self.augment is not None:
            seeds = [
                self._seed("augment", epoch, example) for (epoch, _), example in zip(places, examples, strict=True)
            ]
            frames = augment_each(frames, self.augment, seeds)
        targets = []
        if self.encode_targets is not None:
            targets = [self.encode_targets(*pair) for pair in zip(examples, times.unsqueeze(1), strict=True)]
        names = targets[0] if targets else {}
        return ClipBatch(
            frames=frames.unsqueeze(1),
            lengths=torch.ones(len(places), dtype=torch.int64),
            times=times.unsqueeze(1),
            keys=tuple(example.key for example in examples),
            targets={name: stacked([target[name] for target in targets]) for name in names},
        )

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
            chosen = self._choose(epoch, example, inside, source.views)
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
                _at(source.views, chosen),
            )

    def count(self, index: int) -> int | Broken:
        """How many frames of an example are taken, the same in every epoch; its file is opened, no frame read."""
        example = self.examples[index]
        path = self.root / example.path
        try:
            with open_source(path, self.reading) as source:
                inside = self._inside(path, source.times, example)
                return len(choose_by_view(len(inside), _at(source.views, inside), self.sampling))
        except ReadError as error:
            return Broken(example.key, example.path, error.reason)

    def _stills(self, indices: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        """Frames (n, *frame) and times (n,) of clips of one frame; None if not all are, in memory, and fit.

        None of sounds too: what is drawn for them is another.
        """
        if any(is_sound_name(self.examples[index].path) for index in indices):
            return None
        kept = [self._kept[index] for index in indices if index in self._kept]
        if not kept or len(kept) < len(indices):
            return None
        shape, dtype = kept[0][0].shape, kept[0][0].dtype
        for frames, times, views in kept:
            if len(times) != 1 or views is not None or frames.shape != shape or frames.dtype != dtype:
                return None
        frames = torch.from_numpy(np.concatenate([frames for frames, _, _ in kept]))
        if self.frame_shape not in (None, tuple(frames.shape[1:])) or self.frame_dtype not in (None, frames.dtype):
            return None
        return frames, torch.cat([times for _, times, _ in kept])

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

    def _frames(self, epoch: int, index: int, example: Example) -> tuple[Tensor, Tensor, Tensor | None]:
        """The chosen frames (T, *frame), preprocessed, their times and their views."""
        path = self.root / example.path
        if self.cache is None and not self.memory:
            with open_source(path, self.reading) as source:
                chosen = self._choose(epoch, example, self._inside(path, source.times, example), source.views)
                frames = preprocess(source.read(chosen.tolist()), self.preprocess)
                return frames, source.times[chosen], _at(source.views, chosen)
        whole, times, views = self._whole(path, index, example)
        chosen = self._choose(epoch, example, torch.arange(len(times)), views)
        return torch.from_numpy(np.ascontiguousarray(whole[chosen.numpy()])), times[chosen], _at(views, chosen)

    def _whole(self, path: Path, index: int, example: Example) -> Kept:
        """All frames of an example, preprocessed, from memory, from the cache or from the file."""
        if index in self._kept:
            return self._kept[index]
        if self.cache is None or reads_text(path):  # tokens cost nothing, and depend on the vocabulary
            frames, times, views = self._decode(path, example)
            whole = frames.numpy(), times, views
        else:
            whole = self.cache.get(path, example, self.preprocess, lambda: self._decode(path, example))
        if self.memory:
            self._kept[index] = whole
        return whole

    def _decode(self, path: Path, example: Example) -> tuple[Tensor, Tensor, Tensor | None]:
        with open_source(path, self.reading) as source:
            inside = self._inside(path, source.times, example)
            # a piece at a time: the frames of a long video are far larger before preprocessing than after
            pieces = [preprocess(source.read(piece.tolist()), self.preprocess) for piece in inside.split(64)]
            return torch.cat(pieces), source.times[inside], _at(source.views, inside)

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

    def _choose(self, epoch: int, example: Example, inside: Tensor, views: Tensor | None) -> Tensor:
        """The frames that are taken of those `inside` (n,), by the views of all frames."""
        generator = Generator().manual_seed(self._seed("sample", epoch, example)) if self.training else None
        return inside[choose_by_view(len(inside), _at(views, inside), self.sampling, generator)]

    def _seed(self, purpose: str, epoch: int, example: Example) -> int:
        named = f"{purpose}\0{self.seed}\0{epoch}\0{example.key}".encode()
        return int.from_bytes(hashlib.blake2b(named, digest_size=7).digest(), "little")


def _at(views: Tensor | None, places: Tensor) -> Tensor | None:
    return None if views is None else views[places]
