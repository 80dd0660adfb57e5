"""The fast path on tensors that say they are on a GPU and hold nothing: a tensor made elsewhere is noticed.

No kernel runs, so no GPU is needed; what is launched is noted down. What the kernels compute is tested in
`test_gates_triton.py` and `test_gpu.py`, and the arithmetic of this path in `test_scan.py`.
"""

import importlib.util

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from unreel.nn import ConvGRU1d, ConvLSTM2d
from unreel.ops import cells
from unreel.ops.fused import Setting, run_backward, run_forward
from unreel.ops.gates import Biases
from unreel.ops.products import Convolution, Matrix

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("triton") is None,
        reason="needs triton, which comes with PyTorch's CUDA builds for Linux",
    ),
    pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda', but CUDA is not available"),
]
CELLS = {"rnn_tanh": cells.RNN_TANH, "lstm": cells.LSTM, "gru": cells.GRU}
PRODUCTS = {
    "matrix": (Matrix(), (), ()),
    "conv1d": (Convolution(1, (2,), "same", (1,)), (7,), (3,)),
    "conv2d_even": (Convolution(2, (1, 1), "valid", (1, 2)), (8, 7), (2, 4)),
    "conv3d": (Convolution(3, (1, 1, 1), "same", (1, 1, 1)), (3, 4, 2), (3, 3, 1)),
}
PRECISIONS = {  # of the tensors, and of the products where autocast wants another
    "float32": (torch.float32, None),
    "float64": (torch.float64, None),
    "autocast": (torch.float32, torch.bfloat16),
}
N, T, D, H = 3, 3, 2, 5


class Watch(TorchDispatchMode):
    """Notes operations that read or write memory outside the GPU."""

    def __init__(self):
        super().__init__()
        self.strays = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        moves = func._schema.name not in ("aten::lift_fresh", "prim::device")
        if moves and any(tensor.device.type != "cuda" for tensor in tensors):
            self.strays.append(func._schema.name)
        return result


@pytest.fixture
def launched(monkeypatch):
    """Names of the kernels that would have run."""
    from unreel.ops.gates_triton import TritonGates

    names = []

    def note(self, kernel, *tensors):
        for tensor in tensors:
            assert tensor is None or (tensor.is_cuda and tensor.is_contiguous()), kernel.__name__
        names.append(kernel.__name__)

    monkeypatch.setattr(TritonGates, "_launch", note)
    return names


def scan_on_a_gpu(cell, product, precision, ends, peephole, dropped):
    """All tensors that go into a forward and a backward, and all that come out."""
    product, space, sizes = PRODUCTS[product]
    dtype, compute = PRECISIONS[precision]
    g = len(cell.gates) * H

    def given(*shape):
        return torch.empty(shape, dtype=dtype, device="cuda")

    kernel, recurrent = (given(g, D, *sizes), given(g, H, *sizes)) if space else (given(D, g), given(H, g))
    biases = Biases(given(g), given(H) if cell.recurrent_bias else None, given(3, H) if peephole else None)
    x = given(N, D, *space, T).movedim((1, -1), (-1, 1))
    start = tuple(given(N, *product.space(space, kernel), H, 2)[..., 0] for _ in range(cell.states))
    mask = given(N, *(1,) * len(space), H) if dropped else None
    inputs = [x, kernel, recurrent, *biases, mask, *start]
    setting = Setting(cell, product, ends, compute, True, True)
    out, end, series, kept = run_forward(setting, x, kernel, recurrent, biases, mask, start)
    needs = tuple(tensor is not None and tensor is not mask for tensor in inputs)
    gradients = run_backward(
        setting,
        x,
        kernel,
        recurrent,
        biases,
        mask,
        start,
        kept,
        series,
        torch.empty_like(out),
        tuple(torch.empty_like(member) for member in end),
        needs,
    )
    return inputs, [out, *end], list(gradients)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("plain", [True, False])
def test_nothing_leaves_the_gpu(name, product, precision, plain, launched):
    cell, watch = CELLS[name], Watch()
    ends, peephole, dropped = (None, False, False) if plain else ((2, 3, 1), name == "lstm", True)
    with FakeTensorMode(), torch.no_grad(), watch:
        inputs, results, gradients = scan_on_a_gpu(cell, product, precision, ends, peephole, dropped)
    # which clips end where is told the device once in the forward and once in the backward, before the first step
    assert watch.strays == ([] if ends is None else ["aten::_to_copy"] * 2)
    for result in results:
        assert result.is_cuda
    for tensor, gradient in zip(inputs, gradients, strict=True):
        assert gradient is None or (gradient.is_cuda and gradient.shape == tensor.shape)
    by_triton = precision != "float64" and not peephole
    kind = cell.kind
    assert launched == ([f"{kind}_forward"] * T + [f"{kind}_backward"] * T if by_triton else [])


@pytest.mark.parametrize("layer", [ConvLSTM2d(3, 4, 3, 2, bidirectional=True), ConvGRU1d(3, 4, 3)])
def test_layers_stay_on_the_gpu(layer, launched):
    space = (6, 5)[: layer.rank]
    mode, watch = FakeTensorMode(), Watch()
    with mode:
        weights = {name: torch.empty(p.shape, device="cuda") for name, p in layer.named_parameters()}
    with mode, torch.no_grad(), watch:
        out, end = torch.func.functional_call(layer, weights, (torch.empty(2, 5, 3, *space, device="cuda"),))
    assert out.is_cuda
    assert all(member.is_cuda for member in end)
    assert watch.strays == []
