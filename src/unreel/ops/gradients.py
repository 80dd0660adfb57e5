"""Gradients of the products of a recurrence, gathered as the backward goes from the last frame to the first.

A matrix keeps the gates' gradients of all frames and multiplies once at the end: three large products in place of T
small ones. A convolution over large frames takes each step's at once, while the operands are still in cache: batching
its steps was measured slower. Over small frames, and with large kernels, packing and summing the kernel's gradient is
what a step costs, and a few steps are taken together. What this file is not: it knows no gate.

Shape letters: N clips, T frames, S positions in space, D features in, H hidden features, G gates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from unreel.ops.cells import Cell
from unreel.ops.convolve import gradient_of_input, gradient_of_kernel, laid, packed, same
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
        self.x, self.product, self.compute, self.dtype = x, product, compute, kernel.dtype
        self.kernel, self.recurrent_kernel = laid(cast(kernel, compute)), laid(cast(recurrent_kernel, compute))
        self.dx = buffer(x, x.shape, x.dtype) if needs_x else None
        self.dkernel: Tensor | None = None
        self.drecurrent: Tensor | None = None
        shape = (*like.shape[:-1], len(kernel))
        self.together = min(len(series), 1 + 2 * recurrent_kernel.numel() // math.prod(shape))
        self.dzx = buffer(like, (self.together, *shape), like.dtype)
        self.dzh = self.dzx if cell.kind != "gru" else buffer(like, (self.together, *shape), like.dtype)
        self.states: list[Tensor] = []  # of the steps gathered, the latest first

    def by_step(self, dout: Tensor | None) -> Sequence[Tensor]:
        """See `Gradients.by_step`."""
        return () if dout is None else dout.unbind(1)

    def slots(self, step: int) -> tuple[Tensor, Tensor]:
        """See `Gradients.slots`."""
        place = step % self.together
        return self.dzx[place], self.dzh[place]

    def add(self, step: int, dzx: Tensor, dzh: Tensor, h: Tensor | None, dh: Tensor | None) -> None:
        """See `Gradients.add`."""
        if h is not None:
            self.states.append(h)
            if dh is not None:
                kernel, ones = self.recurrent_kernel, (1,) * self.product.rank
                dh += gradient_of_input(cast(dzh, self.compute), h, kernel, same(kernel.shape[2:]), ones, ones)
        if step % self.together == 0:
            self._take(step, min(step + self.together, self.x.shape[1]))

    def finish(self) -> tuple[Tensor | None, Tensor, Tensor]:
        """See `Gradients.finish`."""
        drecurrent = torch.zeros_like(self.recurrent_kernel) if self.drecurrent is None else self.drecurrent
        assert self.dkernel is not None  # there is no scan of no frames
        return self.dx, self.dkernel.to(self.dtype).contiguous(), drecurrent.to(self.dtype).contiguous()

    def _take(self, start: int, stop: int) -> None:
        """Gradients of x and the weights from the steps start to stop, which have all been gathered."""
        product, count, ones = self.product, stop - start, (1,) * self.product.rank
        x = packed(cast(self.x[:, start:stop].transpose(0, 1).flatten(0, 1), self.compute))
        dzx = cast(self.dzx[:count].flatten(0, 1), self.compute)
        sides = product.sides(x.shape[1:-1], self.kernel.shape[2:])
        self.dkernel = _total(
            self.dkernel, gradient_of_kernel(dzx, x, self.kernel, sides, product.stride, product.dilation)
        )
        if self.dx is not None:
            dx = gradient_of_input(dzx, x, self.kernel, sides, product.stride, product.dilation)
            self.dx[:, start:stop] = dx.unflatten(0, (count, -1)).transpose(0, 1)
        if not self.states:
            return
        h = self.states[0] if len(self.states) == 1 else torch.cat(self.states[::-1])
        dzh = cast(self.dzh[count - len(self.states) : count].flatten(0, 1), self.compute)
        sides = same(self.recurrent_kernel.shape[2:])
        self.drecurrent = _total(self.drecurrent, gradient_of_kernel(dzh, h, self.recurrent_kernel, sides, ones, ones))
        self.states.clear()


def _total(total: Tensor | None, more: Tensor) -> Tensor:
    """A sum over many steps: in low precision it would lose the later ones."""
    if total is None:
        return more.to(torch.promote_types(more.dtype, torch.float32))
    return total.add_(more)


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
