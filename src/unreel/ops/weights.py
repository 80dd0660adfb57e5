"""The weights of one recurrence, in the form that every implementation takes.

Shape letters: D features in, H hidden features, G gates, K kernel sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Weights:
    """The weights of one recurrence.

    Args:
        kernel: W (D, G·H); of a convolution (G·H, D, *K).
        recurrent_kernel: U (H, G·H); of a convolution (G·H, H, *K).
        bias: b (G·H,), or None.
        recurrent_bias: (H,) for the one gate that the cell names, or None.
        peephole: (3, H) of an LSTM, or None.
        gains: (2, G·H), of the normalised x·W and h·U; None where nothing is normalised.
    """

    kernel: Tensor
    recurrent_kernel: Tensor
    bias: Tensor | None = None
    recurrent_bias: Tensor | None = None
    peephole: Tensor | None = None
    gains: Tensor | None = None
