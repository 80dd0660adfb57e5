"""Whole convolutional recurrences in C, in float32, against the plain loop in float64: outputs and every gradient."""

import dataclasses

import pytest
import torch

from unreel.ops import cells, gates, image_series
from unreel.ops.fused import scan_fused
from unreel.ops.gates import Biases
from unreel.ops.products import Convolution
from unreel.ops.scan import scan_reference
from unreel.ops.weights import Weights

from recurrences import CELLS, outputs_and_gradients  # isort: skip


def image_problem(cell, product, space, kernel, n=2, t=3, d=3, h=5, bias=True, with_state=True):
    generator = torch.Generator().manual_seed(n * t + d)

    def draw(*shape, scale=1.0):
        return (scale * torch.randn(*shape, generator=generator)).requires_grad_()

    g = len(cell.gates) * h
    many = torch.tensor(kernel).prod().item()
    weights = Weights(
        draw(g, d, *kernel, scale=0.5),
        draw(g, h, *kernel, scale=(h * many) ** -0.5),
        draw(g) if bias else None,
        draw(h) if bias and cell.recurrent_bias else None,
    )
    x = draw(n, d, *space, t).movedim((1, -1), (-1, 1))
    shape = (n, *product.space(space, weights.kernel), h)
    state = tuple(draw(*shape) for _ in range(cell.states)) if with_state else None
    return x, weights, state


def double(tensor):
    return None if tensor is None else tensor.detach().double().requires_grad_()


def agree(cell, product, space, kernel, lengths=None, **sizes):
    x, weights, state = image_problem(cell, product, space, kernel, **sizes)
    assert gates.compiled is not None, "the C part was not built: a C compiler is needed"
    like = torch.zeros(1, *product.space(space, weights.kernel), weights.recurrent_kernel.shape[1])
    biases = Biases(weights.bias, weights.recurrent_bias, None)
    assert image_series.serves(cell, product, biases, weights.kernel, weights.recurrent_kernel, like)
    lengths = None if lengths is None else torch.tensor(lengths)
    got = outputs_and_gradients(scan_fused, cell, product, x, weights, state, lengths)
    plain = outputs_and_gradients(scan_reference, cell, product, x, weights, state, lengths)
    exact_weights = Weights(*(double(getattr(weights, item.name)) for item in dataclasses.fields(Weights)))
    exact_state = None if state is None else tuple(map(double, state))
    exact = outputs_and_gradients(scan_reference, cell, product, double(x), exact_weights, exact_state, lengths)
    ours, theirs, right = ([*outputs, *gradients] for outputs, gradients in (got, plain, exact))
    for a, b, c in zip(ours, theirs, right, strict=True):
        assert a.shape == c.shape
        assert (a - c).norm() <= 2 * (b - c).norm() + 1e-6 * c.norm() + 1e-6


SAME = Convolution(2, (1, 1), "same", (1, 1))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("hidden", [1, 5, 8, 20])
def test_agrees_with_float64(name, hidden):
    agree(CELLS[name], SAME, (7, 9), (3, 3), h=hidden)


@pytest.mark.parametrize("name", ["rnn_tanh", "lstm", "gru"])
@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize(
    ("rank", "padding", "space", "kernel"),
    [
        (1, "same", (11,), (3,)),
        (1, "valid", (11,), (4,)),
        (1, (2,), (5,), (3,)),
        (2, "same", (6, 5), (2, 4)),
        (2, "same", (1, 1), (3, 3)),
        (2, "valid", (9, 8), (3, 5)),
        (2, (0, 3), (6, 5), (3, 3)),
        (2, "same", (3, 4), (5, 7)),
        (2, "same", (2, 3), (1, 1)),
    ],
)
def test_any_padding_and_kernel(name, with_state, rank, padding, space, kernel):
    product = Convolution(rank, (1,) * rank, padding, (1,) * rank)
    agree(CELLS[name], product, space, kernel, with_state=with_state)


@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize(
    "sizes",
    [
        {"n": 1, "t": 1},
        {"n": 3, "t": 2, "d": 1, "h": 33},
        {"n": 1, "t": 2, "d": 17, "h": 40, "bias": False},
    ],
)
def test_any_size(name, sizes):
    agree(CELLS[name], SAME, (13, 10), (3, 3), **sizes)


def test_rows_longer_than_a_band():
    agree(cells.LSTM, SAME, (3, 700), (3, 3), n=1, t=2, h=26)


@pytest.mark.parametrize("name", ["rnn_tanh", "lstm", "gru"])
@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize("lengths", [(3, 1, 4), (2, 2, 2)])
def test_clips_of_their_own_length(name, with_state, lengths):
    agree(CELLS[name], SAME, (6, 5), (3, 3), lengths=lengths, n=3, t=4, with_state=with_state)


@pytest.mark.parametrize("name", ["rnn_tanh", "lstm", "gru"])
@pytest.mark.parametrize("lengths", [None, (3, 1)])
def test_without_gradients_and_with_the_end_state_alone(name, lengths):
    cell = CELLS[name]
    x, weights, state = image_problem(cell, SAME, (6, 5), (3, 3))
    lengths = None if lengths is None else torch.tensor(lengths)
    out, end = scan_fused(cell, SAME, x, weights, state, lengths, None)
    with torch.no_grad():
        torch.testing.assert_close((out, end), scan_fused(cell, SAME, x, weights, state, lengths, None))
    got = torch.autograd.grad(sum(member.sum() for member in end), [x, weights.recurrent_kernel])
    _, end = scan_reference(cell, SAME, x, weights, state, lengths, None)
    exact = torch.autograd.grad(sum(member.sum() for member in end), [x, weights.recurrent_kernel])
    torch.testing.assert_close(got, exact, rtol=1e-4, atol=1e-5)
