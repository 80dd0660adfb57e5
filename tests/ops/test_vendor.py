"""PyTorch's own kernels for vectors under autocast; in full precision they are tested in `test_scan.py`."""

import pytest
import torch

from unreel.ops import cells
from unreel.ops.products import Matrix
from unreel.ops.scan import scan_reference
from unreel.ops.vendor import scan_vendor
from unreel.ops.weights import Weights

N, T, D, H = 4, 9, 16, 24


@pytest.mark.parametrize("lengths", [None, (9, 1, 4, 8)])
@pytest.mark.parametrize(
    ("cell", "plain"), [(cells.RNN_TANH, torch.nn.RNN), (cells.LSTM, torch.nn.LSTM), (cells.GRU, torch.nn.GRU)]
)
def test_under_autocast_it_is_no_worse_than_twice_the_layer_in_that_dtype(cell, plain, lengths):
    torch.manual_seed(0)
    layer = plain(D, H, batch_first=True)
    with torch.no_grad():
        layer.bias_hh_l0[: -H if cell.recurrent_bias else None] = 0  # of the gates that need but one bias
    x = torch.randn(N, T, D)
    lengths = None if lengths is None else torch.tensor(lengths)
    recurrent_bias = layer.bias_hh_l0[-H:] if cell.recurrent_bias else None
    weights = Weights(layer.weight_ih_l0.t(), layer.weight_hh_l0.t(), layer.bias_ih_l0, recurrent_bias)
    if not cell.recurrent_bias:
        assert not layer.bias_hh_l0.any()

    def gradients(run, x, dtype):
        leaf = x.to(dtype).requires_grad_()
        out = run(leaf)
        return out, torch.autograd.grad(out.double().sin().sum(), leaf)[0]

    def exact(x):
        double = Weights(*(None if w is None else w.double() for w in vars(weights).values()))
        return scan_reference(cell, Matrix(), x, double, None, lengths, None)[0]

    def ours(x):
        with torch.autocast("cpu", torch.bfloat16):
            out, end = scan_vendor(cell, Matrix(), x, weights, None, lengths, None)
        assert {tensor.dtype for tensor in (out, *end)} == {torch.float32}
        return out

    def theirs(x):
        out = layer.bfloat16()(x)[0]
        return out if lengths is None else out * (torch.arange(T) < lengths[:, None]).unsqueeze(-1)

    right = gradients(exact, x, torch.float64)
    got = gradients(ours, x, torch.float32)
    plainly = gradients(theirs, x, torch.bfloat16)

    def errors(found):
        return torch.stack([(a.double() - b).norm() / b.norm() for a, b in zip(found, right, strict=True)])

    assert (errors(got) <= 2 * errors(plainly)).all(), (errors(got), errors(plainly))
