"""The gate arithmetic of RNN, LSTM and GRU: pure functions of what the gates are fed.

`z = x·W + b + h·U`, then a cell turns z and the state into the next state, whose first member is the output h. The
product may be a matrix product or a convolution: a cell never sees it, and works on gates side by side in the last
axis of `zx` (from the input) and `zh` (from the state). What this file is not: it knows no time and no weight.

Equations: LSTM of Gers, Schmidhuber and Cummins (2000), the layer of PyTorch, cuDNN and Keras; GRU of Cho et al.
(2014) with the reset after the product, as cuDNN, PyTorch and Keras (`reset_after=True`) have it.

Shape letters: N clips, H hidden features, G gates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

State = tuple[Tensor, ...]


@dataclass(frozen=True)
class Cell:
    """One kind of recurrence.

    Args:
        gates: names of the gates in the order in which they lie side by side in z, W, U and b. The one place of it.
        states: how many tensors make the state; the first is the output.
        step: (zx (N, G·H), zh (N, G·H), state) -> next state, each (N, H).
        recurrent_bias: the gate whose recurrent product has a bias of its own, because the gate uses that product
            by itself; None where one bias vector says it all.
    """

    gates: tuple[str, ...]
    states: int
    step: Callable[[Tensor, Tensor, State], State]
    recurrent_bias: str | None = None

    def part(self, gate: str, hidden: int) -> slice:
        """Where `gate` lies in the G·H features, for H = `hidden`."""
        first = self.gates.index(gate) * hidden
        return slice(first, first + hidden)


def _rnn_tanh(zx: Tensor, zh: Tensor, state: State) -> State:
    return ((zx + zh).tanh(),)


def _rnn_relu(zx: Tensor, zh: Tensor, state: State) -> State:
    return ((zx + zh).relu(),)


def _lstm(zx: Tensor, zh: Tensor, state: State) -> State:
    enter, forget, candidate, leave = (zx + zh).chunk(4, -1)
    c = forget.sigmoid() * state[1] + enter.sigmoid() * candidate.tanh()
    return leave.sigmoid() * c.tanh(), c


def _gru(zx: Tensor, zh: Tensor, state: State) -> State:
    reset_x, update_x, candidate_x = zx.chunk(3, -1)
    reset_h, update_h, candidate_h = zh.chunk(3, -1)
    candidate = (candidate_x + (reset_x + reset_h).sigmoid() * candidate_h).tanh()
    return (candidate + (update_x + update_h).sigmoid() * (state[0] - candidate),)


RNN_TANH = Cell(("hidden",), 1, _rnn_tanh)
RNN_RELU = Cell(("hidden",), 1, _rnn_relu)
LSTM = Cell(("enter", "forget", "candidate", "leave"), 2, _lstm)
GRU = Cell(("reset", "update", "candidate"), 1, _gru, recurrent_bias="candidate")
