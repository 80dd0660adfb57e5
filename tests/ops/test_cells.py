"""Cells against torch.nn's cells, which are written apart from its layers."""

from itertools import pairwise

import pytest
import torch

from unreel.ops import cells

H = 5
PAIRS = {
    "rnn_tanh": (cells.RNN_TANH, torch.nn.RNNCell(3, H, dtype=torch.float64)),
    "rnn_relu": (cells.RNN_RELU, torch.nn.RNNCell(3, H, nonlinearity="relu", dtype=torch.float64)),
    "lstm": (cells.LSTM, torch.nn.LSTMCell(3, H, dtype=torch.float64)),
    "gru": (cells.GRU, torch.nn.GRUCell(3, H, dtype=torch.float64)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_step_agrees_with_the_cell_of_torch(name):
    cell, peer = PAIRS[name]
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 3, dtype=torch.float64, generator=generator)
    state = tuple(torch.randn(4, H, dtype=torch.float64, generator=generator) for _ in range(cell.states))
    theirs = peer(x, state if cell.states > 1 else state[0])
    zx = torch.nn.functional.linear(x, peer.weight_ih, peer.bias_ih)
    zh = torch.nn.functional.linear(state[0], peer.weight_hh, peer.bias_hh)
    ours = cell.step(zx, lambda h, gates: zh, state)
    for a, b in zip(ours, theirs if cell.states > 1 else (theirs,), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", PAIRS)
def test_gates_lie_where_part_says(name):
    cell, _ = PAIRS[name]
    ends = [cell.part(gate, H) for gate in cell.gates]
    assert ends[0].start == 0
    assert ends[-1].stop == len(cell.gates) * H
    assert all(a.stop == b.start for a, b in pairwise(ends))


def test_a_wide_open_forget_gate_keeps_the_cell_state():
    z = torch.zeros(1, 4 * H)
    z[:, cells.LSTM.part("forget", H)] = 100.0
    z[:, cells.LSTM.part("enter", H)] = -100.0
    c = torch.randn(1, H)
    _, after = cells.LSTM.step(z, lambda h, gates: torch.zeros_like(z), (torch.zeros(1, H), c))
    torch.testing.assert_close(after, c)
