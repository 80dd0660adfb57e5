"""How captions are learned and written, as a configuration says it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

from unreel.errors import ConfigError
from unreel.nn import SearchConfig


@dataclass(frozen=True)
class CaptionConfig:
    """How captions are learned, and how they are written.

    Args:
        search: how they are written, in evaluation, prediction and validation; see `search_of_validation`.
        scheduled_sampling: 0 to below 1, the share of the words before each that are the model's own in place of the
            true ones: 0 at the beginning of training, this at its end, in between a straight line.
        self_critical: so many epochs, the last ones, learn from the CIDEr-D of captions that are drawn, in place of
            the words (Rennie et al. 2017, arXiv 1612.00563), with a schedule of their own up to a 200th of the
            learning rate.
        concepts: weight of a second loss, of which words a clip's captions have, told from its features at a glance;
            see `captioning/concepts.py`. An encoder without pretrained weights learns to see by it; 1 is much, 0 none.
        concepts_first: so many epochs, the first ones, learn concepts alone, each in a fraction of the time, since
            nothing is written. The schedule of the learning rate begins anew behind them. In several processes
            Lightning's strategy has to be "ddp_find_unused_parameters_true" then.
    """

    search: SearchConfig = field(default_factory=SearchConfig)
    scheduled_sampling: float = 0.0
    self_critical: int = 0
    concepts: float = 0.0
    concepts_first: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.scheduled_sampling < 1:
            raise ConfigError(f"scheduled_sampling must be at least 0 and below 1, got {self.scheduled_sampling}")
        if self.self_critical < 0:
            raise ConfigError(f"self_critical must be at least 0 epochs, got {self.self_critical}")
        if not 0 <= self.concepts < math.inf:
            raise ConfigError(f"concepts must be a weight, at least 0, got {self.concepts}")
        if self.concepts_first < 0 or (self.concepts_first and not self.concepts):
            raise ConfigError(
                f"concepts_first must be at least 0 epochs, and more only with concepts above 0, got "
                f"{self.concepts_first} with concepts {self.concepts}"
            )

    @property
    def search_of_validation(self) -> SearchConfig:
        """The best caption of the same search, since by another one another epoch is the best; greedy for "sample"."""
        if self.search.method == "sample":
            return SearchConfig("greedy", max_length=self.search.max_length)
        return dataclasses.replace(self.search, n_best=1)
