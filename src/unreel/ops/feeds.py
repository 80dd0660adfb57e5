"""What the gates of a step are fed: x·W + b and h·U, put into buffers that serve every step.

A matrix multiplies all frames with W at once, and adds each h·U in place. A convolution adds both products of a step
into one buffer, which the gates hand back holding b; fresh memory for each would cost more page faults than gates.
What this file is not: it knows no gate's meaning and no gradient (`ops/gradients.py`).

Shape letters: N clips, T frames, S positions in space, D features in, H hidden features, G gates.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from unreel.ops.cells import Cell
from unreel.ops.convolve import accumulate, laid, packed, same
from unreel.ops.gates import Biases, buffer
from unreel.ops.precision import add_product
from unreel.ops.products import Convolution, Matrix, Product


class Feed(Protocol):
    """What the engine asks of either.

    Attributes:
        base: (2, G·H), what the gates leave in zx and in zh; None where they leave them alone.
    """

    base: Tensor | None

    def at(self, step: int, h: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """zx and zh of a step, as `Gates.forward` takes them; h (N, *S, H) is the state, None for zeros."""
        ...


class MatrixFeed:
    """See `Feed`."""

    def __init__(
        self, cell: Cell, x: Tensor, kernel: Tensor, recurrent_kernel: Tensor, biases: Biases, like: Tensor
    ) -> None:
        n, t = x.shape[:2]
        self.base: Tensor | None = None
        rows = x.transpose(0, 1).flatten(0, 1)
        zx = rows @ kernel if biases.bias is None else torch.addmm(biases.bias.to(kernel.dtype), rows, kernel)
        self.zx = zx.to(like.dtype).unflatten(0, (t, n)).unbind(0)
        self.recurrent_kernel = recurrent_kernel
        self.lift = cell.lift(biases.recurrent_bias)
        self.zh = torch.zeros_like(self.zx[0]) if cell.kind == "gru" else None

    def at(self, step: int, h: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See `Feed.at`."""
        zx, zh = self.zx[step], self.zh
        if zh is not None:
            zh.zero_() if self.lift is None else zh.copy_(self.lift.expand_as(zh))
        if h is not None:
            add_product(zx if zh is None else zh, h, self.recurrent_kernel)
        return zx, zh


class ConvolutionFeed:
    """See `Feed`."""

    def __init__(
        self,
        cell: Cell,
        product: Convolution,
        x: Tensor,
        kernel: Tensor,
        recurrent_kernel: Tensor,
        biases: Biases,
        like: Tensor,
    ) -> None:
        self.x, self.product = x, product
        self.kernel, self.recurrent_kernel = laid(kernel), laid(recurrent_kernel)
        lift = cell.lift(biases.recurrent_bias)
        base = like.new_zeros(2, len(kernel))
        for row, vector in zip(base, (biases.bias, lift), strict=True):
            if vector is not None:
                row.copy_(vector)
        self.base: Tensor | None = base
        shape = (*like.shape[:-1], len(kernel))
        self.zx = buffer(like, shape, like.dtype).copy_(base[0].expand(shape))
        self.zh = buffer(like, shape, like.dtype).copy_(base[1].expand(shape)) if cell.kind == "gru" else None

    def at(self, step: int, h: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See `Feed.at`."""
        product, ones = self.product, (1,) * self.product.rank
        x = packed(self.x[:, step])
        sides = product.sides(x.shape[1:-1], self.kernel.shape[2:])
        accumulate(self.zx, x, self.kernel, sides, product.stride, product.dilation)
        if h is not None:
            z = self.zx if self.zh is None else self.zh
            accumulate(z, h, self.recurrent_kernel, same(self.recurrent_kernel.shape[2:]), ones, ones)
        return self.zx, self.zh


def feed_of(
    product: Product,
    cell: Cell,
    x: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    biases: Biases,
    like: Tensor,
) -> Feed:
    """The feed for a product.

    Args:
        product: matrix or convolution.
        cell: whether zx and zh stand apart.
        x: (N, T, *S, D).
        kernel: W.
        recurrent_kernel: U, of the dtype of x like W.
        biases: of the cell.
        like: a state (N, *S', H), for its shape and dtype.
    """
    if isinstance(product, Matrix):
        return MatrixFeed(cell, x, kernel, recurrent_kernel, biases, like)
    return ConvolutionFeed(cell, product, x, kernel, recurrent_kernel, biases, like)
