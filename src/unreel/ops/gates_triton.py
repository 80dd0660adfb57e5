"""The gates on a GPU: a third twin of those in `ops/gates.py`, one Triton kernel a step forward and one backward.

Imported only where it is used, because triton comes with the CUDA builds of PyTorch alone. What this file is not: the
arithmetic is in `ops/gates_kernels.py`; it knows no product and no time, and no peepholes, whose cells run on the plain
twin.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from unreel.ops import gates_kernels as kernels
from unreel.ops.cells import Cell, State
from unreel.ops.gates import PLANES, Biases

_OPTIONS = {"enable_fp_fusion": True}  # said, because Triton warns that its default will change
_ELEMENTS = 1024  # of a block
_WIDEST = 128  # features of a block
_PROGRAMS = 1024  # along the rows: some for every processor of any device, and not a number that depends on it


class TritonGates:
    """See `ops.gates.Gates`. Buffers are contiguous and of one dtype, float32, bfloat16 or float16."""

    def __init__(self, cell: Cell, biases: Biases, like: Tensor) -> None:
        self.kind = cell.kind
        self.biases = biases
        hidden = like.shape[-1]
        rows = like.numel() // hidden
        width = min(triton.next_power_of_2(hidden), _WIDEST)
        height = min(triton.next_power_of_2(rows), max(_ELEMENTS // width, 1))
        programs = min(triton.cdiv(rows, height), _PROGRAMS)
        self.grid = (programs, triton.cdiv(hidden, width))
        self.shape = (rows, hidden, cell.activation, cell.recurrent_activation, height, width)
        # one a gate; of a GRU a fourth, its candidate's recurrent bias
        self.sums_shape = (programs, max(PLANES[cell.kind], 1), hidden)
        self.sums: Tensor | None = None

    def forward(
        self, zx: Tensor, zh: Tensor | None, base: Tensor | None, before: State, after: State, kept: Tensor | None
    ) -> None:
        """See `Gates.forward`."""
        if self.kind == "lstm":
            self._launch(kernels.lstm_forward, zx, base, before[1], *after, kept)
        elif self.kind == "gru":
            self._launch(kernels.gru_forward, zx, zh, base, before[0], after[0], kept)
        else:
            self._launch(kernels.rnn_forward, zx, base, after[0])

    def backward(
        self,
        dh: Tensor,
        dc: Tensor | None,
        kept: Tensor,
        before: State,
        after: State,
        dzx: Tensor,
        dzh: Tensor,
    ) -> None:
        """See `Gates.backward`."""
        if self.sums is None and (self.biases.bias is not None or self.biases.recurrent_bias is not None):
            self.sums = dh.new_zeros(self.sums_shape, dtype=torch.float32)
        if self.kind == "lstm":
            self._launch(kernels.lstm_backward, dh, dc, kept, before[1], after[1], dzx, self.sums)
        elif self.kind == "gru":
            self._launch(kernels.gru_backward, dh, kept, before[0], dzx, dzh, self.sums)
        else:
            self._launch(kernels.rnn_backward, dh, after[0], dzx, self.sums)

    def gradients(self) -> Biases:
        """See `Gates.gradients`."""
        if self.sums is None:
            return Biases(None, None, None)
        sums = self.sums.sum(0)
        bias, recurrent = self.biases.bias, self.biases.recurrent_bias
        gates = 3 if self.kind == "gru" else len(sums)
        return Biases(
            None if bias is None else sums[:gates].flatten().to(bias.dtype),
            None if recurrent is None else sums[-1].to(recurrent.dtype),
            None,
        )

    def _launch(self, kernel: Any, first: Tensor, *rest: Tensor | None) -> None:
        """One kernel on the device of the tensors and on the stream that PyTorch uses there."""
        with torch.cuda.device_of(first):
            kernel[self.grid](first, *rest, *self.shape, **_OPTIONS)
