"""The fast path of the scan: own buffers, gates in one pass, and a backward written by hand.

Forward, a step is two products and the gates; backward, the gates' derivatives, one transposed product to the state,
and the gradients of the weights, where they run at full speed: step by step while the operands are in cache for a
convolution, all at once for a matrix. What is kept for the backward is the gates (G values a feature) and the states;
nothing else. Series lie time first in memory, (T, N, *S, H), so that each step is one piece.

A second derivative through here raises: its terms are not written. What this file is not: the gates' arithmetic is in
`ops/gates.py`, gradients of the products in `ops/gradients.py`.

Shape letters: N clips, T frames, S positions in space, D features in, H hidden features, G gates.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unreel.ops import gates, image_series, series
from unreel.ops.cells import Cell, State
from unreel.ops.convolve import packed
from unreel.ops.feeds import Feed, feed_of
from unreel.ops.gates import Biases, buffer
from unreel.ops.gradients import Gradients, MatrixGradients, gradients_of
from unreel.ops.precision import cast, under_autocast
from unreel.ops.products import Convolution, Product
from unreel.ops.weights import Weights


@dataclass(frozen=True)
class Setting:
    """What of a scan is no tensor.

    Args:
        cell: the gates.
        product: matrix or convolution.
        ends: (N,) valid frames of each clip; None where all are valid.
        compute: dtype of the products, that of autocast; None for the dtype of the tensors.
        starts: whether a state is given; without one the first step has no recurrent product.
        keep: whether there may be a backward.
    """

    cell: Cell
    product: Product
    ends: tuple[int, ...] | None
    compute: torch.dtype | None
    starts: bool
    keep: bool


def scan_fused(
    cell: Cell,
    product: Product,
    x: Tensor,
    weights: Weights,
    state: State | None,
    lengths: Tensor | None,
    dropped: Tensor | None,
) -> tuple[Tensor, State]:
    """As `ops.scan.scan_reference`."""
    compute = under_autocast(x, weights.kernel)
    ends = None if lengths is None else tuple(lengths.tolist())
    tensors = (
        x,
        weights.kernel,
        weights.recurrent_kernel,
        weights.bias,
        weights.recurrent_bias,
        weights.peephole,
        dropped,
        *(state or ()),
    )
    keep = torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
    setting = Setting(cell, product, ends, compute, state is not None, keep)
    with torch.autocast(x.device.type, enabled=False):
        out, *end = _Scan.apply(setting, *tensors)  # type: ignore[no-untyped-call]
    return out, tuple(end)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, setting: Setting, x: Tensor, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        kernel, recurrent_kernel, bias, recurrent_bias, peephole, dropped, *state = tensors
        assert isinstance(kernel, Tensor)
        assert isinstance(recurrent_kernel, Tensor)
        biases = Biases(bias, recurrent_bias, peephole)
        given = tuple(member for member in state if member is not None)
        out, end, series, kept = run_forward(setting, x, kernel, recurrent_kernel, biases, dropped, given)
        if setting.keep:
            ctx.setting = setting
            ctx.save_for_backward(x, *tensors, kept, *series)
        ctx.set_materialize_grads(False)
        return out, *end

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        refuse_second_derivative()
        setting: Setting = ctx.setting
        x, kernel, recurrent_kernel, bias, recurrent_bias, peephole, dropped, *rest = ctx.saved_tensors
        states = setting.cell.states
        given, (kept, *series) = (rest[:states], rest[states:]) if setting.starts else ([], rest)
        dout, *dend = cotangents
        return None, *run_backward(
            setting,
            x,
            kernel,
            recurrent_kernel,
            Biases(bias, recurrent_bias, peephole),
            dropped,
            tuple(given),
            kept,
            tuple(series),
            dout,
            tuple(dend),
            ctx.needs_input_grad[1:],
        )


def refuse_second_derivative() -> None:
    """Called at the head of a backward, whose terms are written for the first derivative only.

    Raises:
        RuntimeError: the gradient is to be differentiated again.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "a second derivative through the fast recurrence (create_graph=True) has no formula here; "
            "build the layer with impl='reference', which is differentiable to any order"
        )


