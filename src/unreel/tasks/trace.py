"""Numbers over time: of every frame (trace), or of steps of their own, however many frames there were (sequence)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, cast

import torch
from torch import Tensor

from unreel.clip import ClipBatch
from unreel.errors import ManifestError
from unreel.tasks.base import Labelled
from unreel.tasks.labels import valid_frames
from unreel.tasks.regress import Regress


class Trace(Regress):
    """K numbers for each frame, squared error. Outputs are in units of the training targets' standard deviation.

    They come as segments (start, end, label) in seconds, end exclusive, a later row winning over an earlier one; the
    label is K numbers with spaces between them. A label of the whole clip holds for every frame that no segment covers.
    Where nothing is said, or a number is `nan`, nothing is known. Target `value` (T, K), nan where nothing is known.
    """

    readout: ClassVar[Literal["clip", "frame"]] = "frame"

    @classmethod
    def label_names(cls, examples: Sequence[Labelled]) -> tuple[str, ...]:
        """`value`, or `value_0`, `value_1`, ... for as many numbers as each label has.

        Raises:
            ManifestError: a label has another count of numbers than the first, or is no number; or there is none.
        """
        count = 0
        for example in examples:
            for label in _labels(example):
                numbers = _numbers(example, label)
                count = count or len(numbers)
                if len(numbers) != count:
                    raise ManifestError(f"expected {count} numbers a label, {example.key} has {label!r}")
        if count == 0:
            raise ManifestError(f"expected numbers over time, found none in {len(examples)} clips")
        return ("value",) if count == 1 else tuple(f"value_{index}" for index in range(count))

    def fit_scale(self, examples: Sequence[Labelled]) -> None:
        """Set `mean` and `std` to those of the examples' known numbers.

        Raises:
            ManifestError: nothing is known of one of them.
        """
        rows = [_numbers(example, label) for example in examples for label in _labels(example)]
        values = torch.tensor(rows, dtype=torch.float64).reshape(-1, len(self.labels))
        for index, column in enumerate(values.T):
            known = column[column.isfinite()]
            if not len(known):
                raise ManifestError(f"expected known numbers {self.labels[index]!r} to learn from, found none")
            self.mean[index] = known.mean()
            self.std[index] = known.std(correction=0).clamp_min(1e-8)

    def encode(self, example: Labelled, times: Tensor) -> Mapping[str, Tensor]:
        """`value` (T, K), float32."""
        target = torch.full((len(times), len(self.labels)), math.nan)
        if example.labels:
            target[:] = torch.tensor(_numbers(example, example.labels[0]))
        starts = torch.tensor([segment.start for segment in example.segments], dtype=torch.float64)
        ends = torch.tensor([segment.end for segment in example.segments], dtype=torch.float64)
        begins, stops = torch.searchsorted(times, starts).tolist(), torch.searchsorted(times, ends).tolist()
        for begin, stop, segment in zip(begins, stops, example.segments, strict=True):
            numbers = _numbers(example, segment.label) if segment.label else [math.nan] * len(self.labels)
            target[begin:stop] = torch.tensor(numbers)
        return {"value": target}

    def _known(self, batch: ClipBatch) -> Tensor:
        """(N, steps) bool: of which all numbers are known."""
        known = batch.targets["value"].isfinite().all(-1)
        return known & valid_frames(batch) if self.readout == "frame" else known

    def loss(self, outputs: Tensor, batch: ClipBatch) -> Tensor:
        """Mean squared error in units of the standard deviation, over what is known; zero where nothing is."""
        known = self._known(batch)
        if not bool(known.any()):
            return outputs.sum() * 0.0
        wanted = (batch.targets["value"][known] - self.mean) / self.std
        return (outputs[known] - wanted).square().mean()

    def pairs(self, outputs: Tensor, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Predicted and true numbers (M, K) of what is known, in the units of the manifest."""
        known = self._known(batch)
        return outputs[known].float() * self.std + self.mean, batch.targets["value"][known]

    def owners(self, batch: ClipBatch) -> Tensor:
        """The clip of each known frame or step."""
        return self._known(batch).nonzero()[:, 0]

    def constant(self, targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """The mean of each number."""
        values = torch.cat([target["value"] for target in targets])
        return values[values.isfinite().all(-1)].mean(0)

    def rows(self, outputs: Tensor, batch: ClipBatch) -> list[dict[str, Any]]:
        """`times`, and `values`: K numbers for each valid frame, in the order of time."""
        said = outputs.float() * self.std + self.mean
        lengths = batch.lengths.tolist()
        return [
            {"times": times[:length].tolist(), "values": values[:length].tolist()}
            for values, times, length in zip(said, batch.times, lengths, strict=True)
        ]

    def truths(self, batch: ClipBatch) -> list[dict[str, Any]]:
        """`truth`: K numbers for each valid frame, None where nothing is known."""
        lengths = batch.lengths.tolist()
        return [
            {"truth": _rows(target[:length])} for target, length in zip(batch.targets["value"], lengths, strict=True)
        ]


class _Length(Protocol):
    @property
    def output_length(self) -> int: ...


class _Decodes(Protocol):
    """What `Series` asks of a model beside its answers; RunConfig allows no other."""

    @property
    def config(self) -> _Length: ...


class Series(Trace):
    """K numbers for each of L steps of their own, whatever the number of frames: the task `sequence`.

    The labels of an example are its steps, each K numbers with spaces between them. An example with fewer than L steps
    says nothing of the others. L is `model.output_length`. Target `value` (L, K), nan where nothing is known.
    """

    readout: ClassVar[Literal["clip", "frame"]] = "clip"

    def encode(self, example: Labelled, times: Tensor) -> Mapping[str, Tensor]:
        """`value` (L, K), float32.

        Raises:
            ManifestError: the example has more steps than the model answers.
        """
        length = cast(_Decodes, self.model).config.output_length
        if len(example.labels) > length:
            raise ManifestError(
                f"expected at most {length} steps, {example.key} has {len(example.labels)}: set model.output_length"
            )
        target = torch.full((length, len(self.labels)), math.nan)
        for step, label in enumerate(example.labels):
            target[step] = torch.tensor(_numbers(example, label))
        return {"value": target}

    def rows(self, outputs: Tensor, batch: ClipBatch) -> list[dict[str, Any]]:
        """`values`: K numbers for each step."""
        return [{"values": values} for values in (outputs.float() * self.std + self.mean).tolist()]

    def truths(self, batch: ClipBatch) -> list[dict[str, Any]]:
        """`truth`: K numbers for each step, None where nothing is known."""
        return [{"truth": _rows(target)} for target in batch.targets["value"]]


def _labels(example: Labelled) -> Iterable[str]:
    yield from example.labels
    yield from (segment.label for segment in example.segments if segment.label)


def _numbers(example: Labelled, label: str) -> list[float]:
    try:
        return [float(text) for text in label.split()]
    except ValueError as error:
        raise ManifestError(
            f"expected numbers with spaces between them, or the name of a table of them, {example.key} has {label!r}"
        ) from error


def _rows(target: Tensor) -> list[list[float] | None]:
    return [row if all(map(math.isfinite, row)) else None for row in target.tolist()]
