"""Gradients of the products of a recurrence, gathered as the backward goes from the last frame to the first.

A matrix keeps the gates' gradients of all frames and multiplies once at the end: three large products in place of T
small ones. A convolution takes each step's at once, while the operands are still in cache, into weight gradients that
are small; batching its steps was measured slower. What this file is not: it knows no gate.

Shape letters: N clips, T frames, S positions in space, D features in, H hidden features, G gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from unreel.ops.cells import Cell
from unreel.ops.convolve import accumulate, convolve_backward, laid, packed, same
from unreel.ops.gates import buffer
from unreel.ops.precision import add_product, cast
from unreel.ops.products import Convolution, Matrix, Product


class Gradients(Protocol):
    """What the engine asks of either."""

    def by_step(self, dout: Tensor | None) -> Sequence[Tensor]:
        """The output's gradient (N, T, *S, H) as T tensors (N, *S, H); nothing for None."""
        ...

    def slots(self, step: int) -> tuple[Tensor, Tensor]:
        """Where the gates' gradients of a step go: of zx and zh, (N, *S, G·H) each; one tensor where they are equal."""
        ...

    def add(self, step: int, dzx: Tensor, dzh: Tensor, h: Tensor | None, dh: Tensor | None) -> None:
        """Take a step's gradients.

        Args:
            step: 0..T−1; steps come in falling order.
            dzx: what was written into the slots.
            dzh: the same.
            h: the state that met U in this step, (N, *S, H); None for none.
            dh: where the gradient of h is added to, (N, *S, H); None where it is not wanted.
        """
        ...

    def finish(self) -> tuple[Tensor | None, Tensor, Tensor]:
        """Gradients of x (None where not wanted), W and U."""
        ...


class MatrixGradients:
    """See `Gradients`."""

    def __init__(
        self,
        cell: Cell,
        x: Tensor,
        kernel: Tensor,
        recurrent_kernel: Tensor,
        series: Tensor,
        first: Tensor | None,
        dropped: Tensor | None,
        compute: torch.dtype | None,
        needs_x: bool,
    ) -> None:
        self.x, self.kernel, self.compute, self.needs_x = x, kernel, compute, needs_x
        self.recurrent_kernel, self.series, self.first, self.dropped = recurrent_kernel, series, first, dropped
        self.back = cast(recurrent_kernel, compute).t().contiguous()
        self.dzx = series.new_empty(*series.shape[:2], kernel.shape[1])
        self.dzh = self.dzx if cell.kind != "gru" else torch.empty_like(self.dzx)
        self.steps = list(zip(self.dzx.unbind(0), self.dzh.unbind(0), strict=True))

    def by_step(self, dout: Tensor | None) -> Sequence[Tensor]:
        """See `Gradients.by_step`: put in the order of time at once, since the pieces are small."""
        return () if dout is None else dout.transpose(0, 1).contiguous().unbind(0)

    def slots(self, step: int) -> tuple[Tensor, Tensor]:
        """See `Gradients.slots`."""
        return self.steps[step]

    def add(self, step: int, dzx: Tensor, dzh: Tensor, h: Tensor | None, dh: Tensor | None) -> None:
        """See `Gradients.add`."""
        if dh is not None:
            add_product(dh, cast(dzh, self.compute), self.back)

    def finish(self) -> tuple[Tensor | None, Tensor, Tensor]:
        """See `Gradients.finish`."""
        dzx, dzh = cast(self.dzx.flatten(0, 1), self.compute), cast(self.dzh, self.compute)
        x = cast(self.x.transpose(0, 1).flatten(0, 1), self.compute)
        dkernel = (x.t() @ dzx).to(self.kernel.dtype)
        drecurrent = self._state(self.series[:-1]).t() @ dzh[1:].flatten(0, 1)
        if self.first is not None:
            drecurrent += self._state(self.first).t() @ dzh[0]
        drecurrent = drecurrent.to(self.recurrent_kernel.dtype)
        dx = None
        if self.needs_x:
            dx = (dzx @ cast(self.kernel, self.compute).t()).to(self.x.dtype)
            dx = dx.unflatten(0, self.dzx.shape[:2]).transpose(0, 1)
        return dx, dkernel, drecurrent

    def _state(self, h: Tensor) -> Tensor:
        """What met U, (M, H), of states (*, N, H)."""
        return cast(h if self.dropped is None else h * self.dropped, self.compute).flatten(0, -2)


