"""The fast path against the plain loop, in float64, for outputs, end states and every gradient."""

from dataclasses import replace

import pytest
import torch

from unreel.errors import ConfigError
from unreel.ops import cells, gates
from unreel.ops.fused import scan_fused
from unreel.ops.products import Matrix
from unreel.ops.scan import choose, scan, scan_reference
from unreel.ops.vendor import scan_vendor
from unreel.ops.weights import Weights

from recurrences import CELLS, PRODUCTS, leaves, outputs_and_gradients, problem  # isort: skip


def agree(cell, product, with_state=True, lengths=None, runs=(scan_fused, scan_reference), dropped=None, **options):
    product, x, weights, state = problem(cell, product, **options)
    lengths = None if lengths is None else torch.tensor(lengths)
    start = state if with_state else None
    a, b = (outputs_and_gradients(run, cell, product, x, weights, start, lengths, dropped) for run in runs)
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("product", PRODUCTS)
def test_fast_agrees_with_reference(name, product):
    agree(CELLS[name], product)


@pytest.mark.parametrize("name", ["rnn_tanh", "lstm", "gru"])
@pytest.mark.parametrize("product", ["matrix", "conv2d"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize(
    ("n", "t", "lengths"), [(3, 4, None), (3, 4, (2, 4, 1)), (1, 1, None), (2, 1, (1, 1)), (2, 5, (3, 3)), (1, 3, None)]
)
def test_fast_agrees_with_reference_for_lengths_and_states(name, product, bias, with_state, n, t, lengths):
    agree(CELLS[name], product, with_state, lengths, n=n, t=t, bias=bias)


@pytest.mark.parametrize("product", ["matrix", "conv2d"])
@pytest.mark.parametrize("lengths", [None, (2, 4, 1)])
def test_peepholes_and_recurrent_dropout(product, lengths):
    space = PRODUCTS[product][1]
    dropped = torch.tensor([[0.0, 2.0, 2.0], [2.0, 0.0, 2.0], [2.0, 2.0, 2.0]], dtype=torch.float64)
    dropped = dropped.reshape(3, *(1,) * len(space), 3)
    agree(cells.LSTM, product, True, lengths, dropped=dropped, peephole=True)
    agree(cells.GRU, product, True, lengths, dropped=dropped)


@pytest.mark.parametrize("name", ["rnn_tanh", "rnn_relu", "lstm", "gru"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("lengths", [None, (2, 4, 1)])
def test_vendor_agrees_with_reference(name, bias, lengths):
    for with_state in (True, False):
        agree(CELLS[name], "matrix", with_state, lengths, (scan_vendor, scan_reference), bias=bias)


@pytest.mark.parametrize("frozen", ["x", "weights", "state"])
@pytest.mark.parametrize("product", ["matrix", "conv2d"])
def test_gradients_of_some_are_those_of_all(frozen, product):
    cell = cells.LSTM
    product, x, weights, state = problem(cell, product)
    every = {"x": [x], "weights": leaves(weights), "state": list(state)}
    out, _ = scan_fused(cell, product, x, weights, state, None, None)
    names = [name for name in every if name != frozen]
    expected = torch.autograd.grad(out.sin().sum(), [tensor for name in names for tensor in every[name]])
    if frozen == "x":
        x = x.detach()
    elif frozen == "state":
        state = tuple(member.detach() for member in state)
    else:
        weights = Weights(*(None if w is None else w.detach() for w in vars(weights).values()))
    out, _ = scan_fused(cell, product, x, weights, state, None, None)
    given = {"x": [x], "weights": leaves(weights), "state": list(state)}
    got = torch.autograd.grad(out.sin().sum(), [tensor for name in names for tensor in given[name]])
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("impl", ["fast", "reference"])
@pytest.mark.parametrize("product", ["matrix", "conv2d"])
def test_padding_is_not_read(name, impl, product):
    cell = CELLS[name]
    product, x, weights, state = problem(cell, product, 2, 3)
    lengths = torch.tensor([1, 3])
    other = x.detach().clone()
    other[0, 1:] = float("nan")

    def run(cell, product, x, weights, state, lengths, dropped):
        return scan(cell, x, weights, state, lengths, impl, product)

    a, b = (
        outputs_and_gradients(run, cell, product, frames.requires_grad_(), weights, state, lengths)
        for frames in (x.detach().contiguous(), other)
    )
    torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert (a[0][0][0, 1:] == 0).all()
    assert (a[1][0][0, 1:] == 0).all()


@pytest.mark.parametrize("name", ["rnn_tanh", "lstm", "gru"])
@pytest.mark.parametrize("product", ["matrix", "conv1d"])
@pytest.mark.parametrize("run", [scan_fused, scan_reference])
@pytest.mark.parametrize("lengths", [None, (1, 3)])
def test_gradients_by_finite_differences(name, product, run, lengths):
    cell = CELLS[name]
    product, x, weights, state = problem(cell, product, 2, 3, d=2, h=2)
    lengths = None if lengths is None else torch.tensor(lengths)

    def of(x, kernel, recurrent_kernel, bias, *rest):
        split = len(rest) - cell.states
        given = Weights(kernel, recurrent_kernel, bias, rest[0] if split else None)
        out, end = run(cell, product, x, given, rest[split:], lengths, None)
        return out, *end

    assert torch.autograd.gradcheck(of, [x, *leaves(weights), *state])


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("hidden", [3, 16, 37])
def test_float32_gates_in_c_agree_with_float64(name, hidden):
    assert gates.compiled is not None, "the C gates were not built: a C compiler is needed"
    cell = CELLS[name]
    # stride and dilation: step by step, not all steps in one call
    product, x, weights, state = problem(cell, "conv2d_valid", 2, 6, h=hidden)
    # small enough weights, so that rounding does not grow from step to step
    small = weights.recurrent_kernel.detach() / hidden**0.5
    weights = replace(weights, recurrent_kernel=small.requires_grad_())
    exact = outputs_and_gradients(scan_reference, cell, product, x, weights, state, None)

    def single(tensor):
        return None if tensor is None else tensor.detach().float().requires_grad_()

    weights = Weights(*(single(w) for w in vars(weights).values()))
    given = (cell, product, single(x), weights, tuple(single(member) for member in state), None)
    errors = []
    for run in (scan_fused, scan_reference):
        got = outputs_and_gradients(run, *given)
        errors.append(
            torch.tensor(
                [
                    ((a - b).norm() / b.norm()).item()
                    for a, b in zip([*got[0], *got[1]], [*exact[0], *exact[1]], strict=True)
                ]
            )
        )
    assert (errors[0] <= 2 * errors[1] + 5e-7).all(), errors


def test_a_backward_may_be_run_twice():
    product, x, weights, state = problem(cells.LSTM, "conv2d", dtype=torch.float32)
    out, _ = scan_fused(cells.LSTM, product, x, weights, state, None, None)
    first = torch.autograd.grad(out.sin().sum(), leaves(weights), retain_graph=True)
    second = torch.autograd.grad(out.sin().sum(), leaves(weights))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("product", ["matrix", "conv2d"])
def test_a_second_derivative_raises_in_the_fast_path_and_exists_in_the_reference(product):
    product, x, weights, state = problem(cells.LSTM, product)
    out, _ = scan_fused(cells.LSTM, product, x, weights, state, None, None)
    with pytest.raises(RuntimeError, match="impl='reference'"):
        torch.autograd.grad(out.sin().sum(), [x], create_graph=True)
    out, _ = scan_reference(cells.LSTM, product, x, weights, state, None, None)
    (first,) = torch.autograd.grad(out.sin().sum(), [x], create_graph=True)
    torch.autograd.grad(first.pow(2).sum(), leaves(weights))


@pytest.mark.parametrize("name", ["rnn_tanh", "lstm", "gru"])
@pytest.mark.parametrize("product", ["matrix", "conv2d"])
@pytest.mark.parametrize("lengths", [None, (2, 4)])
def test_autocast_of_fast_is_no_worse_than_twice_the_error_of_reference(name, product, lengths):
    cell = CELLS[name]
    product, x, weights, state = problem(cell, product, 2, 4, d=16, h=16, dtype=torch.float32)
    lengths = None if lengths is None else torch.tensor(lengths)
    exact = outputs_and_gradients(scan_reference, cell, product, x, weights, state, lengths)
    errors = []
    for run in (scan_fused, scan_reference):
        with torch.autocast("cpu", torch.bfloat16):
            got = outputs_and_gradients(run, cell, product, x, weights, state, lengths)
        errors.append(
            torch.tensor(
                [
                    ((a.float() - b).norm() / b.norm()).item()
                    for a, b in zip([*got[0], *got[1]], [*exact[0], *exact[1]], strict=True)
                ]
            )
        )
    assert (errors[0] <= 2 * errors[1]).all(), errors


def test_without_a_gradient_nothing_is_kept_and_the_numbers_are_the_same():
    product, x, weights, state = problem(cells.LSTM, "conv2d", dtype=torch.float32)
    with_grad = scan_fused(cells.LSTM, product, x, weights, state, None, None)
    with torch.no_grad():
        without = scan_fused(cells.LSTM, product, x, weights, state, None, None)
    torch.testing.assert_close(with_grad, without, rtol=0, atol=0)


def test_choice_of_implementation_is_made_in_one_place():
    def chosen(impl, device="cpu", cell=cells.LSTM, product=None, gains=None):
        product = product or Matrix()
        weights = Weights(torch.zeros(2, 8), torch.zeros(2, 8), gains=gains)
        return choose(impl, cell, product, weights, None, torch.device(device))

    convolution = PRODUCTS["conv2d"][0]
    assert chosen("auto") is scan_fused
    assert chosen("fast", product=convolution) is scan_fused
    assert chosen("reference") is scan_reference
    assert chosen("auto", "meta") is scan_reference
    assert chosen("auto", "cuda") is scan_vendor
    assert chosen("auto", "cuda", product=convolution) is scan_fused
    assert chosen("auto", gains=torch.ones(2, 8)) is scan_reference
    with pytest.raises(ConfigError, match="impl='fast' does not exist for a recurrence that runs on 'meta'"):
        chosen("fast", "meta")
    with pytest.raises(ConfigError, match="that resets before the product"):
        chosen("fast", cell=cells.gru(reset_after=False))
    with pytest.raises(ConfigError, match="that normalises inside the cell"):
        chosen("fast", gains=torch.ones(2, 8))
    with pytest.raises(ConfigError, match="impl must be one of"):
        chosen("quick")
