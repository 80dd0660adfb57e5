"""AdditiveAttention: where to look next, asked with a vector; the soft attention of neural translation and captions.

Bahdanau et al. (2015, arXiv 1409.0473, appendix A.1.2), and the deterministic "soft" attention of Xu et al. (2015,
arXiv 1502.03044, equations 4 to 6 and 13): e_a = v·tanh(K·m_a + k + Q·q), weights = softmax(e), context =
Σ weights_a·m_a.
What this file is not: no recurrence, and no gate behind it.

Several rows ask the same memory, such as the captions of one picture or the rows of a beam: the memory has no rows and
is never copied for them.

Shape letters: N clips, B rows that ask, A places (of all frames) to look at, D features of a place, Q features of a
question, K features in which both are compared.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unreel.errors import ConfigError


class AdditiveAttention(nn.Module):
    """Soft attention over places.

    Args:
        query_size: Q.
        memory_size: D.
        attention_size: K.

    Raises:
        ConfigError: a size is below 1.
    """

    def __init__(self, query_size: int, memory_size: int, attention_size: int) -> None:
        super().__init__()
        for name, size in (
            ("query_size", query_size),
            ("memory_size", memory_size),
            ("attention_size", attention_size),
        ):
            if size < 1:
                raise ConfigError(f"{name} must be at least 1, got {size}")
        self.query = nn.Linear(query_size, attention_size, bias=False)
        self.key = nn.Linear(memory_size, attention_size)
        self.score = nn.Linear(attention_size, 1, bias=False)  # any shift of the scores is lost in the softmax

    def keys(self, memory: Tensor) -> Tensor:
        """The half that no question changes, for all places at once: memory (N, A, D) to keys (N, A, K)."""
        return self.key(memory)

    def forward(self, query: Tensor, memory: Tensor, keys: Tensor, seen: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Look.

        Args:
            query: (N, B, Q).
            memory: (N, A, D), finite also where it is not seen.
            keys: (N, A, K), what `keys` made of the memory.
            seen: (N, A) bool, false in the padding, at least one true in each row; None where all are seen.

        Returns:
            context (N, B, D); weights (N, B, A), 1 over the places that are seen, exactly 0 elsewhere.
        """
        compared = (keys.unsqueeze(1) + self.query(query).unsqueeze(2)).tanh()
        scores = self.score(compared)[..., 0]
        if seen is not None:
            scores = scores.masked_fill(~seen.unsqueeze(1), -torch.inf)
        weights = scores.softmax(2)
        return weights.to(memory.dtype) @ memory, weights
