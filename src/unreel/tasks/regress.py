"""Regression: numbers of a clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection, R2Score

from unreel.clip import ClipBatch
from unreel.errors import ManifestError
from unreel.tasks.base import Labelled, Task
from unreel.tasks.measures import collect


class Regress(Task[Tensor]):
    """K numbers a clip, squared error. Outputs are in units of the training targets' standard deviation.

    The labels of an example are its numbers. `mean` and `std` (K,) are part of the state dict: call `fit_scale` once
    on the training examples. Target `value` (K,).
    """

    readout = "clip"
    monitor = "mae"
    mode = "min"
    also = ("rmse",)
    has_classes = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(len(self.labels)))
        self.register_buffer("std", torch.ones(len(self.labels)))

    @classmethod
    def label_names(cls, examples: Sequence[Labelled]) -> tuple[str, ...]:
        """`value`, or `value_0`, `value_1`, ... for as many numbers as each example has.

        Raises:
            ManifestError: an example has another count of numbers than the first, or something that is no number.
        """
        count = len(examples[0].labels) if examples else 0
        for example in examples:
            if len(example.labels) != count or count == 0:
                raise ManifestError(
                    f"expected {count or 'one or more'} numbers a clip, {example.key} has {example.labels}"
                )
            _numbers(example)
        return ("value",) if count == 1 else tuple(f"value_{index}" for index in range(count))

    def fit_scale(self, examples: Sequence[Labelled]) -> None:
        """Set `mean` and `std` to those of the examples' numbers."""
        values = torch.tensor([_numbers(example) for example in examples])
        self.mean.copy_(values.mean(0))
        self.std.copy_(values.std(0, correction=0).clamp_min(1e-8))

    def encode(self, example: Labelled, times: Tensor) -> Mapping[str, Tensor]:
        """`value` (K,), float32."""
        return {"value": torch.tensor(_numbers(example), dtype=torch.float32)}

    def loss(self, outputs: Tensor, batch: ClipBatch) -> Tensor:
        """Mean squared error in units of the standard deviation."""
        return functional.mse_loss(outputs, (batch.targets["value"] - self.mean) / self.std)

    def pairs(self, outputs: Tensor, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Predicted and true numbers (N, K), in the units of the manifest."""
        return outputs.float() * self.std + self.mean, batch.targets["value"]

    def constant(self, targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """The mean of each number."""
        return torch.stack([target["value"] for target in targets]).mean(0)

    def make_measures(self, sync: bool = True) -> MetricCollection:
        """Mean absolute error, root of the mean squared error, R²."""
        return collect(
            {
                "mae": MeanAbsoluteError(sync_on_compute=sync),
                "rmse": MeanSquaredError(squared=False, sync_on_compute=sync),
                "r2": R2Score(multioutput="uniform_average", sync_on_compute=sync),
            }
        )

    def rows(self, outputs: Tensor, batch: ClipBatch) -> list[dict[str, Any]]:
        """`values`: the numbers."""
        return [{"values": values} for values in (outputs.float() * self.std + self.mean).tolist()]

    def truths(self, batch: ClipBatch) -> list[dict[str, Any]]:
        """`truth`: the true numbers."""
        return [{"truth": values} for values in batch.targets["value"].tolist()]


def _numbers(example: Labelled) -> list[float]:
    try:
        return [float(text) for text in example.labels]
    except ValueError as error:
        raise ManifestError(f"regress needs numbers as labels, {example.key} has {example.labels}") from error
