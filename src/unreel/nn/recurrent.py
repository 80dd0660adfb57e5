"""RNN, LSTM and GRU over vectors: length-aware, in layers, in one or both directions, with the state in and out.

What this file is not: the arithmetic is in `ops/cells.py`, the loop over time in `ops/scan.py`. The layers give the
numbers of torch.nn.RNN, LSTM and GRU on packed sequences; their weights are in the form of Keras, `x·W + b + h·U` with
one bias vector, forget bias one, W drawn by Glorot and Bengio (2010), U orthogonal by Saxe et al. (2014).

Shape letters: N clips, T frames, D features in, H hidden features, G gates, L layers, R directions (1 or 2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unreel.errors import ConfigError
from unreel.ops import cells, valid
from unreel.ops.cells import Cell, State
from unreel.ops.scan import Impl, Weights, scan


class _Direction(nn.Module):
    """One layer of a recurrence in one direction of time: its weights, and the scan over them."""

    def __init__(self, cell: Cell, input_size: int, hidden_size: int, bias: bool, impl: Impl) -> None:
        super().__init__()
        self.cell = cell
        self.impl: Impl = impl
        width = len(cell.gates) * hidden_size
        self.kernel = nn.Parameter(torch.empty(input_size, width))
        self.recurrent_kernel = nn.Parameter(torch.empty(hidden_size, width))
        self.bias = nn.Parameter(torch.empty(width)) if bias else None
        has_recurrent_bias = bias and cell.recurrent_bias is not None
        self.recurrent_bias = nn.Parameter(torch.empty(hidden_size)) if has_recurrent_bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.kernel)
        nn.init.orthogonal_(self.recurrent_kernel)
        for bias in (self.bias, self.recurrent_bias):
            if bias is not None:
                nn.init.zeros_(bias)
        if self.bias is not None and "forget" in self.cell.gates:
            with torch.no_grad():
                self.bias[self.cell.part("forget", len(self.recurrent_kernel))] = 1.0

    def forward(self, x: Tensor, lengths: Tensor | None, state: State | None) -> tuple[Tensor, State]:
        weights = Weights(self.kernel, self.recurrent_kernel, self.bias, self.recurrent_bias)
        return scan(self.cell, x, weights, state, lengths, self.impl)


class _Recurrent(nn.Module):
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
    ) -> None:
        super().__init__()
        for name, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {dropout}")
        self.cell = cell
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.directions = 2 if bidirectional else 1
        self.layers = nn.ModuleList(
            _Direction(cell, hidden_size * self.directions if layer else input_size, hidden_size, bias, impl)
            for layer in range(num_layers)
            for _ in range(self.directions)
        )

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
        lengths = valid.ragged(lengths, x.shape[1])
        ends: list[State] = []
        for first in range(0, len(self.layers), self.directions):
            if first:
                x = nn.functional.dropout(x, self.dropout, self.training)
            outs = []
            for direction in range(self.directions):
                index = first + direction
                start = None if state is None else tuple(member[:, index] for member in state)
                seen = _flip(x, lengths) if direction else x
                out, end = self.layers[index](seen, lengths, start)
                outs.append(_flip(out, lengths) if direction else out)
                ends.append(end)
            x = torch.cat(outs, -1) if self.bidirectional else outs[0]
        return x, tuple(torch.stack(member, 1) for member in zip(*ends, strict=True))

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The next frame of each stream: x (N, D) to out (N, H) and the state after it.

        Raises:
            ConfigError: the layer is bidirectional, so what it says of a frame depends on frames yet to come.
        """
        if self.bidirectional:
            raise ConfigError(
                "a bidirectional recurrence cannot run frame by frame: its backward direction begins at the last "
                "frame. Use forward on whole clips, or build it with bidirectional=False"
            )
        out, after = self(x.unsqueeze(1), None, state)
        return out[:, 0], after

    def extra_repr(self) -> str:
        """The sizes, for print(model)."""
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, "
            f"bidirectional={self.bidirectional}, dropout={self.dropout}"
        )


def _flip(x: Tensor, lengths: Tensor | None) -> Tensor:
    return x.flip(1) if lengths is None else valid.flip(x, lengths)


class RNN(_Recurrent):
    """The simple recurrence, h_t = tanh(x_t·W + b + h_{t-1}·U) or relu of the same. Elman (1990); torch.nn.RNN.

    Args:
        input_size: D.
        hidden_size: H.
        num_layers: L, each fed by the one below.
        bias: whether there is b.
        bidirectional: a second recurrence from each clip's last valid frame to its first, beside the first.
        dropout: probability to drop a feature between layers, in train mode.
        impl: see `ops.scan.scan`.
        nonlinearity: "tanh" or "relu".
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
    ) -> None:
        kinds = {"tanh": cells.RNN_TANH, "relu": cells.RNN_RELU}
        if nonlinearity not in kinds:
            raise ConfigError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(kinds[nonlinearity], input_size, hidden_size, num_layers, bias, bidirectional, dropout, impl)


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
    ) -> None:
        super().__init__(cells.LSTM, input_size, hidden_size, num_layers, bias, bidirectional, dropout, impl)


class GRU(_Recurrent):
    """Gated recurrent unit, reset after the product; its state is (h,). Cho et al. (2014); torch.nn.GRU.

    Args:
        input_size: D.
        hidden_size: H.
        num_layers: L, each fed by the one below.
        bias: whether there is b, and a bias in the recurrent product of the candidate gate.
        bidirectional: a second recurrence from each clip's last valid frame to its first, beside the first.
        dropout: probability to drop a feature between layers, in train mode.
        impl: see `ops.scan.scan`.
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
    ) -> None:
        super().__init__(cells.GRU, input_size, hidden_size, num_layers, bias, bidirectional, dropout, impl)
