"""Clip and ClipBatch: the one thing that flows from readers to tasks; LongClip, where it is too long to be held.

What this file is not: it knows no file, no label name and no model. Models, layers and ops never see it; they take
the tensors inside.

Shape letters: N clips, T frames, `*frame` one frame: (C, H, W) pixels, (D,) features, () tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor


def _shapes(targets: Mapping[str, Tensor]) -> str:
    return "{" + ", ".join(f"{name}: {tuple(target.shape)}" for name, target in targets.items()) + "}"


@dataclass(frozen=True, eq=False, repr=False)
class Clip:
    """Frames of one source in the order of time.

    Args:
        frames: (T, *frame). uint8 for images, float for fields and features, int64 for tokens. T ≥ 1.
        times: (T,) float64, seconds (or position) of each frame in its source, as the container tells them.
        key: unique, printable and stable name, such as `"a.mp4@12.0-14.0"`.
        views: (T,) int64, the view that each frame belongs to; None where there is one view.
        targets: what is known of the clip, by name: any shape for the clip as a whole, (T, ...) for each frame.

    Raises:
        ValueError: a shape or dtype disagrees with the above.
    """

    frames: Tensor
    times: Tensor
    key: str
    views: Tensor | None = None
    targets: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.frames.ndim < 1 or len(self.frames) == 0:
            raise ValueError(f"frames of {self.key!r} must be (T, *frame) with T ≥ 1, got {tuple(self.frames.shape)}")
        for name, tensor in (("times", self.times), ("views", self.views)):
            if tensor is not None and tensor.shape != (len(self),):
                raise ValueError(f"{name} of {self.key!r} must be ({len(self)},), got {tuple(tensor.shape)}")
        if self.times.dtype != torch.float64:
            raise ValueError(f"times of {self.key!r} must be float64, got {self.times.dtype}")
        if not self.key.isprintable() or not self.key:
            raise ValueError(f"key must be printable and not empty, got {self.key!r}")

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        views = "" if self.views is None else f", views={tuple(self.views.shape)}"
        return (
            f"Clip({self.key!r}, frames={tuple(self.frames.shape)} {self.frames.dtype}, "
            f"times={self.times[0]:.3f}..{self.times[-1]:.3f}{views}, targets={_shapes(self.targets)})"
        )


@dataclass(frozen=True, eq=False, repr=False)
class ClipBatch:
    """Clips side by side, each padded with zeros after its own length.

    Args:
        frames: (N, T, *frame), zero after each length.
        lengths: (N,) int64, number of valid frames of each clip, 1 ≤ length ≤ T.
        times: (N, T) float64, zero after each length.
        keys: the N keys.
        views: (N, T) int64, zero after each length; None where there is one view.
        targets: (N, ...) for clips, (N, T, ...) for frames, zero after each length.

    Raises:
        ValueError: a shape disagrees with the above.
    """

    frames: Tensor
    lengths: Tensor
    times: Tensor
    keys: tuple[str, ...]
    views: Tensor | None = None
    targets: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, t = self.frames.shape[:2]
        if self.lengths.shape != (n,) or len(self.keys) != n:
            raise ValueError(f"a batch of {n} needs {n} lengths and keys, got {len(self.lengths)} and {len(self.keys)}")
        for name, tensor in (("times", self.times), ("views", self.views)):
            if tensor is not None and tensor.shape != (n, t):
                raise ValueError(f"{name} must be {(n, t)}, got {tuple(tensor.shape)}")
        for name, target in self.targets.items():
            if len(target) != n:
                raise ValueError(f"target {name!r} must start with N = {n}, got {tuple(target.shape)}")

    def __len__(self) -> int:
        return len(self.frames)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ClipBatch:
        """The same batch with every tensor on `device`. Times stay float64, on the CPU where the device has none."""
        move = partial(torch.Tensor.to, device=device, non_blocking=non_blocking)
        keeps_float64 = torch.device(device).type != "mps"
        return replace(
            self,
            frames=move(self.frames),
            lengths=move(self.lengths),
            times=move(self.times) if keeps_float64 else self.times,
            views=None if self.views is None else move(self.views),
            targets={name: move(target) for name, target in self.targets.items()},
        )

    def pin_memory(self) -> ClipBatch:
        """The same batch in page-locked memory. The DataLoader calls this by its name."""
        return replace(
            self,
            frames=self.frames.pin_memory(),
            lengths=self.lengths.pin_memory(),
            times=self.times.pin_memory(),
            views=None if self.views is None else self.views.pin_memory(),
            targets={name: target.pin_memory() for name, target in self.targets.items()},
        )

    def __repr__(self) -> str:
        views = "" if self.views is None else f", views={tuple(self.views.shape)}"
        return (
            f"ClipBatch(frames={tuple(self.frames.shape)} {self.frames.dtype}, "
            f"lengths={self.lengths.tolist()}{views}, targets={_shapes(self.targets)})"
        )


@dataclass(frozen=True, eq=False, repr=False)
class LongClip:
    """One clip whose frames stay where they are, and are read a chunk at a time.

    Args:
        whole: all that is known of the clip but its frames, as a batch of one clip whose frames are (1, T, 0).
        chunk: frames in a chunk; the last one may have fewer.
        frames: chunk index to frames (t, *frame), read at that moment, as often as it is asked.
        device: where `read` puts the frames.
        listeners: each is called with the index of every chunk that was read: for progress.

    Raises:
        ValueError: `whole` is not one clip, or has frames in it, or chunk is below 1.
    """

    whole: ClipBatch
    chunk: int
    frames: Callable[[int], Tensor]
    device: torch.device | str = "cpu"
    listeners: list[Callable[[int], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        shape = tuple(self.whole.frames.shape)
        if len(shape) != 3 or shape[0] != 1 or shape[2] != 0:
            raise ValueError(f"a long clip is one clip with frames of (1, T, 0), got {shape}")
        if self.chunk < 1:
            raise ValueError(f"chunk must be at least 1 frame, got {self.chunk}")

    @property
    def key(self) -> str:
        """The clip's key."""
        return self.whole.keys[0]

    @property
    def chunks(self) -> int:
        """How many there are."""
        return -(-self.whole.frames.shape[1] // self.chunk)

    def read(self, index: int) -> Tensor:
        """Frames (1, t, *frame) of a chunk, on `device`.

        Raises:
            ReadError: they cannot be read.
        """
        frames = self.frames(index).unsqueeze(0).to(self.device)
        for listener in self.listeners:
            listener(index)
        return frames

    def cut(self, index: int) -> ClipBatch:
        """A chunk as an ordinary batch of one clip, on `device`; its key says from when to when, in seconds.

        Raises:
            ReadError: its frames cannot be read.
            ValueError: a target does not have one row a frame.
        """
        whole, begin = self.whole, index * self.chunk
        place = slice(begin, begin + self.chunk)
        for name, target in whole.targets.items():
            if target.shape[:2] != whole.frames.shape[:2]:
                raise ValueError(f"target {name!r} of {self.key!r} must have a row a frame, got {tuple(target.shape)}")
        frames, times = self.read(index), whole.times[:, place]
        return ClipBatch(
            frames=frames,
            lengths=torch.full((1,), frames.shape[1], device=whole.lengths.device),
            times=times,
            keys=(f"{self.key}@{float(times[0, 0]):.3f}-{float(times[0, -1]):.3f}",),
            views=None if whole.views is None else whole.views[:, place],
            targets={name: target[:, place] for name, target in whole.targets.items()},
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> LongClip:
        """The same clip with its tensors, and every chunk that is read from now on, on `device`."""
        return replace(self, whole=self.whole.to(device, non_blocking), device=device)

    def __repr__(self) -> str:
        return f"LongClip({self.key!r}, {self.chunks} chunks of {self.chunk} frames, {self.whole!r})"


@dataclass(frozen=True, eq=False)
class Chunk:
    """A piece of a clip, to be learned from after the piece before it.

    Args:
        clip: a batch of one clip, as any other.
        begins: whether it is its clip's first piece.
        ends: whether it is the last.
    """

    clip: ClipBatch
    begins: bool
    ends: bool

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Chunk:
        """The same chunk with every tensor on `device`."""
        return replace(self, clip=self.clip.to(device, non_blocking))


@dataclass(frozen=True)
class Missing:
    """Stands where a clip or chunk could not be read: it counts as a step, and teaches nothing.

    Args:
        key: of the clip.
        reason: why, one line.
    """

    key: str
    reason: str

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Missing:
        """Itself."""
        return self


def collate(clips: Sequence[Clip]) -> ClipBatch:
    """Join clips into a batch, padding with zeros behind each.

    A target of equal shape in every clip is stacked; one whose first size is each clip's own T is padded like frames;
    lists of rows, of two or more dimensions, are padded with zeros behind in each of these.

    Args:
        clips: N ≥ 1 clips of equal frame shape, equal dtype and equal target names.

    Raises:
        ValueError: clips do not fit together; the message names the two that disagree.
    """
    if not clips:
        raise ValueError("collate needs at least one clip, got none")
    first = clips[0]
    for clip in clips[1:]:
        for what, ours, theirs in (
            ("frame shape", tuple(first.frames.shape[1:]), tuple(clip.frames.shape[1:])),
            ("dtype", first.frames.dtype, clip.frames.dtype),
            ("target names", sorted(first.targets), sorted(clip.targets)),
            ("views", first.views is None, clip.views is None),
        ):
            if ours != theirs:
                raise ValueError(
                    f"clips of one batch need one {what}: {first.key!r} has {ours}, {clip.key!r} has {theirs}"
                )
    return ClipBatch(
        frames=stacked([clip.frames for clip in clips]),
        lengths=torch.tensor([len(clip) for clip in clips]),
        times=stacked([clip.times for clip in clips]),
        keys=tuple(clip.key for clip in clips),
        views=None if first.views is None else stacked([clip.views for clip in clips if clip.views is not None]),
        targets={name: _join_targets(name, clips) for name in first.targets},
    )


def _join_targets(name: str, clips: Sequence[Clip]) -> Tensor:
    targets = [clip.targets[name] for clip in clips]
    of_rows = targets[0].ndim >= 2 and all(target.ndim == targets[0].ndim for target in targets)
    if of_rows or all(target.shape == targets[0].shape for target in targets):
        return stacked(targets)
    for clip, target in zip(clips, targets, strict=True):
        if target.ndim == 0 or len(target) != len(clip):
            raise ValueError(
                f"target {name!r} must have one shape in all clips, one row per frame, or be a list of rows; "
                f"{clip.key!r} has {len(clip)} frames and a target of {tuple(target.shape)}"
            )
    return stacked(targets)


def stacked(tensors: Sequence[Tensor]) -> Tensor:
    """N tensors of one number of dimensions side by side, padded with zeros behind where they differ in size."""
    if all(tensor.shape == tensors[0].shape for tensor in tensors):
        return torch.stack(list(tensors))
    shape = [max(sizes) for sizes in zip(*(tensor.shape for tensor in tensors), strict=True)]
    padded = tensors[0].new_zeros((len(tensors), *shape))
    for row, tensor in zip(padded, tensors, strict=True):
        row[tuple(slice(size) for size in tensor.shape)] = tensor
    return padded


def widened(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same tensors, all of one number of dimensions, each padded with zeros behind in every dimension but the first
    to the largest there is: so that they can be put one after another.
    """
    shape = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    wide = []
    for tensor in tensors:
        if list(tensor.shape[1:]) == shape:
            wide.append(tensor)
            continue
        whole = tensor.new_zeros((len(tensor), *shape))
        whole[tuple(slice(size) for size in tensor.shape)] = tensor
        wide.append(whole)
    return wide
