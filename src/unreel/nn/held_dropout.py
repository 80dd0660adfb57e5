"""HeldDropout: drop a feature in all frames of a clip, or in none.

Dropout that is drawn afresh for each frame is noise that a recurrence averages away; one mask for all frames is not
(Gal and Ghahramani 2016). What this file is not: dropout inside a recurrence is the recurrence's own.

Shape letters: N clips, T frames, C channels or features.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from unreel.errors import ConfigError


class HeldDropout(nn.Module):
    """In train mode, zero whole features of a clip, and scale the others so that the mean stays.

    Args:
        probability: to drop a feature.

    Raises:
        ConfigError: it is not in [0, 1).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0 <= probability < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {probability}")
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """x (N, T, C, *) with the same features dropped in all frames of a clip, and at all places of a frame."""
        if not (self.training and self.probability):
            return x
        mask = x.new_ones(len(x), 1, x.shape[2], *(1,) * (x.ndim - 3))
        return x * functional.dropout(mask, self.probability)

    def extra_repr(self) -> str:
        """The probability, for print(model)."""
        return f"{self.probability}"
