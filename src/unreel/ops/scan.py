"""The recurrence over time: a plain loop, and the same on PyTorch's fused kernels.

`z_t = x_t·W + b + h_{t-1}·U`, then the cell's gates turn z_t and the state into the next state (`ops/cells.py`).
Weights have this form whatever runs them, so a state dict never depends on the implementation. What this file is not:
it holds no parameter, and knows one layer in one direction only.

Shape letters: N clips, T frames, D features in, H hidden features, G gates of the cell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from unreel.errors import ConfigError
from unreel.ops import cells, valid
from unreel.ops.cells import Cell, State

Impl = Literal["auto", "reference", "fast"]

_KERNELS: dict[Cell, Callable[..., tuple[Tensor, ...]]] = {
    cells.RNN_TANH: torch.rnn_tanh,
    cells.RNN_RELU: torch.rnn_relu,
    cells.LSTM: torch.lstm,
    cells.GRU: torch.gru,
}
_FAST_DEVICES = ("cpu", "cuda")
_FAR = 1e4  # a number that float16 holds, and at which a sigmoid is 1 to the last bit


@dataclass(frozen=True)
class Weights:
    """The weights of one recurrence.

    Args:
        kernel: W (D, G·H).
        recurrent_kernel: U (H, G·H).
        bias: b (G·H,), or None.
        recurrent_bias: (H,) for the one gate that the cell names, or None.
    """

    kernel: Tensor
    recurrent_kernel: Tensor
    bias: Tensor | None = None
    recurrent_bias: Tensor | None = None


def scan(
    cell: Cell,
    x: Tensor,
    weights: Weights,
    state: State | None = None,
    lengths: Tensor | None = None,
    impl: Impl = "auto",
) -> tuple[Tensor, State]:
    """Run a cell over the frames of each clip.

    Args:
        cell: one of `ops.cells`.
        x: (N, T, D), T ≥ 1.
        weights: of the cell.
        state: the state before the first frame, `cell.states` tensors (N, H); None for zeros.
        lengths: (N,) valid frames of each clip; None where all are valid.
        impl: "reference" is the loop below and differentiable to any order. "fast" is PyTorch's fused kernel, on CPU
            and CUDA; a second derivative through cuDNN raises. "auto" takes the fast one where it exists.

    Returns:
        out (N, T, H), zeros in the padding; the state after the last valid frame of each clip, tensors (N, H).

    Raises:
        ConfigError: impl="fast" on a device without a fused kernel.
    """
    if state is None:
        zeros = x.new_zeros(len(x), weights.recurrent_kernel.shape[0])
        state = (zeros,) * cell.states
    if lengths is not None:
        x = valid.zero_padding(x, lengths)
    return choose(impl, x.device)(cell, x, weights, state, lengths)


def choose(impl: Impl, device: torch.device) -> Callable[..., tuple[Tensor, State]]:
    """The implementation that `impl` means on `device`. The one place where that is decided.

    Raises:
        ConfigError: impl="fast" on a device without a fused kernel; an unknown impl.
    """
    if impl == "auto":
        return scan_fast if device.type in _FAST_DEVICES else scan_reference
    if impl == "reference":
        return scan_reference
    if impl != "fast":
        raise ConfigError(f"impl must be 'auto', 'reference' or 'fast', got {impl!r}")
    if device.type not in _FAST_DEVICES:
        raise ConfigError(
            f"impl='fast' needs a device among {', '.join(_FAST_DEVICES)}, got {device.type!r}; use impl='auto'"
        )
    return scan_fast


def scan_reference(
    cell: Cell, x: Tensor, weights: Weights, state: State, lengths: Tensor | None
) -> tuple[Tensor, State]:
    """The loop over time, one line an equation. Arguments and results as in `scan`, with zeros in the padding of x."""
    zx = x @ weights.kernel
    if weights.bias is not None:
        zx = zx + weights.bias
    bias = _recurrent_bias(cell, weights)
    states = []
    for zx_t in zx.unbind(1):
        zh_t = state[0] @ weights.recurrent_kernel
        state = cell.step(zx_t, zh_t if bias is None else zh_t + bias, state)
        states.append(state)
    series = [torch.stack(member, 1) for member in zip(*states, strict=True)]
    if lengths is None:
        return series[0], state
    return valid.zero_padding(series[0], lengths), tuple(valid.last(member, lengths) for member in series)


def scan_fast(cell: Cell, x: Tensor, weights: Weights, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
    """The same on PyTorch's fused kernels. Arguments and results as in `scan_reference`."""
    if lengths is not None and cell is cells.LSTM:
        x, weights = _hold_cell_in_padding(x, weights, lengths)
    parameters = _torch_parameters(cell, weights, x)
    start = [member.unsqueeze(0) for member in state]
    out, *end = _KERNELS[cell](
        x,
        start if cell.states > 1 else start[0],
        parameters,
        len(parameters) == 4,  # has biases
        1,  # layers
        0.0,  # dropout
        torch.is_grad_enabled(),  # training: whether to keep what the backward needs
        False,  # bidirectional
        True,  # batch first
    )
    end = [member[0] for member in end]
    if lengths is None:
        return out, tuple(end)
    return valid.zero_padding(out, lengths), (valid.last(out, lengths), *end[1:])


def _hold_cell_in_padding(x: Tensor, weights: Weights, lengths: Tensor) -> tuple[Tensor, Weights]:
    """Make the c after T frames the c after the last valid one, which is the only c that the kernel returns.

    One more feature, 1 in the padding and 0 before it, opens the forget gate and shuts the input gate: far out on the
    sigmoid these are exactly 1 and 0, and so are their derivatives 0. This spares packing, and is several times
    faster than it on CPU; h needs no such help, because the kernel returns it for every frame.
    """
    hidden = len(weights.recurrent_kernel)
    row = weights.kernel.new_zeros(1, weights.kernel.shape[1])
    row[:, cells.LSTM.part("forget", hidden)] = _FAR
    row[:, cells.LSTM.part("enter", hidden)] = -_FAR
    padding = ~valid.mask(lengths, x.shape[1]).unsqueeze(-1)
    held = replace(weights, kernel=torch.cat([weights.kernel, row]))
    return torch.cat([x, padding.to(x.dtype)], -1), held


def _recurrent_bias(cell: Cell, weights: Weights) -> Tensor | None:
    """The recurrent bias of one gate as (G·H,), zero for the other gates."""
    if weights.recurrent_bias is None or cell.recurrent_bias is None:
        return None
    hidden = len(weights.recurrent_bias)
    part = cell.part(cell.recurrent_bias, hidden)
    return torch.nn.functional.pad(weights.recurrent_bias, (part.start, len(cell.gates) * hidden - part.stop))


def _torch_parameters(cell: Cell, weights: Weights, x: Tensor) -> list[Tensor]:
    """The weights as torch.nn.LSTM and its kin name them: w_ih (G·H, D), w_hh (G·H, H), b_ih, b_hh (G·H,)."""
    parameters = [weights.kernel.t(), weights.recurrent_kernel.t()]
    if weights.bias is not None:
        bias = _recurrent_bias(cell, weights)
        parameters += [weights.bias, torch.zeros_like(weights.bias) if bias is None else bias]
    if x.is_cuda:
        # cuDNN wants all weights in one piece of memory in this order, and warns when it must make it.
        flat = torch.cat([parameter.reshape(-1) for parameter in parameters])
        sizes = [parameter.numel() for parameter in parameters]
        parameters = [
            piece.view(parameter.shape) for piece, parameter in zip(flat.split(sizes), parameters, strict=True)
        ]
    return parameters
