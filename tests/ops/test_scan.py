"""The fast path against the plain loop, in float64, for outputs, states and every gradient."""

import pytest
import torch

from unreel.errors import ConfigError
from unreel.ops import cells
from unreel.ops.scan import Weights, choose, scan, scan_fast, scan_reference

CELLS = {"rnn_tanh": cells.RNN_TANH, "rnn_relu": cells.RNN_RELU, "lstm": cells.LSTM, "gru": cells.GRU}
CPU = torch.device("cpu")


def problem(cell, n=3, t=5, d=4, h=3, bias=True, dtype=torch.float64):
    generator = torch.Generator().manual_seed(n * t + d)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    g = len(cell.gates) * h
    recurrent_bias = draw(h) if bias and cell.recurrent_bias else None
    weights = Weights(draw(d, g), draw(h, g), draw(g) if bias else None, recurrent_bias)
    # Time in the last axis and turned over: the kernels get a tensor that is not contiguous.
    x = draw(n, d, t).transpose(1, 2)
    return x, weights, tuple(draw(n, h) for _ in range(cell.states))


def leaves(weights):
    tensors = (weights.kernel, weights.recurrent_kernel, weights.bias, weights.recurrent_bias)
    return [tensor for tensor in tensors if tensor is not None]


def outputs_and_gradients(cell, x, weights, state, lengths, impl):
    out, end = scan(cell, x, weights, state, lengths, impl)
    results = [out, *end]
    generator = torch.Generator().manual_seed(7)
    cotangents = [torch.randn(r.shape, generator=generator, dtype=r.dtype) for r in results]
    inputs = [x, *leaves(weights), *(state or ())]
    return results, list(torch.autograd.grad(results, inputs, cotangents))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize(
    ("n", "t", "lengths"), [(3, 5, None), (3, 5, (2, 5, 1)), (1, 1, None), (2, 1, (1, 1)), (2, 7, (3, 4))]
)
def test_fast_agrees_with_reference(name, bias, with_state, n, t, lengths):
    cell = CELLS[name]
    x, weights, state = problem(cell, n, t, bias=bias)
    lengths = None if lengths is None else torch.tensor(lengths)
    start = state if with_state else None
    fast = outputs_and_gradients(cell, x, weights, start, lengths, "fast")
    plain = outputs_and_gradients(cell, x, weights, start, lengths, "reference")
    torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("impl", ["fast", "reference"])
def test_padding_is_not_read(name, impl):
    cell = CELLS[name]
    x, weights, state = problem(cell, 2, 3)
    lengths = torch.tensor([1, 3])
    other = x.detach().clone()
    other[0, 1:] = float("nan")
    a, b = (
        outputs_and_gradients(cell, frames.requires_grad_(), weights, state, lengths, impl)
        for frames in (x.detach(), other)
    )
    torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert (a[0][0][0, 1:] == 0).all()
    assert (a[1][0][0, 1:] == 0).all()


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("lengths", [None, (1, 3)])
def test_reference_gradients_by_finite_differences(name, lengths):
    cell = CELLS[name]
    x, weights, state = problem(cell, 2, 3, d=2, h=2)
    lengths = None if lengths is None else torch.tensor(lengths)
    inputs = [x, *leaves(weights), *state]

    def run(x, kernel, recurrent_kernel, bias, *rest):
        split = len(rest) - cell.states
        recurrent_bias = rest[0] if split else None
        given = Weights(kernel, recurrent_kernel, bias, recurrent_bias)
        out, end = scan_reference(cell, x, given, rest[split:], lengths)
        return out, *end

    assert torch.autograd.gradcheck(run, inputs)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lengths", [None, (2, 4)])
def test_second_derivative_of_fast_on_cpu_agrees_with_reference(name, dtype, lengths):
    cell = CELLS[name]
    x, weights, state = problem(cell, 2, 4, dtype=dtype)
    lengths = None if lengths is None else torch.tensor(lengths)
    second = []
    for run in (scan_fast, scan_reference):
        out, end = run(cell, x, weights, state, lengths)
        first = torch.autograd.grad(out.sin().sum() + end[-1].sum(), [x, weights.kernel], create_graph=True)
        inputs = [x, *leaves(weights)]
        second.append(torch.autograd.grad(sum(g.pow(2).sum() for g in first), inputs))
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(second[0], second[1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("lengths", [None, (2, 4)])
def test_autocast_of_fast_is_no_worse_than_twice_the_error_of_reference(name, lengths):
    cell = CELLS[name]
    x, weights, state = problem(cell, 2, 4, d=16, h=16, dtype=torch.float32)
    lengths = None if lengths is None else torch.tensor(lengths)
    exact, _ = scan_reference(cell, x, weights, state, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        errors = [
            (run(cell, x, weights, state, lengths)[0].float() - exact).norm() for run in (scan_fast, scan_reference)
        ]
    assert errors[0] <= 2 * errors[1]


def test_choice_of_implementation_is_made_in_one_place():
    assert choose("auto", CPU) is scan_fast
    assert choose("reference", CPU) is scan_reference
    assert choose("fast", CPU) is scan_fast
    assert choose("auto", torch.device("meta")) is scan_reference
    with pytest.raises(ConfigError, match="impl='fast' needs a device among cpu, cuda, got 'meta'"):
        choose("fast", torch.device("meta"))
    with pytest.raises(ConfigError, match="impl must be"):
        choose("quick", CPU)  # pyright: ignore[reportArgumentType]
