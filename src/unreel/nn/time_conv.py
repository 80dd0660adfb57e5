"""Convolution and max-pooling over time, for clips of unequal length: TimeConv1d, TimeConv2d, TimeMaxPool.

What stands behind a clip's end counts as the zeros that stand at any border, so a clip gives what it gives alone. A
layer with a stride in time shortens the clips, so that every layer here returns the lengths after it.

How many frames a clip of L frames has afterwards, with k the kernel's size, d its dilation and s the stride in time:

    same, causal    ceil(L / s)                        output t looks at frames around, or up to, frame t·s
    valid           floor((L - (k-1)·d - 1) / s) + 1   windows that lie inside the clip; at least one
    TimeMaxPool     ceil((L - k) / s) + 1              windows that begin inside the clip and reach its end

A clip shorter than the kernel has one frame afterwards, as if zeros (in a maximum: nothing) stood behind its end: a
short clip is an ordinary clip, and loses no run. With a stride, "same" begins at the first frame whatever the length
of the clip; Keras begins at a frame that depends on the length, so the two agree only with stride 1.

What this file is not: convolution over pixels, which is torch.nn.Conv2d in a TimeDistributed, and a convolution
inside a recurrence (`conv_recurrent.py`). The arithmetic is that of torch.nn.Conv1d, Conv2d and max_pool1d.

Shape letters: N clips, T frames (T' afterwards), D features (D' afterwards), C channels, F frequencies.
"""

from __future__ import annotations

from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from unreel.errors import ConfigError
from unreel.ops import valid

State = tuple[Tensor, ...]
TimePadding = Literal["same", "valid", "causal"]


