"""Whole recurrences in C, in float32, against the plain loop in float64: everything they give and every gradient."""

import dataclasses

import pytest
import torch

from unreel.ops import cells, gates, series
from unreel.ops.fused import scan_fused
from unreel.ops.gates import Biases
from unreel.ops.products import Matrix
from unreel.ops.scan import scan_reference
from unreel.ops.weights import Weights

from recurrences import CELLS, outputs_and_gradients, problem  # isort: skip


def double(tensor):
    return None if tensor is None else tensor.detach().double().requires_grad_()


def agree(cell, with_state=True, lengths=None, bias=True, **sizes):
    _, x, weights, state = problem(cell, dtype=torch.float32, bias=bias, **sizes)
    # small enough weights, so that rounding does not grow from step to step
    small = weights.recurrent_kernel.detach() / len(weights.recurrent_kernel) ** 0.5
    weights = dataclasses.replace(weights, recurrent_kernel=small.requires_grad_())
    assert gates.compiled is not None, "the C part was not built: a C compiler is needed"
    biases = Biases(weights.bias, weights.recurrent_bias, None)
    assert series.serves(cell, Matrix(), biases, weights.recurrent_kernel, state[0])
    state = state if with_state else None
    lengths = None if lengths is None else torch.tensor(lengths)
    got = outputs_and_gradients(scan_fused, cell, Matrix(), x, weights, state, lengths)
    exact = outputs_and_gradients(
        scan_reference,
        cell,
        Matrix(),
        double(x),
        Weights(
            double(weights.kernel),
            double(weights.recurrent_kernel),
            double(weights.bias),
            double(weights.recurrent_bias),
        ),
        None if state is None else tuple(map(double, state)),
        lengths,
    )
    plain = outputs_and_gradients(scan_reference, cell, Matrix(), x, weights, state, lengths)
    ours, theirs, right = ([*outputs, *gradients] for outputs, gradients in (got, plain, exact))
    for a, b, c in zip(ours, theirs, right, strict=True):
        assert (a - c).norm() <= 2 * (b - c).norm() + 1e-6 * c.norm() + 1e-6


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("hidden", [1, 3, 16, 37, 50])
def test_agrees_with_float64(name, hidden):
    agree(CELLS[name], n=5, t=6, d=4, h=hidden)


@pytest.mark.parametrize("name", ["rnn_tanh", "lstm", "gru"])
@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize(
    ("n", "t", "lengths"),
    [(1, 1, None), (1, 7, None), (2, 1, (1, 1)), (4, 5, (3, 5, 1, 2)), (3, 4, (2, 2, 2)), (61, 3, None)],
)
def test_any_number_of_clips_and_frames(name, with_state, n, t, lengths):
    agree(CELLS[name], with_state, lengths, n=n, t=t, d=3, h=20)


@pytest.mark.parametrize("name", ["rnn_tanh", "lstm", "gru"])
@pytest.mark.parametrize("bias", [True, False])
def test_more_inputs_than_stay_in_cache(name, bias):
    agree(CELLS[name], n=3, t=3, d=5000, h=20, bias=bias)


def test_largest_matrix():
    agree(cells.LSTM, n=9, t=3, d=2, h=128)
    _, _, weights, state = problem(cells.LSTM, h=129, dtype=torch.float32)
    assert not series.serves(cells.LSTM, Matrix(), Biases(None, None, None), weights.recurrent_kernel, state[0])


@pytest.mark.parametrize("name", ["rnn_tanh", "lstm", "gru"])
@pytest.mark.parametrize("lengths", [None, (3, 5, 1, 2)])
def test_without_gradients_and_with_the_end_state_alone(name, lengths):
    cell = CELLS[name]
    _, x, weights, state = problem(cell, n=4, t=5, dtype=torch.float32)
    lengths = None if lengths is None else torch.tensor(lengths)
    out, end = scan_fused(cell, Matrix(), x, weights, state, lengths, None)
    with torch.no_grad():
        torch.testing.assert_close((out, end), scan_fused(cell, Matrix(), x, weights, state, lengths, None))
    got = torch.autograd.grad(sum(member.sum() for member in end), [x, weights.recurrent_kernel])
    _, end = scan_reference(cell, Matrix(), x, weights, state, lengths, None)
    exact = torch.autograd.grad(sum(member.sum() for member in end), [x, weights.recurrent_kernel])
    torch.testing.assert_close(got, exact, rtol=1e-4, atol=1e-5)


def test_threads_divide_clips_alike():
    results = []
    threads = torch.get_num_threads()
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            _, x, weights, state = problem(cells.GRU, n=7, t=4, h=50, dtype=torch.float32)
            results.append(outputs_and_gradients(scan_fused, cells.GRU, Matrix(), x, weights, state, None))
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(results[0], results[2], rtol=1e-5, atol=1e-5)
