"""Problems for the recurrence engine, and one way to ask any implementation for all that it gives."""

import torch

from unreel.ops import cells
from unreel.ops.products import Convolution, Matrix
from unreel.ops.weights import Weights

CELLS = {
    "rnn_tanh": cells.RNN_TANH,
    "rnn_relu": cells.RNN_RELU,
    "lstm": cells.LSTM,
    "lstm_hard": cells.lstm("relu", "hard_sigmoid"),
    "lstm_keras2": cells.lstm("linear", "hard_sigmoid_keras2"),
    "gru": cells.GRU,
    "gru_hard": cells.gru("sigmoid", "hard_sigmoid"),
}
PRODUCTS = {
    "matrix": (Matrix(), (), ()),
    "conv1d": (Convolution(1, (1,), "same", (1,)), (6,), (3,)),
    "conv1d_stride": (Convolution(1, (2,), "same", (1,)), (7,), (4,)),
    "conv2d": (Convolution(2, (1, 1), "same", (1, 1)), (5, 4), (3, 3)),
    "conv2d_even": (Convolution(2, (1, 1), "same", (1, 1)), (5, 4), (2, 4)),
    "conv2d_valid": (Convolution(2, (2, 1), "valid", (1, 2)), (7, 6), (3, 2)),
    "conv2d_numbers": (Convolution(2, (1, 2), (2, 0), (2, 1)), (5, 6), (3, 3)),
    "conv3d": (Convolution(3, (1, 2, 1), "same", (1, 1, 1)), (3, 4, 2), (3, 3, 1)),
}


def problem(cell, product="matrix", n=3, t=4, d=2, h=3, bias=True, peephole=False, dtype=torch.float64):
    product, space, kernel = PRODUCTS[product]
    generator = torch.Generator().manual_seed(n * t + d)

    def draw(*shape, scale=1.0):
        return (scale * torch.randn(*shape, generator=generator, dtype=dtype)).requires_grad_()

    g = len(cell.gates) * h
    shapes = ((d, g), (h, g)) if not space else ((g, d, *kernel), (g, h, *kernel))
    weights = Weights(
        draw(*shapes[0], scale=0.5),
        draw(*shapes[1], scale=0.5),
        draw(g) if bias else None,
        draw(h) if bias and cell.recurrent_bias else None,
        draw(3, h) if peephole else None,
    )
    # features before space in memory, and time last: the engine gets a tensor that is not contiguous
    x = draw(n, d, *space, t).movedim((1, -1), (-1, 1))
    # one of several layers' states, side by side in memory: not contiguous either
    state = tuple(draw(n, *product.space(space, weights.kernel), h, 2)[..., 0] for _ in range(cell.states))
    return product, x, weights, state


def leaves(weights):
    tensors = (weights.kernel, weights.recurrent_kernel, weights.bias, weights.recurrent_bias, weights.peephole)
    return [tensor for tensor in tensors if tensor is not None]


def outputs_and_gradients(run, cell, product, x, weights, state, lengths, dropped=None):
    out, end = run(cell, product, x, weights, state, lengths, dropped)
    results = [out, *end]
    generator = torch.Generator().manual_seed(7)
    cotangents = [torch.randn(r.shape, generator=generator, dtype=torch.float64).to(r.dtype) for r in results]
    inputs = [x, *leaves(weights), *(state or ())]
    return results, list(torch.autograd.grad(results, inputs, cotangents))
