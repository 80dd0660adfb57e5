"""The fast path as operators of the torch library: its numbers, and what they promise to a compiler."""

import pytest
import torch

from unreel.ops import cells
from unreel.ops.fused import scan_fused
from unreel.ops.opaque import read_cell, read_product, scan_opaque, spell_cell, spell_product
from unreel.ops.products import Matrix

from recurrences import CELLS, PRODUCTS, leaves, outputs_and_gradients, problem  # isort: skip


def test_cells_and_products_come_back_from_their_spelling():
    for cell in CELLS.values():
        assert read_cell(spell_cell(cell)) == cell
    for product, _, _ in PRODUCTS.values():
        assert read_product(spell_product(product)) == product


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize(("with_state", "lengths"), [(True, None), (False, (2, 4, 1))])
def test_operators_give_the_numbers_of_the_fast_path(name, product, with_state, lengths):
    product, x, weights, state = problem(CELLS[name], product)
    given = (x, weights, state if with_state else None, None if lengths is None else torch.tensor(lengths))
    ours, theirs = (outputs_and_gradients(run, CELLS[name], product, *given) for run in (scan_opaque, scan_fused))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_what_is_there_and_what_is_not_does_not_get_mixed_up(bias):
    dropped = torch.tensor([0.0, 2.0, 2.0], dtype=torch.float64)
    for cell, peephole in ((cells.LSTM, True), (cells.GRU, False)):
        product, x, weights, state = problem(cell, "matrix", bias=bias, peephole=peephole)
        given = (cell, product, x, weights, state, None, dropped)
        ours, theirs = (outputs_and_gradients(run, *given) for run in (scan_opaque, scan_fused))
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("frozen", ["x", "weights", "state"])
def test_gradients_of_some_are_those_of_all(frozen):
    product, x, weights, state = problem(cells.LSTM, "conv2d")
    every = {"x": [x], "weights": leaves(weights), "state": list(state)}
    wanted = [tensor for name, tensors in every.items() if name != frozen for tensor in tensors]
    out, _ = scan_fused(cells.LSTM, product, x, weights, state, None, None)
    expected = torch.autograd.grad(out.sin().sum(), wanted)
    if frozen == "weights":
        for weight in leaves(weights):
            weight.requires_grad_(False)
    state = tuple(member.detach() for member in state) if frozen == "state" else state
    x = x.detach() if frozen == "x" else x
    out, _ = scan_opaque(cells.LSTM, product, x, weights, state, None, None)
    torch.testing.assert_close(torch.autograd.grad(out.sin().sum(), wanted), expected)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch hides it, but not here
@pytest.mark.parametrize(
    ("name", "product", "lengths", "compute"),
    [
        ("lstm", "conv2d_valid", None, None),
        ("gru", "matrix", (2, 4, 1), None),
        ("lstm", "matrix", None, torch.bfloat16),
    ],
)
def test_operators_keep_the_promises_of_their_shapes(name, product, lengths, compute):
    """torch's own check: no input is changed or shared, shapes and strides are foreseen, for any size."""
    product, x, weights, state = problem(CELLS[name], product, dtype=torch.float32)
    lengths = None if lengths is None else torch.tensor(lengths)
    tensors = [tensor.detach() for tensor in (x, *leaves(weights), *state)]
    present = [True, True, True, True, weights.recurrent_bias is not None, False, False, True, name == "lstm"]
    spelled = (spell_cell(CELLS[name]), spell_product(product), compute)
    for keep in (True, False):
        torch.library.opcheck(
            torch.ops.unreel.scan_forward.default,
            ([tensor.clone().requires_grad_(keep) for tensor in tensors], present, lengths, *spelled, keep),
        )
    h, c, h_end, c_end, kept = torch.ops.unreel.scan_forward(tensors, present, lengths, *spelled, True)
    cotangents = [torch.randn_like(h), torch.randn_like(h_end), torch.randn_like(c_end) if name == "lstm" else None]
    for first, wants_x in ((cotangents[0], True), (None, False)):
        needs = [wants_x] + [True] * (len(tensors) - 1)
        torch.library.opcheck(
            torch.ops.unreel.scan_backward.default,
            (tensors, present, lengths, [h, c], kept, [first, *cotangents[1:]], *spelled, needs),
        )


@pytest.mark.parametrize("product", ["matrix", "conv2d"])
def test_autocast_is_that_of_the_fast_path(product):
    product, x, weights, state = problem(cells.LSTM, product, d=16, h=16, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = (
            outputs_and_gradients(run, cells.LSTM, product, x, weights, state, None)
            for run in (scan_opaque, scan_fused)
        )
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_a_second_derivative_raises():
    x, weights = torch.randn(2, 3, 2, requires_grad=True), problem(cells.LSTM, dtype=torch.float32)[2]
    out, _ = scan_opaque(cells.LSTM, Matrix(), x, weights, None, None, None)
    with pytest.raises(RuntimeError, match="impl='reference'"):
        torch.autograd.grad(out.sin().sum(), [x], create_graph=True)


def test_without_a_gradient_nothing_is_kept():
    product, x, weights, _ = problem(cells.LSTM, "conv2d")
    tensors, present = [x, *leaves(weights)], [True] * 4 + [False] * 5
    spelled = (spell_cell(cells.LSTM), spell_product(product), None)
    with torch.no_grad():
        h, c, *_, kept = torch.ops.unreel.scan_forward(tensors, present, None, *spelled, False)
        whole, _ = scan_fused(cells.LSTM, product, x, weights, None, None, None)
    assert c.numel() == kept.numel() == 0
    torch.testing.assert_close(h.transpose(0, 1), whole, rtol=0, atol=0)
