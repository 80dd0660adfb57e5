"""The fast path as one node of a compiled graph, each way: what torch.compile sees of a recurrence.

`torch.compile` would look into the fast path, and neither its buffers nor its C can be seen through. Here forward and
backward are operators of the torch library with the shapes of their results written beside them, so a graph stays whole
and serves every N, T and S. They are used under torch.compile only: without it `ops/fused.py` is called directly, which
costs less per call. What this file is not: it computes nothing itself.

Shape letters: N clips, T frames, S positions in space, D features in, H hidden features, G gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from unreel.ops import cells, fused, gates
from unreel.ops.cells import Cell, State
from unreel.ops.gates import Biases
from unreel.ops.precision import under_autocast
from unreel.ops.products import Convolution, Matrix, Padding, Product
from unreel.ops.weights import Weights

_DROPPED = 6  # of the tensors


def scan_opaque(
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
    tensors = [
        x,
        weights.kernel,
        weights.recurrent_kernel,
        weights.bias,
        weights.recurrent_bias,
        weights.peephole,
        dropped,
        None if state is None else state[0],
        None if state is None or cell.states == 1 else state[1],
    ]
    present = [tensor is not None for tensor in tensors]
    given = [tensor for tensor in tensors if tensor is not None]
    keep = torch.is_grad_enabled()
    h, _, *end, _ = torch.ops.unreel.scan_forward(
        given, present, lengths, spell_cell(cell), spell_product(product), compute, keep
    )
    return h.transpose(0, 1), tuple(end[: cell.states])


def spell_cell(cell: Cell) -> str:
    """A cell of the fast path in a type that an operator takes."""
    return f"{cell.kind} {cell.activation} {cell.recurrent_activation}"


def read_cell(spelled: str) -> Cell:
    """The cell that was spelled."""
    kind, activation, recurrent_activation = spelled.split()
    if kind == "rnn":
        return cells.rnn(activation)
    return (cells.lstm if kind == "lstm" else cells.gru)(activation, recurrent_activation)


def spell_product(product: Product) -> str:
    """A product in a type that an operator takes: nothing for a matrix; else stride, padding and dilation."""
    if isinstance(product, Matrix):
        return ""
    numbers = [product.stride, product.padding, product.dilation]
    return " ".join(part if isinstance(part, str) else ",".join(map(str, part)) for part in numbers)


def read_product(spelled: str) -> Product:
    """The product that was spelled."""
    if not spelled:
        return Matrix()
    stride, padding, dilation = spelled.split()
    sides = cast(Padding, padding) if padding.isalpha() else _numbers(padding)
    return Convolution(len(_numbers(stride)), _numbers(stride), sides, _numbers(dilation))


def _numbers(spelled: str) -> tuple[int, ...]:
    return tuple(map(int, spelled.split(",")))


class _Call:
    """What a call of the fast path takes, read from the types of an operator."""

    def __init__(
        self,
        tensors: Sequence[Tensor],
        present: Sequence[bool],
        lengths: Tensor | None,
        cell: str,
        product: str,
        compute: torch.dtype | None,
        keep: bool,
    ) -> None:
        given = iter(tensors)
        _, _, _, bias, recurrent_bias, peephole, self.dropped, *state = (
            next(given) if has else None for has in present
        )
        x, kernel, recurrent_kernel = tensors[:3]
        self.weights = x, kernel, recurrent_kernel, Biases(bias, recurrent_bias, peephole)
        self.state = tuple(member for member in state if member is not None)
        ends = None if lengths is None else tuple(lengths.tolist())
        self.setting = fused.Setting(read_cell(cell), read_product(product), ends, compute, bool(self.state), keep)


@torch.library.custom_op("unreel::scan_forward", mutates_args=())
def scan_forward(
    tensors: Sequence[Tensor],
    present: Sequence[bool],
    lengths: Tensor | None,
    cell: str,
    product: str,
    compute: torch.dtype | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The series of h and of c (T, N, *S', H), h and c after the last frames, and what the backward needs.

    What a cell does not have, and what nobody needs, is empty.

    Args:
        tensors: x, W, U, b, the recurrent bias, the peepholes, `dropped`, h and c before the first frame; those that
            there are.
        present: which of the nine there are.
        lengths: as in `ops.scan.scan`.
        cell: as `spell_cell` gives it.
        product: as `spell_product` gives it.
        compute: dtype of the products; None for that of the tensors.
        keep: whether there may be a backward.
    """
    call = _Call(tensors, present, lengths, cell, product, compute, keep)
    with torch.autocast(call.weights[0].device.type, enabled=False):
        _, end, series, kept = fused.run_forward(call.setting, *call.weights, call.dropped, call.state)
    none = [kept.new_empty(0), kept.new_empty(0)]
    if len(series) == 1:
        return series[0], none[0], end[0], none[1], kept
    return series[0], series[1] if keep else none[0], end[0], end[1], kept


