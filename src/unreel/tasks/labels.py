"""Label names as they stand in a manifest, put into the order of outputs; and which frames have labels at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from unreel.clip import ClipBatch
from unreel.errors import ManifestError
from unreel.natural import natural_key
from unreel.tasks.base import Labelled

UNKNOWN = -1  # target of a frame of which nothing is known: it counts in no loss and no measure


def valid_frames(batch: ClipBatch) -> Tensor:
    """(N, T) bool: which frames are not padding."""
    return torch.arange(batch.frames.shape[1], device=batch.lengths.device) < batch.lengths[:, None]


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names in natural order."""
    return tuple(sorted(set(names), key=natural_key))


def sorted_labels(examples: Sequence[Labelled], at_least: int) -> tuple[str, ...]:
    """All clip labels that occur, in natural order.

    Raises:
        ManifestError: fewer than `at_least` different ones.
    """
    names = in_order(label for example in examples for label in example.labels)
    if len(names) < at_least:
        raise ManifestError(
            f"expected at least {at_least} different labels, found {list(names)} in {len(examples)} clips; "
            "check the label column or the names of the class folders"
        )
    return names
