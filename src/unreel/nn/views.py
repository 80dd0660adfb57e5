"""Views: frames of one clip that show a thing from several sides, such as the three planes of a scan.

What this file is not: which number means which plane is for the data to say; here views are numbers from 0.

Shape letters: N clips, T frames, V views, D features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from unreel.errors import ConfigError

SPREAD = 0.02
"""Standard deviation of a view's vector before training: as that of positions in ViT (Dosovitskiy et al. 2021)."""


class SeesViews(nn.Module, ABC):
    """A model whose answer depends on the views of the frames, which it is told beside them.

    Whoever runs models hands `views` to these, and to no others.

    Attributes:
        views: V, how many there can be.
    """

    views: int

    @abstractmethod
    def forward(
        self, frames: Tensor, lengths: Tensor | None = None, state: Any = None, views: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """As any model, with views (N, T) int64; None where all frames are of view 0."""


class ViewEmbedding(nn.Module):
    """Add to the features of each frame a learned vector of its view.

    Args:
        views: V.
        features: D.

    Raises:
        ConfigError: a number is below 1.
    """

    def __init__(self, views: int, features: int) -> None:
        super().__init__()
        if views < 1 or features < 1:
            raise ConfigError(f"views and features must be at least 1, got {views} and {features}")
        self.vectors = nn.Embedding(views, features)
        nn.init.normal_(self.vectors.weight, std=SPREAD)

    def forward(self, x: Tensor, views: Tensor) -> Tensor:
        """Features (N, T, D) and views (N, T) int64, each 0..V-1, to (N, T, D). What stands in the padding changes."""
        return x + self.vectors(views).to(x.dtype)
