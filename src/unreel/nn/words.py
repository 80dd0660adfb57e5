"""Words that a model writes: what it can be asked by whoever trains it or searches for what it would say.

What this file is not: no search, no vocabulary, and no loss. Words are indices; 0 is the begin where it is read and
the end where it is written, and stands behind the end.

Shape letters: N clips, T frames, R B rows (captions, or rows of a beam) of each clip, L words of a row, V outputs (the
words and the end), A places that can be looked at, M words that are asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from unreel.tokens import UNKNOWN

Memory = tuple[Tensor, ...]
"""All that writing needs of the clips: tensors that start with N."""
WordState = tuple[tuple[Tensor, ...], ...]
"""What was written so far: tensors that start with (N, rows)."""
BEGIN = 0
"""The word before the first, and, where it is written, the end."""


def hide(words: Tensor, probability: float) -> Tensor:
    """Words (*) int64 of which each but 0, the begin or padding, is taken for an unknown one with this probability."""
    hidden = torch.rand(words.shape, device=words.device) < probability
    return torch.where(hidden & (words != BEGIN), UNKNOWN, words)


class SeesWords(nn.Module, ABC):
    """A model that writes about a clip word by word, and is told the words so far.

    Whoever runs models hands `words` to these, and to no others. Rows of a clip do not know of each other.

    Attributes:
        feature_shape: what `encode` gives of a frame: (D,), or (P, D).
        grid: (H', W') of the P places of a frame, row after row; None without attention.
    """

    feature_shape: tuple[int, ...]
    grid: tuple[int, int] | None = None

    @abstractmethod
    def forward(
        self, frames: Tensor, lengths: Tensor | None = None, state: Any = None, words: Tensor | None = None
    ) -> tuple[Tensor, WordState]:
        """As any model, with the words before each one, (N, R, L) int64, to logits (N, R, L, V) of the next ones.

        None is one row of one word, the begin.
        """

    @abstractmethod
    def decode(
        self, features: Tensor, lengths: Tensor | None = None, state: Any = None, words: Tensor | None = None
    ) -> tuple[Tensor, WordState]:
        """The half of `forward` after the encoder."""

    @abstractmethod
    def encode(self, frames: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The half of `forward` before: features (N, T, D) of frames (N, T, *frame), or (N, T, P, D) of P places."""

    @abstractmethod
    def read(self, features: Tensor, lengths: Tensor | None = None) -> Memory:
        """What writing needs of the clips whose features these are."""

    @abstractmethod
    def start(self, memory: Memory, rows: int) -> WordState:
        """The state before the first word of so many rows of each clip."""

    @abstractmethod
    def next(self, words: Tensor, memory: Memory, state: WordState) -> tuple[Tensor, WordState, Tensor | None]:
        """One word on: words (N, B) int64 to logits (N, B, V), the state, and where it looked (N, B, A) or None."""

    @abstractmethod
    def write(
        self, words: Tensor, memory: Memory, state: WordState | None = None
    ) -> tuple[Tensor, WordState, Tensor | None]:
        """Many words on: (N, R, L) to (N, R, L, V), the state, and (N, R, L, A) or None; as `next`, L times."""

    @abstractmethod
    def teach(self, words: Tensor, memory: Memory, asked: Tensor) -> Tensor:
        """Logits (M, V) that `write` gives from the begin on, behind the M words alone that are asked for.

        `asked` is (N, R, L) bool; the logits come row after row.
        """
