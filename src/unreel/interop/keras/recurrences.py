"""Recurrences with the options of Keras: sequences or the last output, states, backwards, stateful, two directions.

They take and give (x, lengths), as the other layers of a loaded model do, see `layers.py`. What this file is not: the
recurrences themselves are those of `unreel.nn`, each of one layer in one direction.

Shape letters: N clips, T frames.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from unreel.interop.keras.layers import Lengths
from unreel.nn.conv_recurrent import ConvLSTM
from unreel.nn.recurrent import GRU, LSTM, RNN
from unreel.ops import valid
from unreel.ops.cells import State

Merge = Literal["concat", "sum", "mul", "ave"] | None


class Recurrence(nn.Module):
    """SimpleRNN, LSTM, GRU or ConvLSTM with Keras's options.

    Args:
        layer: of one layer and one direction.
        return_sequences: give every frame's output (N, T, *), else the last valid frame's (N, *).
        return_state: give (output, h) or (output, h, c).
        go_backwards: begin at the last valid frame; outputs come in that order, as in Keras.
        stateful: begin each call with the state that the last one left, without its gradient.
        dropout: probability to drop a feature (of a ConvLSTM: a feature map) of the input in train mode, the same in
            all frames of a clip.
    """

    def __init__(
        self,
        layer: RNN | LSTM | GRU | ConvLSTM,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        stateful: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.dropout = dropout
        self.state: State | None = None

    def forward(self, x: Tensor, lengths: Lengths) -> tuple[Tensor | tuple[Tensor, ...], Lengths]:
        """x (N, T, *) to the outputs; lengths go on where the outputs are frames."""
        if self.training and self.dropout:
            kept = x.new_ones(len(x), 1, x.shape[2], *(1,) * (x.ndim - 3))
            x = x * functional.dropout(kept, self.dropout)
        if self.go_backwards:
            x = _flip(x, lengths)
        out, after = self.layer(x, lengths, self.state)
        if self.stateful:
            self.state = tuple(member.detach() for member in after)
        states = tuple(member[:, 0] for member in after)
        out = out if self.return_sequences else states[0]
        return (out, *states) if self.return_state else out, lengths if self.return_sequences else None

    def extra_repr(self) -> str:
        """The options, for print(model)."""
        return (
            f"return_sequences={self.return_sequences}, return_state={self.return_state}, "
            f"go_backwards={self.go_backwards}, stateful={self.stateful}"
        )


class Bidirectional(nn.Module):
    """Two recurrences over the same frames, one from each end, and how their outputs become one.

    Args:
        ahead: Keras's forward_layer.
        back: its backward_layer; it goes backwards, and its outputs are put in the order of the frames.
        merge: "concat", "sum", "mul", "ave", or None: both outputs, side by side in a tuple.
        dim: where "concat" joins outputs; Keras takes its last axis, whatever that is.
    """

    def __init__(self, ahead: Recurrence, back: Recurrence, merge: Merge, dim: int) -> None:
        super().__init__()
        self.ahead = ahead
        self.back = back
        self.merge: Merge = merge
        self.dim = dim

    def forward(self, x: Tensor, lengths: Lengths) -> tuple[Tensor | tuple[Tensor, ...], Lengths]:
        """x (N, T, *) to the outputs, and with return_state the states of `ahead`, then those of `back`."""
        first, after = self.ahead(x, lengths)
        second, _ = self.back(x, lengths)
        states: tuple[Tensor, ...] = ()
        if self.ahead.return_state:
            states = (*first[1:], *second[1:])
            first, second = first[0], second[0]
        if self.ahead.return_sequences:
            second = _flip(second, lengths)
        outputs = self._merge(first, second)
        return (*outputs, *states) if len(outputs) + len(states) > 1 else outputs[0], after

    def _merge(self, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        if self.merge is None:
            return first, second
        if self.merge == "concat":
            return (torch.cat([first, second], self.dim),)
        if self.merge == "mul":
            return (first * second,)
        total = first + second
        return (total / 2 if self.merge == "ave" else total,)

    def extra_repr(self) -> str:
        """The merge, for print(model)."""
        return f"merge={self.merge!r}"


def _flip(x: Tensor, lengths: Lengths) -> Tensor:
    """Each clip (N, T, *) reversed within its own length."""
    return x.flip(1) if lengths is None else valid.flip(x, lengths)
