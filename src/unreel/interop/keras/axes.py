"""In which order a tensor's axes lie, where Keras has one order and torch another.

Keras's tensors are channels_last unless a layer says otherwise; in a loaded model they lie in torch's order. `Axes`
describes a tensor: its axis i is axis `axes[i]` of Keras's tensor. So Keras's images (N, H, W, C), here (N, C, H, W),
have the axes (0, 3, 1, 2). What this file is not: it moves no tensor.

Shape letters: N clips, T frames, C channels, H W pixels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from unreel.interop.keras.configs import MODELS, Layer, chain

Axes = tuple[int, ...]

ALONG_ONE_AXIS = ("Dense", "BatchNormalization", "Masking", "Activation", "ReLU", "Dropout")
"""Layers that leave the number and the order of axes as they are, and take any order."""


def preferred_axes(layer: Layer, rank: int) -> Axes | None:
    """The order in which a layer wants a tensor of `rank` axes; None where it takes any."""
    if layer.kind in MODELS:
        return first_preferred(chain(layer), rank)
    if layer.kind == "Bidirectional":
        return preferred_axes(layer.wrapped(), rank)
    if layer.kind == "TimeDistributed":
        inner = preferred_axes(layer.wrapped(), rank - 1)
        return None if inner is None else with_time(inner)
    if layer.kind in ("SimpleRNN", "LSTM", "GRU") or layer.options.get("data_format") == "channels_first":
        return tuple(range(rank))
    if layer.kind.startswith("ConvLSTM"):
        return (0, 1, rank - 1, *range(2, rank - 1))
    if re.fullmatch(r"(Conv|(Global)?(Max|Average)Pooling)[123]D", layer.kind):
        return (0, rank - 1, *range(1, rank - 1))
    return None


def first_preferred(parts: Sequence[Layer], rank: int) -> Axes | None:
    """The order that the first layer with a wish wants, if those before it keep the axes; else None."""
    for part in parts:
        axes = preferred_axes(part, rank)
        if axes is not None or part.kind not in ALONG_ONE_AXIS:
            return axes
    return None


def permutation(axes: Axes, wanted: Axes | None) -> Axes:
    """How to permute a tensor in the order `axes` so that it lies in the order `wanted`."""
    assert wanted is not None
    return tuple(axes.index(axis) for axis in wanted)


def last(axes: Axes) -> int:
    """Where Keras's last axis lies."""
    return axes.index(len(axes) - 1)


def without(axes: Axes, removed: Sequence[int]) -> Axes:
    """The order of axes once some of Keras's are gone."""
    left = [axis for axis in axes if axis not in removed]
    return tuple(sorted(left).index(axis) for axis in left)


def with_time(axes: Axes) -> Axes:
    """The order of axes of frames that lie one after another."""
    return (0, 1, *(axis + 1 for axis in axes[1:]))
