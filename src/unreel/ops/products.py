"""How a recurrence transforms input and state: a matrix, or a convolution of rank 1, 2 or 3.

Both have methods of the same shape, so cells and scan do not know which they run on. Features lie in the last axis
throughout, (N, *S, D): for a convolution this is the memory order that CPUs and tensor cores convolve fastest.
What this file is not: it knows no gate; the arithmetic of the convolutions is in `ops/convolve.py`.

Shape letters: N clips, T frames, S positions in space, D features in, H hidden features, G gates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from unreel.ops.convolve import Sides, convolve, same

Padding = Literal["same", "valid"]


@dataclass(frozen=True)
class Matrix:
    """x·W with W (D, G·H), and h·U with U (H, G·H)."""

    rank: int = 0

    def project(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Input to gates: (N, D) to (N, G·H)."""
        return x @ kernel

    def recur(self, h: Tensor, kernel: Tensor) -> Tensor:
        """State to gates: (N, H) to (N, G·H)."""
        return h @ kernel

    def space(self, space: tuple[int, ...], kernel: Tensor) -> tuple[int, ...]:
        """S' for an input of size S: nothing."""
        return ()

    def hidden(self, recurrent_kernel: Tensor) -> int:
        """H."""
        return recurrent_kernel.shape[0]

    def gates(self, recurrent_kernel: Tensor, chosen: slice) -> Tensor:
        """The part of U that feeds the chosen gates."""
        hidden = self.hidden(recurrent_kernel)
        return recurrent_kernel[:, _features(chosen, hidden)]


@dataclass(frozen=True)
class Convolution:
    """x ∗ W with W (G·H, D, *K), and h ∗ U with U (G·H, H, *K), as torch.nn.Conv has its weights.

    As in Keras, stride, padding and dilation speak of the input only: the state is convolved with stride 1, without
    dilation and with padding "same", so that it keeps its size.

    Args:
        rank: 1, 2 or 3 axes of space.
        stride: of the input's convolution, for each axis.
        padding: "same" makes the output ceil(size / stride), the odd zero at the end, as Keras and TensorFlow have it;
            "valid" for none; or a number for each axis.
        dilation: of the input's convolution, for each axis.
    """

    rank: int
    stride: tuple[int, ...]
    padding: Padding | tuple[int, ...]
    dilation: tuple[int, ...]

    def project(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Input to gates: (N, *S, D) to (N, *S', G·H)."""
        sides = self.sides(x.shape[1:-1], kernel.shape[2:])
        return convolve(x, kernel, sides, self.stride, self.dilation)

    def recur(self, h: Tensor, kernel: Tensor) -> Tensor:
        """State to gates: (N, *S', H) to (N, *S', G·H)."""
        return convolve(h, kernel, same(kernel.shape[2:]), (1,) * self.rank, (1,) * self.rank)

    def space(self, space: tuple[int, ...], kernel: Tensor) -> tuple[int, ...]:
        """S' for an input of size S."""
        sides = self.sides(space, kernel.shape[2:])
        sizes = zip(space, kernel.shape[2:], sides, self.stride, self.dilation, strict=True)
        return tuple(
            (size + sum(zeros) - (width - 1) * dilation - 1) // stride + 1
            for size, width, zeros, stride, dilation in sizes
        )

    def hidden(self, recurrent_kernel: Tensor) -> int:
        """H."""
        return recurrent_kernel.shape[1]

    def gates(self, recurrent_kernel: Tensor, chosen: slice) -> Tensor:
        """The part of U that feeds the chosen gates."""
        return recurrent_kernel[_features(chosen, self.hidden(recurrent_kernel))]

    def sides(self, space: tuple[int, ...], kernel: tuple[int, ...]) -> Sides:
        """Zeros that the padding puts around an input of size `space`."""
        if self.padding == "valid":
            return ((0, 0),) * self.rank
        if self.padding != "same":
            return tuple((side, side) for side in self.padding)
        if all(step == 1 for step in self.stride):
            return same(kernel, self.dilation)
        sides = []
        for size, width, stride, dilation in zip(space, kernel, self.stride, self.dilation, strict=True):
            outputs = (size + stride - 1) // stride
            missing = max((outputs - 1) * stride + (width - 1) * dilation + 1 - size, 0)
            sides.append((missing // 2, missing - missing // 2))
        return tuple(sides)


Product = Matrix | Convolution


def _features(chosen: slice, hidden: int) -> slice:
    if chosen == slice(None):
        return chosen
    return slice(chosen.start * hidden, chosen.stop * hidden)