class _TimeConv(nn.Module):
    """What both convolutions share: `conv` has no padding of its own, and time on the first of its axes."""

    def __init__(self, conv: nn.Conv1d | nn.Conv2d, padding: TimePadding) -> None:
        super().__init__()
        if padding not in get_args(TimePadding):
            raise ConfigError(f"padding must be one of {', '.join(get_args(TimePadding))}, got {padding!r}")
        self.conv = conv
        self.padding: TimePadding = padding

    @property
    def context(self) -> int:
        """Frames that an output sees besides its own: (k - 1) · dilation."""
        return (self.conv.kernel_size[0] - 1) * self.conv.dilation[0]

    def lengths_after(self, lengths: Tensor) -> Tensor:
        """Frames that clips of `lengths` (N,) have afterwards, (N,): as this file's docstring says."""
        stride = self.conv.stride[0]
        if self.padding == "valid":
            return (lengths - self.context - 1).clamp(min=0) // stride + 1
        return (lengths + stride - 1) // stride

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, Tensor | None, State]:
        """Convolve whole clips, or, causal with stride 1, go on with the next frames of each.

        Args:
            x: (N, T, D), of TimeConv2d (N, T, C, F); float.
            lengths: (N,) int64, valid frames of each clip, 1..T; None where all are.
            state: what an earlier call returned; None at the start of the clips. Only of a causal layer.

        Returns:
            out: (N, T', D') or (N, T', C', F'), with zeros in the padding.
            lengths: (N,) of out; None where None was given.
            state: (frames,) if causal, the last `context` frames of each clip, zeros before its start:
                (N, context, *); else ().

        Raises:
            ConfigError: a state for a layer that cannot go on.
            ValueError: x has another shape.
        """
        self._check(x)
        if state is not None:
            self._check_streams()
        x = x if lengths is None else valid.zero_padding(x, lengths)
        n, t, *frame = x.shape
        ahead, behind = self._borders(t)
        seen = torch.cat([x.new_zeros((n, ahead, *frame)) if state is None else state[0], x], 1)
        out = self._convolve(torch.cat([seen, x.new_zeros((n, behind, *frame))], 1).transpose(1, 2)).transpose(1, 2)
        after = (self._last(seen, lengths, t),) if self.padding == "causal" else ()
        if lengths is None:
            return out, None, after
        lengths = self.lengths_after(lengths)
        return valid.zero_padding(out, lengths), lengths, after

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The next frame of each stream: x (N, D) or (N, C, F) to (N, D') or (N, C', F') and the state after it.

        Raises:
            ConfigError: the layer is not causal, or has a stride.
        """
        self._check_streams()
        out, _, after = self(x.unsqueeze(1), None, state)
        return out[:, 0], after

    def extra_repr(self) -> str:
        """The padding in time, for print(model)."""
        return f"padding={self.padding!r}"

    def _borders(self, t: int) -> tuple[int, int]:
        """Frames of zeros ahead of and behind clips of `t` frames."""
        if self.padding == "causal":
            return self.context, 0
        if self.padding == "same":
            return self.context // 2, self.context - self.context // 2
        return 0, _missing(self.context + 1, t)

    def _last(self, seen: Tensor, lengths: Tensor | None, t: int) -> Tensor:
        """The last `context` frames of each clip, of `seen` (N, context + T, *)."""
        if lengths is None:
            return seen[:, t:]
        clips = torch.arange(seen.shape[0], device=seen.device)[:, None]
        return seen[clips, lengths[:, None] + torch.arange(self.context, device=seen.device)]

    def _check_streams(self) -> None:
        if self.padding != "causal" or self.conv.stride[0] != 1:
            raise ConfigError(
                "a convolution over time goes on from a state, or runs as a stream, with padding 'causal' and stride 1 "
                f"only, got padding {self.padding!r} and stride {self.conv.stride[0]}"
            )

    def _check(self, x: Tensor) -> None:
        raise NotImplementedError

    def _convolve(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class TimeConv1d(_TimeConv):
    """Convolution over time of features: (N, T, D) to (N, T', D').

    Weights are those of torch.nn.Conv1d, as `conv`: (D', D, k) and (D',), drawn as torch draws them.

    Args:
        in_features: D.
        out_features: D'.
        kernel_size: k, frames.
        stride: frames from one output to the next.
        dilation: frames from one of the kernel's taps to the next.
        padding: "same": a window around each frame, zeros at both borders. "causal": a window that ends with the
            frame. "valid": only windows inside the clip.
        bias: whether something is added to every output.

    Raises:
        ConfigError: no such padding, or a size below 1.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        stride: int = 1,
        dilation: int = 1,
        padding: TimePadding = "same",
        bias: bool = True,
    ) -> None:
        _check_sizes(
            in_features=in_features,
            out_features=out_features,
            kernel_size=kernel_size,
            stride=stride,
            dilation=dilation,
        )
        conv = nn.Conv1d(in_features, out_features, kernel_size, stride, dilation=dilation, bias=bias)
        super().__init__(conv, padding)

    def _check(self, x: Tensor) -> None:
        if x.ndim != 3 or x.shape[-1] != self.conv.in_channels:
            raise ValueError(f"x must be (N, T, {self.conv.in_channels}), got {tuple(x.shape)}")

    def _convolve(self, x: Tensor) -> Tensor:
        """(N, D, T) to (N, D', T')."""
        return self.conv(x)


