"""The recurrence over time: one engine for vectors, series, images and volumes.

`z_t = x_t·W + b + h_{t-1}·U`, where · is a matrix product or a convolution (`ops/products.py`); then the cell's gates
turn z_t and the state into the next state (`ops/cells.py`). This file holds the plain loop, and decides what runs in
its place: `ops/fused.py`, which has the backward written by hand, or cuDNN for vectors (`ops/vendor.py`); under
torch.compile the former as one node of the graph (`ops/opaque.py`), under torch.export the plain loop as one operator
of torch's own (`ops/exported.py`). Weights have one form whatever runs them, so a state dict never depends on it. What
this file is not: it holds no parameter, and knows one layer in one direction only.

Shape letters: N clips, T frames, S positions in space (none for vectors), D features in, H hidden features, G gates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from unreel.errors import ConfigError
from unreel.ops import valid
from unreel.ops.cells import Cell, State
from unreel.ops.exported import Step, loop_in_graph
from unreel.ops.fused import scan_fused
from unreel.ops.opaque import scan_opaque
from unreel.ops.products import Matrix, Product
from unreel.ops.vendor import fits_vendor, scan_vendor
from unreel.ops.weights import Weights

Impl = Literal["auto", "reference", "fast"]
Loop = Callable[[Step, Tensor, State, int], tuple[list[Tensor], State]]
_FAST_DEVICES = ("cpu", "cuda")


def scan(
    cell: Cell,
    x: Tensor,
    weights: Weights,
    state: State | None = None,
    lengths: Tensor | None = None,
    impl: Impl = "auto",
    product: Product | None = None,
    dropped: Tensor | None = None,
) -> tuple[Tensor, State]:
    """Run a cell over the frames of each clip.

    Args:
        cell: one of `ops.cells`.
        x: (N, T, *S, D), T ≥ 1.
        weights: of the cell.
        state: the state before the first frame, `cell.states` tensors (N, *S', H); None for zeros.
        lengths: (N,) valid frames of each clip; None where all are valid.
        impl: "reference" is the loop below and differentiable to any order. "fast" has its backward written by hand;
            a second derivative through it raises. "auto" takes the fast one where it exists. While torch.export
            looks on, "auto" and "reference" are the plain loop as one operator, right for any N, T and S.
        product: how input and state are transformed; None for a matrix.
        dropped: what h is multiplied by before each product with U, broadcast to (N, *S', H): recurrent dropout with
            one mask for all frames. None for nothing.

    Returns:
        out (N, T, *S', H), zeros in the padding; the state after the last valid frame of each clip, (N, *S', H).

    Raises:
        ConfigError: impl="fast" where no fast path exists.
    """
    product = product or Matrix()
    if lengths is not None:
        x = valid.zero_padding(x, lengths)
    run = choose(impl, cell, product, weights, dropped, x.device)
    return run(cell, product, x, weights, state, lengths, dropped)


def choose(
    impl: Impl, cell: Cell, product: Product, weights: Weights, dropped: Tensor | None, device: torch.device
) -> Callable[..., tuple[Tensor, State]]:
    """The implementation that `impl` means for this recurrence. The one place where that is decided.

    It also depends on who looks on: torch.export gets a loop that it can write down (`scan_exported`), torch.compile
    the fast path as one node (`scan_opaque`).

    Raises:
        ConfigError: impl="fast" where no fast path exists; an unknown impl.
    """
    if impl not in get_args(Impl):
        raise ConfigError(f"impl must be one of {', '.join(get_args(Impl))}, got {impl!r}")
    lacking = None
    if weights.gains is not None:
        lacking = "normalises inside the cell"
    elif not cell.reset_after:
        lacking = "resets before the product"
    elif device.type not in _FAST_DEVICES:
        lacking = f"runs on {device.type!r}, and not on one of {', '.join(_FAST_DEVICES)}"
    elif torch.compiler.is_exporting():
        lacking = "is being exported"
    if impl == "reference" or (impl == "auto" and lacking):
        return scan_exported if torch.compiler.is_exporting() else scan_reference
    if lacking:
        raise ConfigError(f"impl='fast' does not exist for a recurrence that {lacking}; use impl='auto'")
    if torch.compiler.is_compiling():
        return scan_opaque
    if device.type == "cuda" and fits_vendor(cell, product, weights, dropped):
        return scan_vendor
    return scan_fused


def loop(step: Step, zx: Tensor, state: State, members: int) -> tuple[list[Tensor], State]:
    """Take a step for each frame.

    Args:
        step: gives the state after a frame.
        zx: (N, T, *S, G·H), x·W + b.
        state: the state before the first frame.
        members: of the state, whose series are wanted.

    Returns:
        The series (N, T, *S, H) of the first `members` of the state; the state after the last frame.
    """
    states = []
    for zx_t in zx.unbind(1):
        state = step(zx_t, state)
        states.append(state[:members])
    return [torch.stack(member, 1) for member in zip(*states, strict=True)], state


def scan_reference(
    cell: Cell,
    product: Product,
    x: Tensor,
    weights: Weights,
    state: State | None,
    lengths: Tensor | None,
    dropped: Tensor | None,
    over_time: Loop = loop,
) -> tuple[Tensor, State]:
    """The recurrence, one line an equation. Arguments and results as in `scan`, with zeros in the padding of x.

    Args:
        cell, product, x, weights, state, lengths, dropped: as in `scan`.
        over_time: `loop`, or another function that does the same.
    """
    zx = product.project(x.flatten(0, 1), weights.kernel).unflatten(0, x.shape[:2])
    if weights.gains is not None:
        zx = normalize(zx.flatten(0, 1), weights.gains[0], len(cell.gates)).unflatten(0, x.shape[:2])
    if weights.bias is not None:
        zx = zx + weights.bias
    bias = cell.lift(weights.recurrent_bias)

    def recur(h: Tensor, gates: slice) -> Tensor:
        zh = product.recur(h if dropped is None else h * dropped, product.gates(weights.recurrent_kernel, gates))
        if weights.gains is not None:
            gains = weights.gains[1].unflatten(0, (len(cell.gates), -1))[gates]
            zh = normalize(zh, gains.flatten(), len(gains))
        return zh if bias is None else zh + bias

    def step(zx_t: Tensor, before: State) -> State:
        after = cell.step(zx_t, recur, before, weights.peephole)
        # under autocast the products are in a lower precision; the state stays in its own
        return tuple(member.to(old.dtype) for member, old in zip(after, before, strict=True))

    start = state or zeros(cell, product, zx, weights)
    series, end = over_time(step, zx, start, 1 if lengths is None else cell.states)
    if lengths is None:
        return series[0], end
    return valid.zero_padding(series[0], lengths), tuple(valid.last(member, lengths) for member in series)


def scan_exported(
    cell: Cell,
    product: Product,
    x: Tensor,
    weights: Weights,
    state: State | None,
    lengths: Tensor | None,
    dropped: Tensor | None,
) -> tuple[Tensor, State]:
    """As `scan_reference`, with the loop as one operator of the graph."""
    return scan_reference(cell, product, x, weights, state, lengths, dropped, loop_in_graph)


def zeros(cell: Cell, product: Product, zx: Tensor, weights: Weights) -> State:
    """The state before the first frame, `cell.states` tensors (N, *S', H), for zx (N, T, *S', G·H)."""
    shape = (zx.shape[0], *zx.shape[2:-1], product.hidden(weights.recurrent_kernel))
    return (zx.new_zeros(shape, dtype=weights.recurrent_kernel.dtype),) * cell.states


def normalize(z: Tensor, gain: Tensor, gates: int) -> Tensor:
    """Each gate of each clip brought to mean 0 and variance 1 over space and features, then times its gain.

    Layer normalisation inside a recurrence, Ba, Kiros and Hinton (2016), equations 20 to 22, without their
    normalisation of c; over space too, so that any size of image keeps its meaning.

    Args:
        z: (N, *S, G·H).
        gain: (G·H,).
        gates: G.
    """
    return functional.group_norm(z.movedim(-1, 1), gates, gain).movedim(1, -1)
