"""Convolution with features in the last axis, and its gradients: torch's own operators on views.

What this file is not: it knows no recurrence.

Shape letters: N clips, S positions in space, D features in, F features out, K kernel sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unreel.errors import ConfigError

Sides = tuple[tuple[int, int], ...]
"""Zeros before and after, for each axis of space."""

_CONVOLUTIONS = {2: functional.conv2d, 3: functional.conv3d}


def same(kernel: tuple[int, ...], dilation: tuple[int, ...] | None = None) -> Sides:
    """Zeros that keep a size at stride 1: half before, half after, the odd one after."""
    reach = [(width - 1) * step for width, step in zip(kernel, dilation or (1,) * len(kernel), strict=True)]
    return tuple((total // 2, total - total // 2) for total in reach)


def packed(x: Tensor) -> Tensor:
    """x with features last in memory too, and strides that say so even where a size is 1.

    torch calls a tensor with one channel contiguous whatever the stride of that axis, and then tells its memory order
    from that stride: the convolution's output would come channels first.
    """
    x = x.contiguous()
    strides = [1]
    for size in reversed(x.shape[1:]):
        strides.append(strides[-1] * size)
    return x.as_strided(x.shape, strides[::-1])


def laid(kernel: Tensor) -> Tensor:
    """The kernel (F, D, *K) with features last in memory, as those of x are: then no step has to turn it.

    On a CPU too, where the library packs kernels in an order of its own: from this one it does so faster.
    """
    return kernel.movedim(1, -1).contiguous().movedim(-1, 1)


def convolve(x: Tensor, kernel: Tensor, sides: Sides, stride: tuple[int, ...], dilation: tuple[int, ...]) -> Tensor:
    """x ∗ kernel: (N, *S, D) and (F, D, *K) to (N, *S', F).

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
    if len(sides) == 1:
        # an image of one row: torch convolves series in channels-first order only
        image = convolve(x.unsqueeze(1), kernel.unsqueeze(2), ((0, 0), *sides), (1, *stride), (1, *dilation))
        return image.squeeze(1)
    x, even = _pad(x.movedim(-1, 1), sides)
    return _CONVOLUTIONS[len(sides)](x, kernel, None, stride, even, dilation).movedim(1, -1)


def accumulate(
    out: Tensor, x: Tensor, kernel: Tensor, sides: Sides, stride: tuple[int, ...], dilation: tuple[int, ...]
) -> None:
    """out (N, *S', F) += x ∗ kernel, for packed tensors.

    oneDNN adds in place; elsewhere the convolution is made and then added.
    """
    even = tuple(before for before, after in sides if before == after)
    in_place = out.dtype == x.dtype == torch.float32 and out.device.type == "cpu" and len(even) == len(sides)
    if not (in_place and torch.backends.mkldnn.is_available()):
        out.add_(convolve(x, kernel, sides, stride, dilation))
        return
    if len(sides) == 1:
        out, x, kernel = out.unsqueeze(1), x.unsqueeze(1), kernel.unsqueeze(2)
        even, stride, dilation = (0, *even), (1, *stride), (1, *dilation)
    torch.ops.mkldnn._convolution_pointwise_.binary(
        out.movedim(-1, 1), x.movedim(-1, 1), kernel, None, even, stride, dilation, 1, "add", None, None, [], None
    )


def gradient_of_input(
    dout: Tensor, x: Tensor, kernel: Tensor, sides: Sides, stride: tuple[int, ...], dilation: tuple[int, ...]
) -> Tensor:
    """Gradient of x, from that of the output (N, *S', F)."""
    dx, _ = _backward(dout, x, kernel, sides, stride, dilation, (True, False))
    dx = dx.movedim(1, -1)
    if any(before != after for before, after in sides):
        dx = dx[(slice(None), *(slice(b, size - a) for (b, a), size in zip(sides, dx.shape[1:-1], strict=True)))]
    return dx


def gradient_of_kernel(
    dout: Tensor, x: Tensor, kernel: Tensor, sides: Sides, stride: tuple[int, ...], dilation: tuple[int, ...]
) -> Tensor:
    """Gradient of the kernel (F, D, *K), from that of the output (N, *S', F)."""
    return _backward(dout, x, kernel, sides, stride, dilation, (False, True))[1]


def _backward(
    dout: Tensor,
    x: Tensor,
    kernel: Tensor,
    sides: Sides,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    wanted: tuple[bool, bool],
) -> tuple[Tensor, Tensor]:
    """Gradients of the padded x, features in axis 1, and of the kernel: those wanted, and nothing of use elsewhere."""
    if len(sides) == 1:
        dout, x, kernel = dout.unsqueeze(1), x.unsqueeze(1), kernel.unsqueeze(2)
        dx, dkernel = _backward(dout, x, kernel, ((0, 0), *sides), (1, *stride), (1, *dilation), wanted)
        return dx.squeeze(2) if wanted[0] else dx, dkernel.squeeze(2) if wanted[1] else dkernel
    x, even = _pad(x.movedim(-1, 1), sides)
    dx, dkernel, _ = torch.ops.aten.convolution_backward(
        dout.movedim(-1, 1),
        x,
        kernel,
        None,
        stride,
        even,
        dilation,
        False,  # transposed
        [0] * len(sides),  # output padding
        1,  # groups
        [*wanted, False],
    )
    return dx, dkernel


def _pad(x: Tensor, sides: Sides) -> tuple[Tensor, tuple[int, ...]]:
    """x (N, D, *S) with the zeros that torch's convolution cannot add itself, and those that it can."""
    if all(before == after for before, after in sides):
        return x, tuple(before for before, _ in sides)
    return functional.pad(x, [zeros for side in reversed(sides) for zeros in side]), (0,) * len(sides)
