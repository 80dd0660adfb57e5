"""What the searches share: rows of captions in the making, their state, and what comes out in the end.

What this file is not: no search; those are in `nn/beam.py` and `nn/sampling.py`.

Shape letters: N clips, B rows of a clip, L places, V words of the vocabulary, A things that attention is paid to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from unreel.nn.words import BEGIN

END = BEGIN

State: TypeAlias = "Tensor | tuple[State, ...]"
"""Nested tuples of tensors (N, B, ...)."""

Next: TypeAlias = Callable[[Tensor, State], tuple[Tensor, State, Tensor | None]]
"""(words (N, B) int64, state) to (logits (N, B, V), state, attention (N, B, A) or None)."""


class Written(NamedTuple):
    """Captions of N clips, B of each, the best first.

    Attributes:
        words: (N, B, L) int64, 0 behind the last word. L is the length of the longest, its end counted.
        log_probs: (N, B, L) of each word and of the end, 0 behind it. A caption without an end, cut at the greatest
            length, has those of its words alone.
        scores: (N, B), sum of `log_probs` / length ** length_norm, from high to low. -inf where there is no caption:
            where a beam was asked for more than a small vocabulary can make. Its words are zeros.
        attention: (N, B, L, A) while each word, and the end, was written, zeros behind; None of models without.
    """

    words: Tensor
    log_probs: Tensor
    scores: Tensor
    attention: Tensor | None

    def cpu(self) -> Written:
        """The same on the CPU."""
        return Written(*(None if member is None else member.cpu() for member in self))  # type: ignore[arg-type]


def first_tensor(state: State) -> Tensor:
    """Any tensor of a state.

    Raises:
        ValueError: it holds none.
    """
    while isinstance(state, tuple):
        if not state:
            raise ValueError("a state must hold a tensor (N, 1, ...) in its first place, got an empty tuple")
        state = state[0]
    return state


def reorder(state: State, rows: Tensor) -> State:
    """The state whose row b of clip n is row `rows[n, b]` of it; rows (N, B')."""
    if isinstance(state, tuple):
        return tuple(reorder(part, rows) for part in state)
    flat = rows + state.shape[1] * torch.arange(len(rows), device=rows.device).unsqueeze(1)
    return state.flatten(0, 1).index_select(0, flat.flatten()).unflatten(0, rows.shape)


def log_softmax(logits: Tensor) -> Tensor:
    """Log-probabilities, in float32 at least."""
    return logits.log_softmax(-1, torch.promote_types(logits.dtype, torch.float32))


def as_indices(forbidden: Sequence[int] | None, device: torch.device) -> Tensor | None:
    """The forbidden words as a tensor; None where there are none."""
    return torch.tensor(list(forbidden), device=device) if forbidden else None