def run_forward(
    setting: Setting,
    x: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    biases: Biases,
    dropped: Tensor | None,
    given: State,
) -> tuple[Tensor, State, State, Tensor]:
    """Output (N, T, *S', H), end state, series of states (T, N, *S', H) and what else the backward needs."""
    cell, product, compute, keep = setting.cell, setting.product, setting.compute, setting.keep
    n, t = x.shape[:2]
    shape = (n, *product.space(x.shape[2:-1], kernel), product.hidden(recurrent_kernel))
    dtype = x.dtype if compute is None else torch.float32
    for member in given:
        if member.shape != shape:
            raise ValueError(
                f"the state of frames like these is {shape}, space before channels; got {tuple(member.shape)}"
            )
    before = tuple(packed(member.to(dtype)) for member in given)
    before = before or (x.new_zeros(shape, dtype=dtype),) * cell.states
    plain = dropped is None and compute is None
    vectors = plain and series.serves(cell, product, biases, recurrent_kernel, before[0])
    images = plain and image_series.serves(cell, product, biases, kernel, recurrent_kernel, before[0])
    all_kept = keep or ((vectors or images) and setting.ends is not None)
    states = tuple(buffer(x, (t if all_kept or not member else 1, *shape), dtype) for member in range(cell.states))
    kept = buffer(x, (t if keep else 0, gates.PLANES[cell.kind], *shape), dtype)
    if vectors:
        series.forward(cell, x, kernel, recurrent_kernel, biases, before, states, kept if keep else None)
        end = series.ends(states, setting.ends)
    elif images:
        assert isinstance(product, Convolution)
        place = kept if keep else None
        image_series.forward(cell, product, x, kernel, recurrent_kernel, biases, before, setting.starts, states, place)
        end = series.ends(states, setting.ends)
    else:
        feed = feed_of(
            product, cell, cast(x, compute), cast(kernel, compute), cast(recurrent_kernel, compute), biases, before[0]
        )
        end = _run(setting, feed, biases, dropped, before, states, kept)
    out = states[0].transpose(0, 1)
    for clip, length in enumerate(setting.ends or ()):
        states[0][length:, clip] = 0
    return out, end, states, kept


def _run(
    setting: Setting,
    feed: Feed,
    biases: Biases,
    dropped: Tensor | None,
    before: State,
    series: State,
    kept: Tensor,
) -> State:
    """All steps one after another, into `series` and `kept`; the state after each clip's last valid frame."""
    t = len(series[0])
    one_step = gates.choose(setting.cell, biases, before[0])
    end = tuple(torch.empty_like(member) for member in before)
    ends = None if setting.ends is None else _Ends(setting.ends, kept.device)
    planes = kept.unbind(0) if setting.keep else (None,) * t
    for step, (after, plane) in enumerate(zip(_by_step(series, t), planes, strict=True)):
        h = _dropped(before[0], dropped, setting.compute) if step or setting.starts else None
        one_step.forward(*feed.at(step, h), feed.base, before, after, plane)
        before = after
        if ends is not None:
            ends.keep(step + 1, after, end)
    return tuple(member.clone() for member in before) if ends is None else end