class ConvolutionGradients:
    """See `Gradients`."""

    def __init__(
        self,
        cell: Cell,
        product: Convolution,
        x: Tensor,
        kernel: Tensor,
        recurrent_kernel: Tensor,
        series: Tensor,
        compute: torch.dtype | None,
        needs_x: bool,
    ) -> None:
        like = series[0]
        self.x, self.product, self.compute = x, product, compute
        self.kernel, self.recurrent_kernel = laid(cast(kernel, compute)), laid(cast(recurrent_kernel, compute))
        # the convolution that is the transpose of that with U, where its padding is the same on both sides
        self.back = laid(self.recurrent_kernel.transpose(0, 1).flip(tuple(range(2, kernel.ndim))))
        self.dx = buffer(x, x.shape, x.dtype) if needs_x else None
        # sums over many steps: of low precision they would lose the later ones
        self.dtype, sums = kernel.dtype, torch.promote_types(kernel.dtype, torch.float32)
        self.dkernel = torch.zeros_like(kernel, dtype=sums)
        self.drecurrent = torch.zeros_like(recurrent_kernel, dtype=sums)
        shape = (*like.shape[:-1], len(kernel))
        self.dzx = buffer(like, shape, like.dtype)
        self.dzh = self.dzx if cell.kind != "gru" else buffer(like, shape, like.dtype)

    def by_step(self, dout: Tensor | None) -> Sequence[Tensor]:
        """See `Gradients.by_step`."""
        return () if dout is None else dout.unbind(1)

    def slots(self, step: int) -> tuple[Tensor, Tensor]:
        """See `Gradients.slots`."""
        return self.dzx, self.dzh

    def add(self, step: int, dzx: Tensor, dzh: Tensor, h: Tensor | None, dh: Tensor | None) -> None:
        """See `Gradients.add`."""
        product, ones = self.product, (1,) * self.product.rank
        x = packed(cast(self.x[:, step], self.compute))
        sides = product.sides(x.shape[1:-1], self.kernel.shape[2:])
        dx, dkernel = convolve_backward(
            cast(dzx, self.compute), x, self.kernel, sides, product.stride, product.dilation, self.dx is not None
        )
        self.dkernel += dkernel
        if self.dx is not None and dx is not None:
            self.dx[:, step] = dx
        if h is None:
            return
        dzh, sides = cast(dzh, self.compute), same(self.recurrent_kernel.shape[2:])
        mirrored = all(before == after for before, after in sides)
        dmore, drecurrent = convolve_backward(
            dzh, h, self.recurrent_kernel, sides, ones, ones, dh is not None and not mirrored
        )
        self.drecurrent += drecurrent
        if dmore is not None and dh is not None:
            dh += dmore
        elif dh is not None:
            accumulate(dh, dzh, self.back, sides, ones, ones)

    def finish(self) -> tuple[Tensor | None, Tensor, Tensor]:
        """See `Gradients.finish`."""
        return self.dx, self.dkernel.to(self.dtype), self.drecurrent.to(self.dtype)


def gradients_of(
    product: Product,
    cell: Cell,
    x: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    series: Tensor,
    first: Tensor | None,
    dropped: Tensor | None,
    compute: torch.dtype | None,
    needs_x: bool,
) -> Gradients:
    """The gatherer for a product.

    Args:
        product: matrix or convolution.
        cell: whether dzx and dzh differ.
        x: (N, T, *S, D).
        kernel: W.
        recurrent_kernel: U.
        series: the states h, (T, N, *S', H).
        first: the state h before them, (N, *S', H); None for zeros.
        dropped: what h is multiplied with before it meets U, (N, 1..., H); None for ones.
        compute: dtype of the products; None for that of the tensors.
        needs_x: whether the gradient of x is wanted.
    """
    if isinstance(product, Matrix):
        return MatrixGradients(cell, x, kernel, recurrent_kernel, series, first, dropped, compute, needs_x)
    return ConvolutionGradients(cell, product, x, kernel, recurrent_kernel, series, compute, needs_x)
