"""Whole convolutional recurrences in one call of C: the twin of `ops/series.py` for images, and for series of places.

A step goes over the image in bands that stay in a core's own cache, products and gates together (`_images.h`), where
the loop of `ops/fused.py` sends the gates' input, the largest tensor of all, to memory and back. For stride and
dilation 1, and weights that stay in that cache too; others take the loop.

Shape letters: N clips, T frames, D features in, H hidden features, G gates, K kernel sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unreel.ops.cells import Cell, State
from unreel.ops.convolve import Sides
from unreel.ops.gates import CODES, KINDS, Biases, buffer, compiled, is_native
from unreel.ops.products import Convolution, Product

_LARGEST = (
    1 << 17
)  # floats of U, 512 KiB: beyond, the weights crowd out the band, and a library's convolution is faster


def serves(
    cell: Cell, product: Product, biases: Biases, kernel: Tensor, recurrent_kernel: Tensor, like: Tensor
) -> bool:
    """Whether a recurrence with states like `like` (N, *S, H) can and should run here."""
    return (
        isinstance(product, Convolution)
        and product.rank < 3
        and all(step == 1 for step in (*product.stride, *product.dilation))
        and kernel.shape[2:] == recurrent_kernel.shape[2:]
        and recurrent_kernel.numel() <= _LARGEST
        and is_native(cell, biases, like)
    )


def forward(
    cell: Cell,
    product: Convolution,
    x: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    biases: Biases,
    first: State,
    starts: bool,
    series: State,
    kept: Tensor | None,
) -> None:
    """All states.

    Args:
        cell: the gates.
        product: the convolution.
        x: (N, T, *S, D), in any memory order.
        kernel: W (G·H, D, *K).
        recurrent_kernel: U (G·H, H, *K).
        biases: of the cell.
        first: the state before the first frame, tensors (N, *S', H).
        starts: whether it is given; else it is zero, and its product left out.
        series: where the states go: h (T, N, *S', H); c the same, or (1, N, *S', H) where only the last is wanted.
        kept: (T, planes, N, *S', H), where to keep what the backward needs; None to keep nothing.
    """
    inner, recurrent = _by_place(kernel), _by_place(recurrent_kernel)
    lift = cell.lift(biases.recurrent_bias)
    compiled.forward_images(
        *_head(cell, product, x, kernel, first, starts, series, kept, inner, recurrent),
        _address(biases.bias),
        _address(lift),
        int(len(series[-1]) == len(series[0])),
    )


def backward(
    cell: Cell,
    product: Convolution,
    x: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    biases: Biases,
    first: State,
    starts: bool,
    series: State,
    kept: Tensor,
    lengths: tuple[int, ...] | None,
    dout: Tensor | None,
    dend: tuple[Tensor | None, ...],
    needs_x: bool,
) -> tuple[Tensor | None, Tensor, Tensor, Biases, State]:
    """Gradients of x (None where not wanted), W, U, the biases, and the first state.

    Args:
        cell, product, x, kernel, recurrent_kernel, biases, first, starts, series, kept: as `forward` had and left
            them, all states kept.
        lengths: (N,) valid frames of each clip; None where all are valid.
        dout: the gradient of h (N, T, *S', H); None for zeros.
        dend: that of each clip's last state, tensors (N, *S', H); None for zeros.
        needs_x: whether the gradient of x is wanted.
    """
    n, t = x.shape[:2]
    if dout is not None and dout.stride(-1) != 1:
        dout = dout.contiguous()
    dend = tuple(None if d is None else d.contiguous() for d in dend)
    ends = None if lengths is None else torch.tensor(lengths)
    dh, *dc = (
        torch.zeros_like(member) if d is None or lengths is not None else d.clone()
        for d, member in zip(dend, first, strict=True)
    )
    dx = buffer(x, (n, t, *x.shape[2:]), x.dtype).zero_() if needs_x else None
    inner, recurrent = _flipped(kernel), _flipped(recurrent_kernel)
    dkernel, drecurrent = (torch.zeros_like(_by_place(weights)) for weights in (kernel, recurrent_kernel))
    sums = x.new_zeros(2, len(kernel))
    compiled.backward_images(
        *_head(cell, product, x, kernel, first, starts, series, kept, inner, recurrent),
        _address(dout),
        *((0, 0, 0, 0) if dout is None else _strides(dout)[:4]),
        dh.data_ptr(),
        _address(dc[0] if dc else None),
        _address(dx),
        dkernel.data_ptr(),
        drecurrent.data_ptr(),
        sums[0].data_ptr(),
        sums[1].data_ptr() if cell.kind == "gru" else 0,
        _address(ends),
        _address(dend[0]),
        _address(dend[-1] if dc else None),
    )
    grads = Biases(
        None if biases.bias is None else sums[0],
        None if biases.recurrent_bias is None else sums[1, -first[0].shape[-1] :],
        None,
    )
    return dx, _by_gate(dkernel, kernel), _by_gate(drecurrent, recurrent_kernel), grads, (dh, *dc)


def _head(
    cell: Cell,
    product: Convolution,
    x: Tensor,
    kernel: Tensor,
    first: State,
    starts: bool,
    series: State,
    kept: Tensor | None,
    inner: Tensor,
    recurrent: Tensor,
) -> tuple[int, ...]:
    """What both calls begin with: a series of places is an image of one row."""
    sides: Sides = product.sides(x.shape[2:-1], kernel.shape[2:])
    places, states = x.shape[2:-1], first[0].shape[1:-1]
    tall_wide = kernel.shape[2:]
    if product.rank == 1:
        sides, places, states, tall_wide = ((0, 0), *sides), (1, *places), (1, *states), (1, *tall_wide)
    return (
        KINDS.index(cell.kind),
        x.shape[1],
        len(x),
        first[0].shape[-1],
        CODES[cell.activation],
        CODES[cell.recurrent_activation],
        torch.get_num_threads(),
        x.shape[-1],
        *places,
        *states,
        *tall_wide,
        sides[0][0],
        sides[1][0],
        int(starts),
        x.data_ptr(),
        *_strides(x),
        inner.data_ptr(),
        recurrent.data_ptr(),
        first[0].data_ptr(),
        first[-1].data_ptr(),
        series[0].data_ptr(),
        series[-1].data_ptr(),
        _address(kept),
    )


def _strides(x: Tensor) -> tuple[int, ...]:
    """Of N, T, rows, columns and features."""
    strides = x.stride()
    return strides if len(strides) == 5 else (*strides[:2], 0, *strides[2:])


def _by_place(kernel: Tensor) -> Tensor:
    """(G·H, D, *K) as (*K, D, G·H)."""
    return kernel.permute(*range(2, kernel.ndim), 1, 0).contiguous()


def _by_gate(kernel: Tensor, like: Tensor) -> Tensor:
    """The inverse of `_by_place`."""
    return kernel.permute(-1, -2, *range(like.ndim - 2)).contiguous()


def _flipped(kernel: Tensor) -> Tensor:
    """(G·H, D, *K) as (*K, G·H, D), K from its end to its beginning: the way back."""
    flipped = kernel.flip(*range(2, kernel.ndim))
    return flipped.permute(*range(2, kernel.ndim), 0, 1).contiguous()


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
