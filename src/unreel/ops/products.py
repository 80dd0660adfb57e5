"""How a recurrence transforms input and state: a matrix, or a convolution of rank 1, 2 or 3.

Both have two methods of the same shape, so cells and scan do not know which they run on. Features lie in the last axis
throughout, (N, *S, D): for a convolution this is the memory order that CPUs and tensor cores convolve fastest.
What this file is not: it knows no gate and no time.

Shape letters: N clips, T frames, S positions in space, D features in, H hidden features, G gates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional

from unreel.errors import ConfigError

Padding = Literal["same", "valid"]
Sides = tuple[tuple[int, int], ...]
"""Zeros before and after, for each axis of space."""


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

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def same(kernel: tuple[int, ...], dilation: tuple[int, ...] | None = None) -> Sides:
    """Zeros that keep a size at stride 1: half before, half after, the odd one after."""
    reach = [(width - 1) * step for width, step in zip(kernel, dilation or (1,) * len(kernel), strict=True)]
    return tuple((total // 2, total - total // 2) for total in reach)


def convolve(x: Tensor, kernel: Tensor, sides: Sides, stride: tuple[int, ...], dilation: tuple[int, ...]) -> Tensor:
    """torch's convolution with features in the last axis: (N, *S, D) to (N, *S', F).

    Raises:
        ConfigError: the kernel is larger than the padded input.
    """
    for axis, (size, width, (before, after), step) in enumerate(
        zip(x.shape[1:-1], kernel.shape[2:], sides, dilation, strict=True)
    ):
        if size + before + after < (width - 1) * step + 1:
            raise ConfigError(
                f"a kernel of {width} with dilation {step} does not fit axis {axis} of an input of "
                f"{tuple(x.shape[1:-1])}, padded by {before} and {after}; use padding='same', or larger frames"
            )
    x = x.movedim(-1, 1)
    even = tuple(before for before, after in sides if before == after)
    if len(even) < len(sides):
        x = functional.pad(x, [zeros for side in reversed(sides) for zeros in side])
        even = (0,) * len(sides)
    out = _CONVOLUTIONS[len(sides)](x, kernel, None, stride, even, dilation)
    return out.movedim(1, -1)


def _features(chosen: slice, hidden: int) -> slice:
    if chosen == slice(None):
        return chosen
    return slice(chosen.start * hidden, chosen.stop * hidden)