class TimeConv2d(_TimeConv):
    """Convolution over time and frequency, as of a spectrogram: (N, T, C, F) to (N, T', C', F').

    Weights are those of torch.nn.Conv2d, as `conv`: (C', C, k, frequencies) and (C',). Over frequency the borders are
    filled with zeros so that F' = ceil(F / stride); with padding "valid" only windows inside are taken.

    Args:
        in_channels: C.
        out_channels: C'.
        kernel_size: (frames, frequencies); one number for both.
        stride: (frames, frequencies) from one output to the next; one number for both.
        dilation: frames from one of the kernel's taps to the next; over frequency they touch.
        padding: as of TimeConv1d.
        bias: whether something is added to every output.

    Raises:
        ConfigError: no such padding, or a size below 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        dilation: int = 1,
        padding: TimePadding = "same",
        bias: bool = True,
    ) -> None:
        kernel, strides = _pair(kernel_size), _pair(stride)
        _check_sizes(
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=min(kernel),
            stride=min(strides),
            dilation=dilation,
        )
        conv = nn.Conv2d(in_channels, out_channels, kernel, strides, dilation=(dilation, 1), bias=bias)
        super().__init__(conv, padding)

    def _check(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[2] != self.conv.in_channels:
            raise ValueError(f"x must be (N, T, {self.conv.in_channels}, F), got {tuple(x.shape)}")

    def _convolve(self, x: Tensor) -> Tensor:
        """(N, C, T, F) to (N, C', T', F')."""
        if self.padding != "valid":
            context = self.conv.kernel_size[-1] - 1
            x = functional.pad(x, (context // 2, context - context // 2))
        return self.conv(x)


class TimeMaxPool(nn.Module):
    """The largest value of every window of frames: (N, T, *) to (N, T', *).

    The last window ends with its clip, so that no frame is lost: max_pool1d with ceil_mode of each clip alone. (Over
    the pixels or frequencies of a frame, TimeDistributed(nn.MaxPool2d) or (nn.MaxPool1d) pools.)

    Args:
        kernel_size: k, frames of a window.
        stride: frames from one window to the next; None for as many as a window has.

    Raises:
        ConfigError: a size below 1, or a stride that leaves out frames.
    """

    def __init__(self, kernel_size: int, stride: int | None = None) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        _check_sizes(kernel_size=kernel_size, stride=self.stride)
        if self.stride > kernel_size:
            raise ConfigError(f"stride must be at most kernel_size {kernel_size}, got {stride}: frames would be lost")

    def lengths_after(self, lengths: Tensor) -> Tensor:
        """Frames that clips of `lengths` (N,) have afterwards, (N,): as this file's docstring says."""
        return ((lengths - self.kernel_size).clamp(min=0) + self.stride - 1) // self.stride + 1

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Pool over time.

        Args:
            x: (N, T, *) float.
            lengths: (N,) int64, valid frames of each clip, 1..T; None where all are.

        Returns:
            out (N, T', *) with zeros in the padding, and its lengths (N,); None where None was given.
        """
        frame = x.shape[2:]
        flat = x.flatten(2) if x.ndim > 2 else x.unsqueeze(2)
        if lengths is not None:
            seen = valid.mask(lengths, x.shape[1]).unsqueeze(2)
            flat = torch.where(seen, flat, flat.new_full((), -torch.inf))
        pool = self._pool_exported if torch.compiler.is_exporting() else self._pool
        out = pool(flat.transpose(1, 2)).transpose(1, 2)
        out = out.reshape(out.shape[:2] + frame)
        if lengths is None:
            return out, None
        lengths = self.lengths_after(lengths)
        return valid.zero_padding(out, lengths), lengths

    def _pool(self, x: Tensor) -> Tensor:
        """(N, D, T) to (N, D, T'); the last window may hang over."""
        t = x.shape[2]
        steps = (_missing(t, self.kernel_size) + self.stride - 1) // self.stride
        filled = functional.pad(x, (0, steps * self.stride + self.kernel_size - t), value=-torch.inf)
        return filled.unfold(2, self.kernel_size, self.stride).max(-1).values

    def _pool_exported(self, x: Tensor) -> Tensor:
        """The same for any T: a window for each frame, and of these the ones that are wanted.

        Were T' computed from T, the program would hold for the T only from which T' is more than one, since torch takes
        a size of one for a constant; a number of places that are looked for may be any. max_pool1d, also with
        ceil_mode, would fix T itself.
        """
        t = x.shape[2]
        filled = functional.pad(x, (0, self.kernel_size - 1), value=-torch.inf)
        frames = torch.arange(t, device=x.device)
        wanted = (frames % self.stride == 0) & (frames < _missing(t, self.kernel_size) + self.stride)
        places = wanted.nonzero()[:, 0]
        torch._check(places.shape[0] >= 1)
        return filled.unfold(2, self.kernel_size, 1).max(-1).values.index_select(2, places)

    def extra_repr(self) -> str:
        """The sizes, for print(model)."""
        return f"{self.kernel_size}, stride={self.stride}"


def _missing(least: int, t: int) -> int:
    """Frames that clips of `t` lack to have `least`; an exported program asks it anew for every T."""
    return cast(int, torch.sym_max(least - t, 0))


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"{name} must be at least 1, got {size}")
