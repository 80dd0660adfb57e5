"""Layers that Keras has otherwise than torch or Unreel, around those of torch and Unreel: the pieces of a loaded model.

Each takes and gives (x, lengths): a tensor in torch's order of axes, and (N,) int64, the valid frames of each clip, or
None where all are. Keras knows a mask where Unreel knows lengths: padding lies behind the frames, and what stands in it
is never looked at; so a layer that would mix padding into frames refuses lengths.

What this file is not: it reads no configuration, `builders.py` says which layer of Keras becomes which of these; and
recurrences are in `recurrences.py`.

Shape letters: N clips, T frames, V valid frames of all clips, C channels, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from unreel.nn.time_distributed import TimeDistributed
from unreel.ops import valid

Lengths = Tensor | None


class EachFrame(nn.Module):
    """TimeDistributed: the module once per valid frame.

    Args:
        module: takes and gives (x, lengths), with no lengths of its own.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.frames = TimeDistributed(WithoutLengths(module))

    def forward(self, x: Tensor, lengths: Lengths) -> tuple[Tensor, Lengths]:
        """x (N, T, *) to (N, T, *), zeros in the padding."""
        return self.frames(x, lengths), lengths


class WithoutLengths(nn.Module):
    """A module of (x, lengths) as one of x.

    Args:
        module: called with lengths=None; the lengths that it gives are dropped.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """What the module makes of x."""
        return self.module(x, None)[0]


class OnAxis(nn.Module):
    """A module that works along one axis: Dense, BatchNormalization, an activation, dropout.

    Args:
        module: takes x with that axis where `place` says, and any sizes before or after it.
        dim: the axis.
        place: where the module wants it: -1 for Linear and softmax, 1 for BatchNorm1d, which then sees (V, C, L).
    """

    def __init__(self, module: nn.Module, dim: int, place: Literal[1, -1]) -> None:
        super().__init__()
        self.module = module
        self.dim = dim
        self.place = place

    def forward(self, x: Tensor, lengths: Lengths) -> tuple[Tensor, Lengths]:
        """x, changed along the axis. With lengths the module sees valid frames alone."""
        if lengths is None:
            return self._run(x, self.dim), None
        if self.dim == 1:
            raise ValueError("this layer works along the axis of time, so it would mix padding in: give no lengths")
        return valid.unpack(self._run(valid.pack(x, lengths), self.dim - 1), lengths, x.shape[1]), lengths

    def _run(self, x: Tensor, dim: int) -> Tensor:
        x = x.movedim(dim, self.place)
        rest = x.shape[2:]
        if self.place == 1 and x.ndim > 3:
            return self.module(x.flatten(2)).unflatten(2, rest).movedim(1, dim)
        return self.module(x).movedim(self.place, dim)

    def extra_repr(self) -> str:
        """The axis, for print(model)."""
        return f"dim={self.dim}"


class Spatial(nn.Module):
    """Convolution or pooling, with Keras's padding: the window's steps begin where TensorFlow begins them.

    "same" makes ceil(size / stride), with the odd cell of padding at the end; "causal" pads in front alone.

    Args:
        module: takes (N, C, *space) that is already padded.
        order: the axes of x in which it is (N, C, *space); the outputs go back.
        kernel, stride, dilation: sizes of the window along each axis of space.
        padding: "valid", "same" or "causal".
        fill: what the padding holds: 0, or -inf before a maximum.
        mean: the module is a mean over windows, of which padding is no part.
    """

    def __init__(
        self,
        module: nn.Module,
        order: tuple[int, ...],
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        dilation: tuple[int, ...],
        padding: str,
        fill: float = 0.0,
        mean: bool = False,
    ) -> None:
        super().__init__()
        self.module = module
        self.order = order
        self.back = tuple(order.index(axis) for axis in range(len(order)))
        self.kernel = kernel
        self.stride = stride
        self.dilation = dilation
        self.padding = padding
        self.fill = fill
        self.mean = mean

    def forward(self, x: Tensor, lengths: Lengths) -> tuple[Tensor, Lengths]:
        """x to the outputs in the same order of axes; lengths go on where frames do not mix."""
        if lengths is not None and (self.kernel[0], self.stride[0]) != (1, 1):
            raise ValueError("a convolution or pooling over time would mix padding in: give no lengths")
        x = x.permute(self.order)
        sides = self._sides(x)
        out = self.module(functional.pad(x, sides, value=self.fill))
        if self.mean and any(sides):
            out = out / self.module(functional.pad(torch.ones_like(x[:1, :1]), sides))
        out = out.permute(self.back)
        return (out if lengths is None else valid.zero_padding(out, lengths)), lengths

    def _sides(self, x: Tensor) -> list[int]:
        """How much to pad, in the order of torch.nn.functional.pad: the last axis first."""
        sides: list[int] = []
        for size, kernel, stride, dilation in zip(x.shape[2:], self.kernel, self.stride, self.dilation, strict=True):
            reach = (kernel - 1) * dilation
            wanted = {"valid": 0, "same": max((-(-size // stride) - 1) * stride + reach + 1 - size, 0), "causal": reach}
            total = wanted[self.padding]
            front = total if self.padding == "causal" else total // 2
            sides = [front, total - front, *sides]
        return sides

    def extra_repr(self) -> str:
        """The padding, for print(model)."""
        return f"padding={self.padding!r}"


class Everywhere(nn.Module):
    """GlobalMaxPooling, GlobalAveragePooling: one value a channel, over all space.

    Args:
        kind: "max" or "mean".
        dims: the axes of space; (1,) where space is time.
        keepdim: whether they stay, with size 1.
    """

    def __init__(self, kind: Literal["max", "mean"], dims: tuple[int, ...], keepdim: bool) -> None:
        super().__init__()
        self.kind: Literal["max", "mean"] = kind
        self.dims = dims
        self.keepdim = keepdim

    def forward(self, x: Tensor, lengths: Lengths) -> tuple[Tensor, Lengths]:
        """x to its largest or mean values; with lengths, over valid frames."""
        if lengths is None:
            return x.amax(self.dims, self.keepdim) if self.kind == "max" else x.mean(self.dims, self.keepdim), None
        if self.dims != (1,):
            raise ValueError(f"pooling over the axes {self.dims} of frames would mix padding in: give no lengths")
        pooled = valid.max(x, lengths) if self.kind == "max" else valid.mean(x, lengths)
        return pooled.unsqueeze(1) if self.keepdim else pooled, None


class Reorder(nn.Module):
    """x with its axes in another order, and where asked in another shape: Flatten, Reshape, and between layers.

    Args:
        order: of the axes.
        shape: of all but the first size; one may be -1. None leaves the shape.
    """

    def __init__(self, order: tuple[int, ...], shape: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.order = order
        self.shape = shape

    def forward(self, x: Tensor, lengths: Lengths) -> tuple[Tensor, Lengths]:
        """x (N, *) to its new order and shape."""
        x = x.permute(self.order)
        if lengths is not None and (self.shape is not None or self.order[:2] != (0, 1)):
            raise ValueError("this layer would mix padding into frames: give no lengths")
        return (x if self.shape is None else x.reshape(len(x), *self.shape)), lengths

    def extra_repr(self) -> str:
        """The order and shape, for print(model)."""
        return f"{self.order}" if self.shape is None else f"{self.order}, {self.shape}"


class MakeLengths(nn.Module):
    """Masking, and Embedding's mask_zero: the padding is told from what the frames hold.

    Args:
        padding: what every feature of a frame of padding holds.
    """

    def __init__(self, padding: float) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, x: Tensor, lengths: Lengths) -> tuple[Tensor, Lengths]:
        """x (N, T, *) as it is, and the lengths found; lengths that are given count, too.

        Raises:
            ValueError: padding stands before or between valid frames, or a clip has no valid frame.
        """
        present = (x != self.padding).flatten(2).any(2) if x.ndim > 2 else x != self.padding
        found = present.sum(1)
        if not torch.equal(present, valid.mask(found, x.shape[1])) or not bool(found.all()):
            raise ValueError(
                f"a frame that holds {self.padding} is padding, which must stand behind the clip's valid frames, "
                "and each clip needs one of these"
            )
        return x, found if lengths is None else torch.minimum(found, lengths)

    def extra_repr(self) -> str:
        """The value, for print(model)."""
        return f"{self.padding}"


class Table(nn.Module):
    """Embedding: a row for each token.

    Args:
        rows: V tokens of D features.
    """

    def __init__(self, rows: nn.Embedding) -> None:
        super().__init__()
        self.rows = rows

    def forward(self, x: Tensor, lengths: Lengths) -> tuple[Tensor, Lengths]:
        """Tokens (N, T) to (N, T, D), zeros in the padding."""
        out = self.rows(x)
        return (out if lengths is None else valid.zero_padding(out, lengths)), lengths


class Chain(nn.Module):
    """Layers of (x, lengths), one after another.

    Args:
        steps: by name.
    """

    def __init__(self, steps: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.steps = nn.ModuleDict(steps)

    def forward(self, x: Tensor, lengths: Lengths) -> tuple[Tensor, Lengths]:
        """x through every layer, and the lengths that are left."""
        for step in self.steps.values():
            x, lengths = step(x, lengths)
        return x, lengths


class Function(nn.Module):
    """A function of a tensor as a module.

    Args:
        function: x -> y.
        name: for print(model).
    """

    def __init__(self, function: Callable[[Tensor], Tensor], name: str) -> None:
        super().__init__()
        self.function = function
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        """What the function makes of x."""
        return self.function(x)

    def extra_repr(self) -> str:
        """The name, for print(model)."""
        return self.name
