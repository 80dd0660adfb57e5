"""All that knows about lengths: which frames of a padded batch are valid, and what follows from that.

What this file is not: it holds no parameter and no recurrence. A causal recurrence gives the same values before the
padding whatever comes after it, so padding is dealt with here, before and behind it.

In every function `x` is (N, T, *) and `lengths` (N,) int64 on the device of x, each 1..T. No function reads what
stands in the padding: not into its result and not into a gradient. All are differentiable in x, to any order.

Sizes are asked of `shape` and not by len(), whose answer torch.export would write down as a constant.

Shape letters: N clips, T frames, V valid frames of all clips together, V = sum(lengths).
"""

from __future__ import annotations

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """Lengths (N,) which say that every frame of x is valid."""
    return torch.full((x.shape[0],), x.shape[1], dtype=torch.int64, device=x.device)


def ragged(lengths: Tensor | None, t: int) -> Tensor | None:
    """The lengths where they leave any padding in T = `t` frames, else None.

    Asked once at the door of a model, so that batches without padding take the shorter way through every layer. Not
    asked of a program that is being compiled or exported: it cannot depend on the values, and has to serve all.
    """
    if lengths is None or torch.compiler.is_compiling():
        return lengths
    return None if bool((lengths == t).all()) else lengths


def mask(lengths: Tensor, t: int) -> Tensor:
    """(N, T) bool: true where a frame is valid, for T = `t`."""
    return torch.arange(t, device=lengths.device) < lengths[:, None]


def _mask_like(x: Tensor, lengths: Tensor) -> Tensor:
    return mask(lengths, x.shape[1]).reshape(x.shape[:2] + (1,) * (x.ndim - 2))


def pack(x: Tensor, lengths: Tensor | None) -> Tensor:
    """The valid frames of all clips, clip after clip: (V, *). A view of x where there is no padding, as with None."""
    flat = x.flatten(0, 1)
    if lengths is None:
        return flat
    positions = mask(lengths, x.shape[1]).flatten().nonzero()[:, 0]
    if torch.compiler.is_exporting():
        torch._check(positions.shape[0] >= 1)  # or a module could not be exported that asks whether it got anything
    elif not torch.compiler.is_compiling() and len(positions) == len(flat):
        return flat
    return flat.index_select(0, positions)


def unpack(packed: Tensor, lengths: Tensor | None, t: int) -> Tensor:
    """The inverse of `pack`: (V, *) to (N, T, *) with T = `t`, zeros in the padding."""
    if lengths is None:
        return packed.unflatten(0, (-1, t))
    n = lengths.shape[0]
    if not torch.compiler.is_compiling() and len(packed) == n * t:
        return packed.unflatten(0, (n, t))
    positions = mask(lengths, t).flatten().nonzero()[:, 0]
    padded = packed.new_zeros((n * t, *packed.shape[1:])).index_copy(0, positions, packed)
    return padded.unflatten(0, (n, t))


def flip(x: Tensor, lengths: Tensor) -> Tensor:
    """Each clip reversed within its own length, (N, T, *); the padding stays behind it, as zeros."""
    steps = torch.arange(x.shape[1], device=x.device)
    backwards = (lengths[:, None] - 1 - steps).clamp(min=0)
    clips = torch.arange(x.shape[0], device=x.device)[:, None]
    return zero_padding(x[clips, backwards], lengths)


def zero_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """x with zeros in the padding, whatever stood there: (N, T, *)."""
    return torch.where(_mask_like(x, lengths), x, x.new_zeros(()))


def last(x: Tensor, lengths: Tensor) -> Tensor:
    """The last valid frame of each clip: (N, *)."""
    return x[torch.arange(x.shape[0], device=x.device), lengths - 1]


def mean(x: Tensor, lengths: Tensor) -> Tensor:
    """The mean over the valid frames of each clip: (N, *). Summed and divided in float32 at least."""
    exact = torch.promote_types(x.dtype, torch.float32)
    count = lengths.reshape((-1,) + (1,) * (x.ndim - 2))
    return (zero_padding(x, lengths).sum(1, dtype=exact) / count).to(x.dtype)


def max(x: Tensor, lengths: Tensor) -> Tensor:
    """The largest value over the valid frames of each clip, element by element: (N, *)."""
    return torch.where(_mask_like(x, lengths), x, x.new_full((), -torch.inf)).amax(1)
