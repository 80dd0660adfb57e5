"""RNN, LSTM and GRU over vectors: length-aware, in layers, in one or both directions, with the state in and out.

What this file is not: the arithmetic is in `ops/cells.py`, the loop over time in `ops/scan.py`; layers and directions
are in `nn/stacked.py`, shared with the convolutional layers. The layers give the numbers of torch.nn.RNN, LSTM and GRU
on packed sequences; their weights are in the form of Keras, `x·W + b + h·U` with one bias vector, forget bias one, W
drawn by Glorot and Bengio (2010), U orthogonal by Saxe et al. (2014).

Shape letters: N clips, T frames, D features in, H hidden features, L layers, R directions (1 or 2).
"""

from __future__ import annotations

from torch import Tensor

from unreel.errors import ConfigError
from unreel.nn.stacked import Stacked
from unreel.ops import cells
from unreel.ops.cells import Cell, State
from unreel.ops.products import Matrix
from unreel.ops.scan import Impl


class _Recurrent(Stacked):
    """What RNN, LSTM and GRU share: all but the cell."""

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        bidirectional: bool,
        dropout: float,
        impl: Impl,
        recurrent_dropout: float,
    ) -> None:
        for name, value in (("input_size", input_size), ("hidden_size", hidden_size)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        shapes = [
            ((size, len(cell.gates) * hidden_size), (hidden_size, len(cell.gates) * hidden_size))
            for size in [input_size] + [hidden_size * (2 if bidirectional else 1)] * (num_layers - 1)
        ]
        super().__init__(
            cell, [Matrix()] * num_layers, shapes, num_layers, bias, bidirectional, dropout, recurrent_dropout, impl
        )
        self.input_size = input_size
        self.hidden_size = hidden_size

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> tuple[Tensor, State]:
        """Run over whole clips, or over the next frames of each.

        Args:
            x: (N, T, D).
            lengths: (N,) int64, valid frames of each clip; None where all are.
            state: what an earlier call returned; None at the start of the clips. A backward direction starts from
                its part of the state at the last valid frame.

        Returns:
            out (N, T, H·R), the directions side by side, zeros in the padding; and the state after each clip's last
            valid frame (a backward direction: after its first frame), tensors (N, L·R, H): (h,), for LSTM (h, c).
        """
        if x.ndim != 3 or x.shape[-1] != self.input_size:
            raise ValueError(f"x must be (N, T, {self.input_size}), got {tuple(x.shape)}")
        return self.run(x, lengths, state)

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The next frame of each stream: x (N, D) to out (N, H) and the state after it.

        Raises:
            ConfigError: the layer is bidirectional, so what it says of a frame depends on frames yet to come.
        """
        self.refuse_to_step_backwards()
        out, after = self(x.unsqueeze(1), None, state)
        return out[:, 0], after

    def extra_repr(self) -> str:
        """The sizes, for print(model)."""
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, "
            f"bidirectional={self.bidirectional}, dropout={self.dropout}"
        )


class RNN(_Recurrent):
    """The simple recurrence, h_t = tanh(x_t·W + b + h_{t-1}·U) or another function of it. Elman (1990); torch.nn.RNN.

    Args:
        input_size: D.
        hidden_size: H.
        num_layers: L, each fed by the one below.
        bias: whether there is b.
        bidirectional: a second recurrence from each clip's last valid frame to its first, beside the first.
        dropout: probability to drop a feature between layers, in train mode.
        impl: see `ops.scan.scan`.
        nonlinearity: a name in `ops.activations`: "tanh", "relu", ...
        recurrent_dropout: probability to drop a feature of h before its product with U, in train mode; one mask for
            all frames of a clip (Gal and Ghahramani 2016).

    Raises:
        ConfigError: a number is out of range, or a name unknown.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        bidirectional: bool = False,
        dropout: float = 0.0,
        impl: Impl = "auto",
        nonlinearity: str = "tanh",
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__(
            cells.rnn(nonlinearity),
            input_size,
            hidden_size,
            num_layers,
            bias,
            bidirectional,
            dropout,
            impl,
            recurrent_dropout,
        )


class LSTM(_Recurrent):
    """Long short-term memory with a forget gate; its state is (h, c). Gers et al. (2000); torch.nn.LSTM.

    Args:
        input_size: D.
        hidden_size: H.
        num_layers: L, each fed by the one below.
        bias: whether there is b.
        bidirectional: a second recurrence from each clip's last valid frame to its first, beside the first.
        dropout: probability to drop a feature between layers, in train mode.
        impl: see `ops.scan.scan`.
        activation: of the candidate and of the way out; a name in `ops.activations`.
        recurrent_activation: of the gates.
        recurrent_dropout: probability to drop a feature of h before its product with U, in train mode; one mask for
            all frames of a clip (Gal and Ghahramani 2016).

    Raises:
        ConfigError: a number is out of range, or a name unknown.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        bidirectional: bool = False,
        dropout: float = 0.0,
        impl: Impl = "auto",
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__(
            cells.lstm(activation, recurrent_activation),
            input_size,
            hidden_size,
            num_layers,
            bias,
            bidirectional,
            dropout,
            impl,
            recurrent_dropout,
        )


class GRU(_Recurrent):
    """Gated recurrent unit; its state is (h,). Cho et al. (2014); torch.nn.GRU.

    Args:
        input_size: D.
        hidden_size: H.
        num_layers: L, each fed by the one below.
        bias: whether there is b, and (with the reset after) a bias in the recurrent product of the candidate gate.
        bidirectional: a second recurrence from each clip's last valid frame to its first, beside the first.
        dropout: probability to drop a feature between layers, in train mode.
        impl: see `ops.scan.scan`.
        activation: of the candidate; a name in `ops.activations`.
        recurrent_activation: of the gates.
        recurrent_dropout: probability to drop a feature of h before its product with U, in train mode; one mask for
            all frames of a clip (Gal and Ghahramani 2016).
        reset_after: whether the reset gate acts on the product with U, as in PyTorch, cuDNN and today's Keras, or on
            h before it, as in the paper.

    Raises:
        ConfigError: a number is out of range, or a name unknown.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        bidirectional: bool = False,
        dropout: float = 0.0,
        impl: Impl = "auto",
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        recurrent_dropout: float = 0.0,
        reset_after: bool = True,
    ) -> None:
        super().__init__(
            cells.gru(activation, recurrent_activation, reset_after),
            input_size,
            hidden_size,
            num_layers,
            bias,
            bidirectional,
            dropout,
            impl,
            recurrent_dropout,
        )
