"""The recurrences on a GPU against float64 on the CPU. No machine of the tests has one: run these where there is.

python -m pytest tests/ops/test_gpu.py tests/ops/test_gates_triton.py
"""

import pytest
import torch

from unreel.nn import ConvLSTM2d
from unreel.ops import cells
from unreel.ops.fused import scan_fused
from unreel.ops.products import Convolution, Matrix
from unreel.ops.scan import choose, scan, scan_reference
from unreel.ops.vendor import scan_vendor
from unreel.ops.weights import Weights

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and triton"),
]
CELLS = {  # with smooth gates: near a jump of a slope one rounding is worth a whole gradient
    "rnn_tanh": cells.RNN_TANH,
    "lstm": cells.LSTM,
    "lstm_peephole": cells.LSTM,
    "gru": cells.GRU,
}
PRODUCTS = {
    "matrix": (Matrix(), (), ()),
    "conv1d": (Convolution(1, (2,), "same", (1,)), (33,), (5,)),
    "conv2d": (Convolution(2, (1, 1), "same", (1, 1)), (9, 14), (3, 3)),
    "conv2d_even": (Convolution(2, (1, 1), "valid", (1, 2)), (9, 14), (2, 4)),
    "conv3d": (Convolution(3, (1, 1, 1), "same", (1, 1, 1)), (5, 6, 7), (3, 3, 3)),
}
PRECISIONS = {  # of the tensors, and of autocast
    "float32": (torch.float32, None),
    "bfloat16": (torch.bfloat16, None),
    "float16": (torch.float16, None),
    "autocast-bfloat16": (torch.float32, torch.bfloat16),
    "autocast-float16": (torch.float32, torch.float16),
}
N, T, D, H = 3, 5, 16, 24


def problem(name, product):
    """x, the weights and the first state, float64 on the CPU, scaled so that gates stay open."""
    cell, (product, space, sizes) = CELLS[name], PRODUCTS[product]
    generator = torch.Generator().manual_seed(3)
    g = len(cell.gates) * H

    def draw(*shape, scale=1.0):
        return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)

    shapes = ((g, D, *sizes), (g, H, *sizes)) if space else ((D, g), (H, g))
    kernel, recurrent = (draw(*shape, scale=(g / torch.Size(shape).numel()) ** 0.5) for shape in shapes)
    weights = [kernel, recurrent, draw(g), draw(H) if cell.recurrent_bias else None]
    weights.append(draw(3, H, scale=0.3) if name == "lstm_peephole" else None)
    state = [draw(N, *product.space(space, kernel), H) for _ in range(cell.states)]
    return cell, product, draw(N, T, *space, D), weights, state


def everything(run, given, dtype, device, lengths):
    """Outputs, end states and all gradients of `run`, float64 on the CPU."""
    cell, product, *tensors = given
    x, weights, state = (
        [None if t is None else t.to(device, dtype).requires_grad_() for t in group]
        for group in ([tensors[0]], tensors[1], tensors[2])
    )
    lengths = None if lengths is None else torch.tensor(lengths, device=device)
    out, end = run(cell, product, x[0], Weights(*weights), tuple(state), lengths, None)
    results = [out, *end]
    generator = torch.Generator().manual_seed(5)
    cotangents = [torch.randn(r.shape, generator=generator).to(device, r.dtype) for r in results]
    leaves = [leaf for leaf in (*x, *weights, *state) if leaf is not None]
    gradients = torch.autograd.grad(results, leaves, cotangents)
    return [tensor.detach().double().cpu() for tensor in (*results, *gradients)]


def relative(got, exact):
    return torch.stack([(a - b).norm() / b.norm() for a, b in zip(got, exact, strict=True)])


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("lengths", [None, (2, 5, 1)])
def test_error_of_fast_is_at_most_twice_that_of_the_plain_loop(name, product, precision, lengths):
    dtype, compute = PRECISIONS[precision]
    given = problem(name, product)
    exact = everything(scan_reference, given, torch.float64, "cpu", lengths)
    with torch.autocast(DEVICE, compute, enabled=compute is not None):
        fast = everything(scan_fused, given, dtype, DEVICE, lengths)
        plain = everything(scan_reference, given, dtype, DEVICE, lengths)
    fast, plain = relative(fast, exact), relative(plain, exact)
    assert (fast <= 2 * plain + 1e-6).all(), (fast, plain)


@pytest.mark.parametrize("name", ["rnn_tanh", "lstm", "gru"])
@pytest.mark.parametrize("lengths", [None, (2, 5, 1)])
def test_kernels_of_the_vendor_agree_in_double_precision(name, lengths):
    given = problem(name, "matrix")
    cell, product, _, weights, _ = given
    assert choose("fast", cell, product, Weights(*weights), None, torch.device("cuda")) is scan_vendor
    exact = everything(scan_reference, given, torch.float64, "cpu", lengths)
    got = everything(scan_vendor, given, torch.float64, DEVICE, lengths)
    torch.testing.assert_close(got, exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("lengths", [None, (2, 5, 1)])
def test_two_runs_are_equal_to_the_bit(lengths):
    given = problem("lstm", "matrix")
    first, second = (everything(scan_fused, given, torch.float32, DEVICE, lengths) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_no_step_waits_for_the_device():
    cell, product, x, weights, state = problem("lstm", "conv2d")
    x, *weights = (None if t is None else t.to(DEVICE, torch.float32).requires_grad_() for t in (x, *weights))
    state = tuple(member.to(DEVICE, torch.float32) for member in state)
    scan(cell, x, Weights(*weights), state, None, "fast", product)[0].sum().backward()  # kernels are compiled here
    torch.cuda.set_sync_debug_mode("error")
    try:
        scan(cell, x, Weights(*weights), state, None, "fast", product)[0].sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_side_stream_gives_what_the_main_one_gives():
    given = problem("gru", "conv2d")
    main = everything(scan_fused, given, torch.float32, DEVICE, None)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        beside = everything(scan_fused, given, torch.float32, DEVICE, None)
    torch.testing.assert_close(beside, main, rtol=1e-3, atol=1e-4)


def test_a_layer_moves_between_devices():
    torch.manual_seed(0)
    layer = ConvLSTM2d(3, 8, 3, num_layers=2, bidirectional=True)
    x, lengths = torch.randn(2, 4, 3, 10, 12), torch.tensor([4, 2])
    out, end = layer(x, lengths)
    got, got_end = layer.to(DEVICE)(x.to(DEVICE), lengths.to(DEVICE))
    # convolutions of float32 may run in TF32 there
    torch.testing.assert_close([got.cpu(), *(m.cpu() for m in got_end)], [out, *end], rtol=1e-2, atol=1e-2)
