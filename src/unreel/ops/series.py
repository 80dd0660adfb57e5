"""Whole recurrences over vectors in one call of C: a twin of the loops in `ops/fused.py`, for small matrices on a CPU.

A step of LSTM(50) is a product of some microseconds; called from Python, with threads that meet after each, it costs
several times that. Clips do not know of each other, so here each thread takes some of them through all frames and
meets the others once (`_gates.c`, `_product.h`). `serves` says where this holds: no more weights than stay in cache.
What this file is not: gradients of the weights are large products and stay in `ops/gradients.py`.

Shape letters: N clips, T frames, D features in, H hidden features, G gates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unreel.ops.cells import Cell, State
from unreel.ops.gates import CODES, KINDS, Biases, compiled, is_native
from unreel.ops.products import Matrix, Product

_LARGEST = 1 << 16  # floats of a matrix, 256 KiB: beyond, a library's product is worth its call


def serves(cell: Cell, product: Product, biases: Biases, recurrent_kernel: Tensor, like: Tensor) -> bool:
    """Whether a recurrence with states like `like` (N, H) can and should run here."""
    small = recurrent_kernel.numel() <= _LARGEST
    return isinstance(product, Matrix) and small and is_native(cell, biases, like)


def forward(
    cell: Cell,
    x: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    biases: Biases,
    first: State,
    series: State,
    kept: Tensor | None,
) -> None:
    """All states.

    Args:
        cell: the gates.
        x: (N, T, D).
        kernel: W (D, G·H).
        recurrent_kernel: U (H, G·H).
        biases: of the cell.
        first: the state before the first frame, tensors (N, H).
        series: where the states go: h (T, N, H); c the same, or (1, N, H) where only the last one is wanted.
        kept: (T, planes, N, H), where to keep what the backward needs; None to keep nothing.
    """
    n, t, d = x.shape
    recurrent_kernel, bias, lift = recurrent_kernel.contiguous(), biases.bias, cell.lift(biases.recurrent_bias)
    zx = None
    if kernel.numel() <= _LARGEST:
        x, kernel = x.contiguous(), kernel.contiguous()
    else:
        rows = x.transpose(0, 1).flatten(0, 1)
        zx = rows @ kernel if bias is None else torch.addmm(bias, rows, kernel)
    compiled.forward_series(
        *_head(cell, t, n, first[0].shape[-1]),
        d,
        *((0, 0, 0, zx.data_ptr()) if zx is not None else (*map(_address, (x, kernel, bias)), 0)),
        _address(lift),
        recurrent_kernel.data_ptr(),
        first[0].data_ptr(),
        first[-1].data_ptr(),
        series[0].data_ptr(),
        series[-1].data_ptr(),
        int(len(series[-1]) == t),
        _address(kept),
    )


def ends(series: State, lengths: tuple[int, ...] | None) -> State:
    """The state after each clip's last valid frame, tensors (N, H), of what `forward` wrote."""
    if lengths is None:
        return tuple(member[-1].clone() for member in series)
    last = torch.tensor(lengths) - 1
    return tuple(member[last, torch.arange(len(last))] for member in series)


def backward(
    cell: Cell,
    recurrent_kernel: Tensor,
    first: State,
    series: State,
    kept: Tensor,
    lengths: tuple[int, ...] | None,
    dout: Tensor | None,
    dend: tuple[Tensor | None, ...],
    dzx: Tensor,
    dzh: Tensor,
    biases: Biases,
) -> tuple[State, Biases]:
    """Gradients of the first state and of the biases; those of the gates are written to dzx and dzh.

    Args:
        cell, recurrent_kernel, first, series, kept, biases: as `forward` had and left them, all states kept.
        lengths: (N,) valid frames of each clip; None where all are valid.
        dout: the gradient of h (N, T, H); None for zeros.
        dend: that of each clip's last state, tensors (N, H); None for zeros.
        dzx: (T, N, G·H), where the gradient of x·W + b goes.
        dzh: the same of h·U; the same tensor as dzx, but for a GRU.
    """
    t, n, hidden = series[0].shape
    last = torch.tensor([t] * n if lengths is None else lengths)
    douts = None
    if dout is not None:
        douts = dout.transpose(0, 1).contiguous()
        if lengths is not None:
            douts = douts.masked_fill(torch.arange(t)[:, None, None] >= last[:, None], 0)
    dh, dc = torch.zeros_like(first[0]), torch.zeros_like(first[-1]) if len(first) == 2 else None
    if dend[0] is not None:
        if lengths is None:
            dh = dend[0].contiguous().clone()
        else:
            douts = torch.zeros_like(series[0]) if douts is None else douts
            douts[last - 1, torch.arange(n)] += dend[0]
    dc_end = None if dc is None or dend[-1] is None else dend[-1].contiguous()
    sums = series[0].new_zeros(2, dzx.shape[-1])
    recurrent_kernel = recurrent_kernel.contiguous()
    compiled.backward_series(
        *_head(cell, t, n, hidden),
        recurrent_kernel.data_ptr(),
        first[0].data_ptr(),
        first[-1].data_ptr(),
        series[0].data_ptr(),
        series[-1].data_ptr(),
        kept.data_ptr(),
        _address(douts),
        last.data_ptr(),
        _address(dc_end),
        dh.data_ptr(),
        _address(dc),
        dzx.data_ptr(),
        dzh.data_ptr(),
        sums[0].data_ptr(),
        sums[1].data_ptr() if cell.kind == "gru" else 0,
    )
    grads = Biases(
        None if biases.bias is None else sums[0],
        None if biases.recurrent_bias is None else sums[1, -hidden:],
        None,
    )
    return (dh,) if dc is None else (dh, dc), grads


def _head(cell: Cell, t: int, n: int, hidden: int) -> tuple[int, ...]:
    """What both calls begin with."""
    codes = CODES[cell.activation], CODES[cell.recurrent_activation]
    return KINDS.index(cell.kind), t, n, hidden, *codes, torch.get_num_threads()


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