def run_backward(
    setting: Setting,
    x: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    biases: Biases,
    dropped: Tensor | None,
    given: State,
    kept: Tensor,
    states: State,
    dout: Tensor | None,
    dend: tuple[Tensor | None, ...],
    needs: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """Gradients of x, W, U, b, the recurrent bias, the peepholes, `dropped` (none), and the state given."""
    cell, product, compute = setting.cell, setting.product, setting.compute
    like = states[0][0]
    given = tuple(packed(member.to(like.dtype)) for member in given)
    before = given or (torch.zeros_like(like),) * cell.states
    plain = dropped is None and compute is None
    if plain and image_series.serves(cell, product, biases, kernel, recurrent_kernel, like):
        assert isinstance(product, Convolution)
        dx, dkernel, drecurrent, grads, first = image_series.backward(
            cell,
            product,
            x,
            kernel,
            recurrent_kernel,
            biases,
            before,
            setting.starts,
            states,
            kept,
            setting.ends,
            dout,
            dend,
            needs[0],
        )
        return dx, dkernel, drecurrent, *grads, None, *(first if setting.starts else ())
    first_h = given[0] if given else None
    gather = gradients_of(product, cell, x, kernel, recurrent_kernel, states[0], first_h, dropped, compute, needs[0])
    if plain and series.serves(cell, product, biases, recurrent_kernel, like):
        assert isinstance(gather, MatrixGradients)
        first, grads = series.backward(
            cell, recurrent_kernel, before, states, kept, setting.ends, dout, dend, gather.dzx, gather.dzh, biases
        )
    else:
        first, grads = _run_back(setting, gather, biases, dropped, before, states, kept, dout, dend, any(needs[7:]))
    return *gather.finish(), *grads, None, *(first if setting.starts else ())


def _run_back(
    setting: Setting,
    gather: Gradients,
    biases: Biases,
    dropped: Tensor | None,
    first: State,
    series: State,
    kept: Tensor,
    dout: Tensor | None,
    dend: tuple[Tensor | None, ...],
    needs_first: bool,
) -> tuple[State, Biases]:
    """All steps from the last to the first, into `gather`; gradients of the first state and of the biases."""
    like = series[0][0]
    one_step = gates.choose(setting.cell, biases, like)
    douts = gather.by_step(dout)
    dh = buffer(like, like.shape, like.dtype)
    dh.zero_() if dout is None else dh.copy_(douts[-1])
    dc = torch.zeros_like(dh) if setting.cell.states == 2 else None
    ends = None if setting.ends is None else _Ends(setting.ends, kept.device)
    if ends is None:
        _add(tuple(zip((dh, dc), dend, strict=False)))
    states = (first, *_by_step(series, len(kept)))
    for step in reversed(range(len(kept))):
        if ends is not None:
            ends.enter(step, dh, dc, dend)
        before, after = states[step], states[step + 1]
        dzx, dzh = gather.slots(step)
        one_step.backward(dh, dc, kept[step], before, after, dzx, dzh)
        earlier = douts[step - 1] if step and dout is not None else None
        if setting.cell.kind == "gru":
            dh = dh if earlier is None else dh.add_(earlier)
        else:
            dh.zero_() if earlier is None else dh.copy_(earlier)
        h = _dropped(before[0], dropped, setting.compute) if step or setting.starts else None
        more = dh if dropped is None else torch.zeros_like(dh)
        gather.add(step, dzx, dzh, h, more if step or needs_first else None)
        if dropped is not None:
            dh += more * dropped
    return (dh,) if dc is None else (dh, dc), one_step.gradients()


def _dropped(h: Tensor, dropped: Tensor | None, compute: torch.dtype | None) -> Tensor:
    return cast(h if dropped is None else h * dropped, compute)


def _by_step(series: State, t: int) -> list[State]:
    """The state after each step, of series that hold one a step, or one place for all."""
    members = [member.unbind(0) if len(member) == t else (member[0],) * t for member in series]
    return list(zip(*members, strict=True))


class _Ends:
    """Which clips end where. Their numbers are on the device before the loop begins: no step waits for a copy."""

    def __init__(self, lengths: tuple[int, ...], device: torch.device) -> None:
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        self.lengths = [lengths[clip] for clip in order]
        self.clips = torch.tensor(order, device=device)

    def keep(self, length: int, state: State, end: State) -> None:
        """Copy the state of the clips that have just had their last frame."""
        clips = self._of(length, length)
        if len(clips):
            for member, place in zip(state, end, strict=True):
                place.index_copy_(0, clips, member.index_select(0, clips))

    def enter(self, step: int, dh: Tensor, dc: Tensor | None, dend: tuple[Tensor | None, ...]) -> None:
        """Coming backwards: nothing reaches what lies behind a clip's end; at it the end state's gradient enters."""
        over, last = self._of(0, step), self._of(step + 1, step + 1)
        if len(over):
            dh.index_fill_(0, over, 0)
        if len(last):
            for total, more in zip((dh, dc), dend, strict=False):
                if total is not None and more is not None:
                    total.index_add_(0, last, more.index_select(0, last))

    def _of(self, least: int, most: int) -> Tensor:
        """The clips of at least and at most so many frames."""
        return self.clips[bisect_left(self.lengths, least) : bisect_right(self.lengths, most)]


def _add(pairs: Sequence[tuple[Tensor | None, Tensor | None]]) -> None:
    for total, more in pairs:
        if total is not None and more is not None:
            total += more