@scan_forward.register_fake
def _(
    tensors: Sequence[Tensor],
    present: Sequence[bool],
    lengths: Tensor | None,
    cell: str,
    product: str,
    compute: torch.dtype | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    x, kernel, recurrent_kernel = tensors[:3]
    kind, how = read_cell(cell), read_product(product)
    t, shape = x.shape[1], (x.shape[0], *how.space(x.shape[2:-1], kernel), how.hidden(recurrent_kernel))

    def empty(*sizes: int) -> Tensor:
        return x.new_empty(sizes, dtype=x.dtype if compute is None else torch.float32)

    two = kind.states == 2
    return (
        empty(t, *shape),
        empty(t, *shape) if two and keep else empty(0),
        empty(*shape),
        empty(*shape) if two else empty(0),
        empty(t if keep else 0, gates.PLANES[kind.kind], *shape),
    )


@torch.library.custom_op("unreel::scan_backward", mutates_args=())
def scan_backward(
    tensors: Sequence[Tensor],
    present: Sequence[bool],
    lengths: Tensor | None,
    series: Sequence[Tensor],
    kept: Tensor,
    cotangents: Sequence[Tensor | None],
    cell: str,
    product: str,
    compute: torch.dtype | None,
    needs: Sequence[bool],
) -> list[Tensor]:
    """Gradients of the tensors of `scan_forward`; empty where none is wanted.

    Args:
        tensors: as `scan_forward` had them, like all but the following four.
        present: the same.
        lengths: the same.
        series: of h and c, as it gave them.
        kept: the same.
        cotangents: of the series of h (T, N, *S', H), and of h and c after the last frames.
        cell: the same.
        product: the same.
        compute: the same.
        needs: for each of the tensors, whether its gradient is wanted.
    """
    call = _Call(tensors, present, lengths, cell, product, compute, True)
    states = call.setting.cell.states
    dseries, *dend = cotangents
    wanted = iter(needs)
    with torch.autocast(kept.device.type, enabled=False):
        gradients = fused.run_backward(
            call.setting,
            *call.weights,
            call.dropped,
            call.state,
            kept,
            tuple(series[:states]),
            None if dseries is None else dseries.transpose(0, 1),
            tuple(dend[:states]),
            tuple(next(wanted) if has else False for has in present),
        )
    found = [gradient for gradient, has in zip(gradients, present, strict=False) if has]
    return [
        _owned(gradient, tensor) if need else kept.new_empty(0)
        for gradient, tensor, need in zip(found, tensors, needs, strict=True)
    ]


def _owned(gradient: Tensor | None, tensor: Tensor) -> Tensor:
    """A gradient in the dtype of its tensor and in memory of its own."""
    assert gradient is not None
    gradient = gradient.to(tensor.dtype).contiguous()
    return gradient.clone() if gradient.ndim == 1 else gradient  # the vectors' may lie in one piece of memory


@scan_backward.register_fake
def _(
    tensors: Sequence[Tensor],
    present: Sequence[bool],
    lengths: Tensor | None,
    series: Sequence[Tensor],
    kept: Tensor,
    cotangents: Sequence[Tensor | None],
    cell: str,
    product: str,
    compute: torch.dtype | None,
    needs: Sequence[bool],
) -> list[Tensor]:
    return [
        tensor.new_empty(tensor.shape) if need else kept.new_empty(0)
        for tensor, need in zip(tensors, needs, strict=True)
    ]


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    tensors, present, lengths, cell, product, compute, _ = inputs
    h, c, _, _, kept = output
    ctx.present, ctx.rest = present, (cell, product, compute)
    ctx.save_for_backward(*tensors, lengths, h, c, kept)
    ctx.mark_non_differentiable(c, kept)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, dh: Tensor | None, dc: None, dh_end: Tensor | None, dc_end: Tensor | None, dkept: None):
    fused.refuse_second_derivative()
    *tensors, lengths, h, c, kept = ctx.saved_tensors
    # `dropped` is no parameter, and has no gradient
    of = [index for index, has in enumerate(ctx.present) if has]
    needs = [need and index != _DROPPED for index, need in zip(of, ctx.needs_input_grad[0], strict=True)]
    cotangents = [dh, dh_end, dc_end]
    gradients = torch.ops.unreel.scan_backward(
        tensors, ctx.present, lengths, [h, c], kept, cotangents, *ctx.rest, needs
    )
    of_tensors = [gradient if need else None for gradient, need in zip(gradients, needs, strict=True)]
    return of_tensors, *(None,) * 6


scan_forward.register_autograd(_differentiate, setup_context=_keep_for_backward)
