"""The gate arithmetic of RNN, LSTM and GRU: pure functions of what the gates are fed.

`z = x·W + b + h·U`, then a cell turns z and the state into the next state, whose first member is the output h. The
product may be a matrix product or a convolution: a cell never sees which, and works on gates side by side in the last
axis. What this file is not: it knows no time and no weight but the peepholes, and no gradient (`ops/fused.py`).

Equations: LSTM of Gers, Schmidhuber and Cummins (2000), the layer of PyTorch, cuDNN and Keras; its peepholes as in
Shi et al. (2015), equation 3, with one weight a channel, so that images may be of any size; GRU of Cho et al. (2014)
with the reset after the product, as cuDNN, PyTorch and Keras (`reset_after=True`) have it, or before it, as the paper.

Shape letters: N clips, S positions in space (none for vectors), H hidden features, G gates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from unreel.ops.activations import activation

State = tuple[Tensor, ...]
Recur = Callable[[Tensor, slice], Tensor]
"""(h (N, *S, H), gates) -> h·U for those of the G gates, (N, *S, gates·H), with the recurrent bias where it belongs."""
_ALL = slice(None)


@dataclass(frozen=True)
class Cell:
    """One kind of recurrence.

    Args:
        kind: "rnn", "lstm" or "gru".
        gates: names of the gates in the order in which they lie side by side in z, W, U and b. The one place of it.
        states: how many tensors make the state; the first is the output.
        activation: of the candidate, and of the LSTM's way out; a name in `ops.activations`.
        recurrent_activation: of the gates that open and shut.
        recurrent_bias: the gate whose recurrent product has a bias of its own, because the gate uses that product
            by itself; None where one bias vector says it all.
        reset_after: whether the reset gate acts on the product h·U, or on h before it (GRU only).
    """

    kind: str
    gates: tuple[str, ...]
    states: int
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    recurrent_bias: str | None = None
    reset_after: bool = True

    def __post_init__(self) -> None:
        activation(self.activation)
        activation(self.recurrent_activation)

    def part(self, gate: str, hidden: int) -> slice:
        """Where `gate` lies in the G·H features, for H = `hidden`."""
        first = self.gates.index(gate) * hidden
        return slice(first, first + hidden)

    def lift(self, recurrent_bias: Tensor | None) -> Tensor | None:
        """The recurrent bias (H,) of one gate as (G·H,), zero for the other gates; None for None."""
        if recurrent_bias is None or self.recurrent_bias is None:
            return None
        hidden = len(recurrent_bias)
        part = self.part(self.recurrent_bias, hidden)
        return functional.pad(recurrent_bias, (part.start, len(self.gates) * hidden - part.stop))

    def step(self, zx: Tensor, recur: Recur, state: State, peephole: Tensor | None = None) -> State:
        """The state after one more frame.

        Args:
            zx: (N, *S, G·H), x·W + b.
            recur: gives h·U.
            state: `states` tensors (N, *S, H).
            peephole: (3, H), from c to the gates enter, forget and leave of an LSTM; None for none.
        """
        if self.kind == "lstm":
            return self._lstm(zx, recur, state, peephole)
        if self.kind == "gru":
            return self._gru(zx, recur, state)
        return (activation(self.activation).apply(zx + recur(state[0], _ALL)),)

    def _lstm(self, zx: Tensor, recur: Recur, state: State, peephole: Tensor | None) -> State:
        act, gate = activation(self.activation).apply, activation(self.recurrent_activation).apply
        h, c = state
        enter, forget, candidate, leave = (zx + recur(h, _ALL)).chunk(4, -1)
        if peephole is not None:
            enter, forget = enter + peephole[0] * c, forget + peephole[1] * c
        c = gate(forget) * c + gate(enter) * act(candidate)
        if peephole is not None:
            leave = leave + peephole[2] * c
        return gate(leave) * act(c), c

    def _gru(self, zx: Tensor, recur: Recur, state: State) -> State:
        act, gate = activation(self.activation).apply, activation(self.recurrent_activation).apply
        (h,) = state
        reset_x, update_x, candidate_x = zx.chunk(3, -1)
        if self.reset_after:
            reset_h, update_h, candidate_h = recur(h, _ALL).chunk(3, -1)
            candidate_h = gate(reset_x + reset_h) * candidate_h
        else:
            reset_h, update_h = recur(h, slice(0, 2)).chunk(2, -1)
            candidate_h = recur(gate(reset_x + reset_h) * h, slice(2, 3))
        candidate = act(candidate_x + candidate_h)
        return (candidate + gate(update_x + update_h) * (h - candidate),)


def rnn(activation: str = "tanh") -> Cell:
    """h_t = activation(z_t). Elman (1990)."""
    return Cell("rnn", ("hidden",), 1, activation)


def lstm(activation: str = "tanh", recurrent_activation: str = "sigmoid") -> Cell:
    """Long short-term memory with a forget gate; its state is (h, c)."""
    return Cell("lstm", ("enter", "forget", "candidate", "leave"), 2, activation, recurrent_activation)


def gru(activation: str = "tanh", recurrent_activation: str = "sigmoid", reset_after: bool = True) -> Cell:
    """Gated recurrent unit; only with the reset after the product has the candidate a recurrent bias."""
    bias = "candidate" if reset_after else None
    return Cell("gru", ("reset", "update", "candidate"), 1, activation, recurrent_activation, bias, reset_after)


RNN_TANH = rnn()
RNN_RELU = rnn("relu")
LSTM = lstm()
GRU = gru()
