"""The recurrence over vectors on PyTorch's own fused kernels: cuDNN where that is.

What this file is not: it knows no convolution, and only the cells that those kernels have.

Shape letters: N clips, T frames, D features in, H hidden features, G gates of the cell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from unreel.ops import cells, valid
from unreel.ops.cells import Cell, State
from unreel.ops.precision import cast, under_autocast
from unreel.ops.products import Matrix, Product
from unreel.ops.weights import Weights

KERNELS: dict[Cell, Callable[..., tuple[Tensor, ...]]] = {
    cells.RNN_TANH: torch.rnn_tanh,
    cells.RNN_RELU: torch.rnn_relu,
    cells.LSTM: torch.lstm,
    cells.GRU: torch.gru,
}
_FAR = 1e4  # a number that float16 holds, and at which a sigmoid is 1 to the last bit


def fits_vendor(cell: Cell, product: Product, weights: Weights, dropped: Tensor | None) -> bool:
    """Whether these kernels have such a recurrence."""
    plain = weights.peephole is None and weights.gains is None and dropped is None
    return plain and isinstance(product, Matrix) and cell in KERNELS


def scan_vendor(
    cell: Cell,
    product: Product,
    x: Tensor,
    weights: Weights,
    state: State | None,
    lengths: Tensor | None,
    dropped: Tensor | None,
) -> tuple[Tensor, State]:
    """As `ops.scan.scan_reference`, for what `fits_vendor` lets through.

    Under autocast all is in its dtype and comes back in float32, as from the other implementations.
    """
    compute = under_autocast(x, weights.kernel)
    dtype = x.dtype if compute is None else torch.float32
    with torch.autocast(x.device.type, enabled=False):
        state = state or (x.new_zeros(len(x), len(weights.recurrent_kernel)),) * cell.states
        if lengths is not None and cell == cells.LSTM:
            x, weights = _hold_cell_in_padding(x, weights, lengths)
        parameters = _torch_parameters(cell, weights, x, compute)
        start = [cast(member, compute).unsqueeze(0) for member in state]
        out, *end = KERNELS[cell](
            cast(x, compute),
            start if cell.states > 1 else start[0],
            parameters,
            len(parameters) == 4,  # has biases
            1,  # layers
            0.0,  # dropout
            torch.is_grad_enabled(),  # training: whether to keep what the backward needs
            False,  # bidirectional
            True,  # batch first
        )
    out, *end = out.to(dtype), *(member[0].to(dtype) for member in end)
    if lengths is None:
        return out, tuple(end)
    return valid.zero_padding(out, lengths), (valid.last(out, lengths), *end[1:])


def _hold_cell_in_padding(x: Tensor, weights: Weights, lengths: Tensor) -> tuple[Tensor, Weights]:
    """Make the c after T frames the c after the last valid one, which is the only c that the kernel returns.

    One more feature, 1 in the padding and 0 before it, opens the forget gate and shuts the input gate: far out on the
    sigmoid these are exactly 1 and 0, and so are their derivatives 0. This spares packing, and is several times
    faster than it; h needs no such help, because the kernel returns it for every frame.
    """
    hidden = len(weights.recurrent_kernel)
    row = weights.kernel.new_zeros(1, weights.kernel.shape[1])
    row[:, cells.LSTM.part("forget", hidden)] = _FAR
    row[:, cells.LSTM.part("enter", hidden)] = -_FAR
    padding = ~valid.mask(lengths, x.shape[1]).unsqueeze(-1)
    held = replace(weights, kernel=torch.cat([weights.kernel, row]))
    return torch.cat([x, padding.to(x.dtype)], -1), held


def _torch_parameters(cell: Cell, weights: Weights, x: Tensor, compute: torch.dtype | None) -> list[Tensor]:
    """The weights as torch.nn.LSTM and its kin name them: w_ih (G·H, D), w_hh (G·H, H), b_ih, b_hh (G·H,)."""
    parameters = [weights.kernel.t(), weights.recurrent_kernel.t()]
    if weights.bias is not None:
        bias = cell.lift(weights.recurrent_bias)
        parameters += [weights.bias, torch.zeros_like(weights.bias) if bias is None else bias]
    parameters = [cast(parameter, compute) for parameter in parameters]
    if x.is_cuda:
        # cuDNN wants all weights in one piece of memory in this order, and warns when it must make it.
        flat = torch.cat([parameter.reshape(-1) for parameter in parameters])
        sizes = [parameter.numel() for parameter in parameters]
        parameters = [
            piece.view(parameter.shape) for piece, parameter in zip(flat.split(sizes), parameters, strict=True)
        ]
    return parameters
