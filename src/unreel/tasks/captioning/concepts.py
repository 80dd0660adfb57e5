"""Concepts: which words the captions of a clip have, told at a glance, so that an encoder learns to see.

The next word teaches a fresh encoder slowly: most words follow from the words before, and what a picture adds to them
is little of the loss. To tell all words at once, none known, nothing but the picture helps. It is a lesser task beside
the captions, as the word detectors of Fang et al. (2015, arXiv 1411.4952), which are trained before; here both are
learned together, and what is told is used for nothing else. What this file is not: it writes nothing.

Shape letters: N clips, T frames, P places of a frame, D features, R captions of a clip, L words, V outputs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from unreel.ops import valid
from unreel.tokens import NAMES

WORDS = 10
"""About so many of all words the captions of a clip have: each begins as likely as that."""


class Concepts(nn.Module):
    """A linear layer from the mean of a clip's features to a logit of each word.

    Args:
        features: D.
        outputs: V, of which the first `len(tokens.NAMES)` are no words.
    """

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.constant_(self.linear.bias, -math.log(max(outputs / WORDS - 1, 1.0)))

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits (N, V) of clips: features (N, T, D) or (N, T, P, D), `lengths` (N,) valid frames, None for all."""
        frames = features if features.ndim == 3 else features.mean(2)
        return self.linear(valid.mean(frames, valid.full(frames) if lengths is None else lengths))


def concept_loss(logits: Tensor, words: Tensor) -> Tensor:
    """Binary cross-entropy of all words, over the number of those that are there, (): as a loss of words, one of each.

    Args:
        logits: (N, V).
        words: (N, R, L), indices; 0 behind the end.
    """
    there = torch.zeros_like(logits).scatter_(1, words.flatten(1), 1.0)[:, len(NAMES) :]
    told = functional.binary_cross_entropy_with_logits(logits[:, len(NAMES) :], there, reduction="sum")
    return told / there.sum().clamp(min=1)
