"""ConvRNN, ConvLSTM and ConvGRU over series, images and volumes: the recurrence whose products are convolutions.

ConvLSTM is that of Shi et al. (2015), and the layer of Keras by that name; ConvGRU that of Ballas et al. (2016), with
the reset after the product. What this file is not: the arithmetic is in `ops/cells.py`, the loop over time in
`ops/scan.py`, layers and directions in `nn/stacked.py`.

Shapes are those of torch.nn: (N, T, C, *space) in, (N, T, F, *space') out. Space may differ from call to call, and
lie in memory either way: the layers work with features last inside (torch.channels_last), and their outputs lie so.

Shape letters: N clips, T frames, C channels in, F hidden channels, L layers, R directions (1 or 2), K kernel size.
"""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

from torch import Tensor

from unreel.errors import ConfigError
from unreel.nn.stacked import Stacked
from unreel.ops import cells
from unreel.ops.cells import Cell, State
from unreel.ops.products import Convolution, Padding
from unreel.ops.scan import Impl

Sizes = int | tuple[int, ...]
"""One number for every axis of space, or one for each."""


class _ConvRecurrent(Stacked):
    """What the convolutional layers share: all but the cell."""

    rank: ClassVar[int]

    def __init__(
        self,
        cell: Cell,
        in_channels: int,
        hidden_channels: int,
        kernel_size: Sizes,
        num_layers: int,
        stride: Sizes,
        padding: Padding | Sizes,
        dilation: Sizes,
        bias: bool,
        bidirectional: bool,
        dropout: float,
        recurrent_dropout: float,
        norm: Literal["layer"] | None,
        impl: Impl,
        peephole: bool = False,
    ) -> None:
        for name, value in (("in_channels", in_channels), ("hidden_channels", hidden_channels)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if norm not in (None, "layer"):
            raise ConfigError(f"norm must be None or 'layer', got {norm!r}")
        if isinstance(padding, str) and padding not in get_args(Padding):
            raise ConfigError(f"padding must be 'same', 'valid' or numbers, got {padding!r}")
        kernel = self._sizes("kernel_size", kernel_size, 1)
        sides = padding if isinstance(padding, str) else self._sizes("padding", padding, 0)
        product = Convolution(self.rank, self._sizes("stride", stride, 1), sides, self._sizes("dilation", dilation, 1))
        # the layers above the first keep the size that it gave
        above = Convolution(self.rank, (1,) * self.rank, "same", product.dilation)
        width = len(cell.gates) * hidden_channels
        shapes = [
            ((width, channels, *kernel), (width, hidden_channels, *kernel))
            for channels in [in_channels] + [hidden_channels * (2 if bidirectional else 1)] * (num_layers - 1)
        ]
        super().__init__(
            cell,
            [product] + [above] * (num_layers - 1),
            shapes,
            num_layers,
            bias,
            bidirectional,
            dropout,
            recurrent_dropout,
            impl,
            peephole,
            norm is not None,
            hold_dropout=True,
        )
        self.in_channels = in_channels
        self.hidden_channels = hidden_channels
        self.kernel_size = kernel
        self.stride = product.stride
        self.padding = product.padding
        self.dilation = product.dilation

    @classmethod
    def _sizes(cls, name: str, value: Sizes, least: int) -> tuple[int, ...]:
        sizes = (value,) * cls.rank if isinstance(value, int) else tuple(value)
        if len(sizes) != cls.rank or min(sizes) < least:
            raise ConfigError(f"{name} must be a number ≥ {least}, or {cls.rank} of them, got {value!r}")
        return sizes

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> tuple[Tensor, State]:
        """Run over whole clips, or over the next frames of each.

        Args:
            x: (N, T, C, *space), in memory as it comes: channels first, or each frame in torch.channels_last.
            lengths: (N,) int64, valid frames of each clip; None where all are.
            state: what an earlier call returned; None at the start of the clips. A backward direction starts from
                its part of the state at the last valid frame.

        Returns:
            out (N, T, F·R, *space'), the directions side by side, zeros in the padding; and the state after each
            clip's last valid frame (a backward direction: after its first frame), tensors (N, L·R, F, *space'):
            (h,), for LSTM (h, c).

        Raises:
            ValueError: x or the state has another shape.
            ConfigError: a kernel is larger than the padded frame; impl="fast" where no fast path exists.
        """
        if x.ndim != self.rank + 3 or x.shape[2] != self.in_channels:
            space = ", ".join("LHW"[-self.rank :] if self.rank > 1 else "L")
            raise ValueError(f"x must be (N, T, {self.in_channels}, {space}), got {tuple(x.shape)}")
        if state is not None:
            self._check(state, x.shape[0])
        start = None if state is None else tuple(member.movedim(2, -1) for member in state)
        out, end = self.run(x.movedim(2, -1), lengths, start)
        return out.movedim(-1, 2), tuple(member.movedim(-1, 2) for member in end)

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The next frame of each stream: x (N, C, *space) to out (N, F, *space') and the state after it.

        Raises:
            ConfigError: the layer is bidirectional, so what it says of a frame depends on frames yet to come.
        """
        self.refuse_to_step_backwards()
        out, after = self(x.unsqueeze(1), None, state)
        return out[:, 0], after

    def _check(self, state: State, n: int) -> None:
        head = (n, len(self.layers), self.hidden_channels)
        for member in state:
            if member.ndim != self.rank + 3 or tuple(member.shape[:3]) != head:
                raise ValueError(f"a state must be ({', '.join(map(str, head))}, *space), got {tuple(member.shape)}")
        if len(state) != self.cell.states:
            raise ValueError(f"a state must be {self.cell.states} tensors, got {len(state)}")

    def extra_repr(self) -> str:
        """The sizes, for print(model)."""
        return (
            f"{self.in_channels}, {self.hidden_channels}, kernel_size={self.kernel_size}, "
            f"num_layers={self.num_layers}, stride={self.stride}, padding={self.padding!r}, "
            f"dilation={self.dilation}, bidirectional={self.bidirectional}"
        )


class ConvRNN(_ConvRecurrent):
    """The simple recurrence, h_t = tanh(x_t ∗ W + b + h_{t-1} ∗ U), with convolutions.

    Args:
        in_channels: C.
        hidden_channels: F, in each direction.
        kernel_size: K, of both convolutions, for input and for state.
        num_layers: L, each fed by the one below; those above the first have stride 1 and padding "same".
        stride: of the input's convolution.
        padding: "same" makes space' = ceil(space / stride), the odd zero at the end, as Keras has it; "valid" for
            none; or numbers. The state's convolution always has "same".
        dilation: of the input's convolutions.
        bias: whether there is b.
        bidirectional: a second recurrence from each clip's last valid frame to its first, beside the first.
        dropout: probability to drop a whole feature map between layers, in train mode, the same in all frames.
        recurrent_dropout: probability to drop a feature map of h before its convolution, in train mode, the same in
            all frames (Gal and Ghahramani 2016).
        activation: of the output; a name in `ops.activations`.
        norm: "layer" brings x ∗ W and h ∗ U of each gate to mean 0 and variance 1 over space and channels (Ba, Kiros
            and Hinton 2016); None for nothing.
        impl: see `ops.scan.scan`.

    Raises:
        ConfigError: a number is out of range, or a name unknown.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: Sizes,
        num_layers: int = 1,
        stride: Sizes = 1,
        padding: Padding | Sizes = "same",
        dilation: Sizes = 1,
        bias: bool = True,
        bidirectional: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        activation: str = "tanh",
        norm: Literal["layer"] | None = None,
        impl: Impl = "auto",
    ) -> None:
        super().__init__(
            cells.rnn(activation),
            in_channels,
            hidden_channels,
            kernel_size,
            num_layers,
            stride,
            padding,
            dilation,
            bias,
            bidirectional,
            dropout,
            recurrent_dropout,
            norm,
            impl,
        )


class ConvRNN1d(ConvRNN):
    """ConvRNN over series, frames (C, L); the arguments are those of `ConvRNN`."""

    rank = 1


class ConvRNN2d(ConvRNN):
    """ConvRNN over images, frames (C, H, W); the arguments are those of `ConvRNN`."""

    rank = 2


class ConvRNN3d(ConvRNN):
    """ConvRNN over volumes, frames (C, D, H, W); the arguments are those of `ConvRNN`."""

    rank = 3


class ConvLSTM(_ConvRecurrent):
    """Long short-term memory with convolutions; its state is (h, c). Shi et al. (2015); Keras's ConvLSTM.

    Args:
        in_channels: C.
        hidden_channels: F, in each direction.
        kernel_size: K, of both convolutions, for input and for state.
        num_layers: L, each fed by the one below; those above the first have stride 1 and padding "same".
        stride: of the input's convolution.
        padding: "same" makes space' = ceil(space / stride), the odd zero at the end, as Keras has it; "valid" for
            none; or numbers. The state's convolution always has "same".
        dilation: of the input's convolutions.
        bias: whether there is b.
        bidirectional: a second recurrence from each clip's last valid frame to its first, beside the first.
        dropout: probability to drop a whole feature map between layers, in train mode, the same in all frames.
        recurrent_dropout: probability to drop a feature map of h before its convolution, in train mode, the same in
            all frames (Gal and Ghahramani 2016).
        activation: of the candidate and of the way out; a name in `ops.activations`.
        recurrent_activation: of the gates; "hard_sigmoid" as in Keras 3, "hard_sigmoid_keras2" as in Keras 1 and 2.
        peephole: let c feed the gates, with one weight a channel and gate.
        norm: "layer" brings x ∗ W and h ∗ U of each gate to mean 0 and variance 1 over space and channels (Ba, Kiros
            and Hinton 2016); None for nothing.
        impl: see `ops.scan.scan`.

    Raises:
        ConfigError: a number is out of range, or a name unknown.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: Sizes,
        num_layers: int = 1,
        stride: Sizes = 1,
        padding: Padding | Sizes = "same",
        dilation: Sizes = 1,
        bias: bool = True,
        bidirectional: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        peephole: bool = False,
        norm: Literal["layer"] | None = None,
        impl: Impl = "auto",
    ) -> None:
        super().__init__(
            cells.lstm(activation, recurrent_activation),
            in_channels,
            hidden_channels,
            kernel_size,
            num_layers,
            stride,
            padding,
            dilation,
            bias,
            bidirectional,
            dropout,
            recurrent_dropout,
            norm,
            impl,
            peephole,
        )


class ConvLSTM1d(ConvLSTM):
    """ConvLSTM over series, frames (C, L); the arguments are those of `ConvLSTM`."""

    rank = 1


class ConvLSTM2d(ConvLSTM):
    """ConvLSTM over images, frames (C, H, W); the arguments are those of `ConvLSTM`."""

    rank = 2


class ConvLSTM3d(ConvLSTM):
    """ConvLSTM over volumes, frames (C, D, H, W); the arguments are those of `ConvLSTM`."""

    rank = 3


class ConvGRU(_ConvRecurrent):
    """Gated recurrent unit with convolutions, reset after the product; its state is (h,). Ballas et al. (2016).

    Args:
        in_channels: C.
        hidden_channels: F, in each direction.
        kernel_size: K, of both convolutions, for input and for state.
        num_layers: L, each fed by the one below; those above the first have stride 1 and padding "same".
        stride: of the input's convolution.
        padding: "same" makes space' = ceil(space / stride), the odd zero at the end, as Keras has it; "valid" for
            none; or numbers. The state's convolution always has "same".
        dilation: of the input's convolutions.
        bias: whether there is b.
        bidirectional: a second recurrence from each clip's last valid frame to its first, beside the first.
        dropout: probability to drop a whole feature map between layers, in train mode, the same in all frames.
        recurrent_dropout: probability to drop a feature map of h before its convolution, in train mode, the same in
            all frames (Gal and Ghahramani 2016).
        activation: of the candidate; a name in `ops.activations`.
        recurrent_activation: of the gates; "hard_sigmoid" as in Keras 3, "hard_sigmoid_keras2" as in Keras 1 and 2.
        norm: "layer" brings x ∗ W and h ∗ U of each gate to mean 0 and variance 1 over space and channels (Ba, Kiros
            and Hinton 2016); None for nothing.
        impl: see `ops.scan.scan`.

    Raises:
        ConfigError: a number is out of range, or a name unknown.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: Sizes,
        num_layers: int = 1,
        stride: Sizes = 1,
        padding: Padding | Sizes = "same",
        dilation: Sizes = 1,
        bias: bool = True,
        bidirectional: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        norm: Literal["layer"] | None = None,
        impl: Impl = "auto",
    ) -> None:
        super().__init__(
            cells.gru(activation, recurrent_activation),
            in_channels,
            hidden_channels,
            kernel_size,
            num_layers,
            stride,
            padding,
            dilation,
            bias,
            bidirectional,
            dropout,
            recurrent_dropout,
            norm,
            impl,
        )


class ConvGRU1d(ConvGRU):
    """ConvGRU over series, frames (C, L); the arguments are those of `ConvGRU`."""

    rank = 1


class ConvGRU2d(ConvGRU):
    """ConvGRU over images, frames (C, H, W); the arguments are those of `ConvGRU`."""

    rank = 2


class ConvGRU3d(ConvGRU):
    """ConvGRU over volumes, frames (C, D, H, W); the arguments are those of `ConvGRU`."""

    rank = 3
