"""Writing: from a model of the next word to whole captions; greedy, by beam search, or by sampling. On tensors only.

What this file is: the settings, what comes out, and the one way in, `search`. What it is not: the searches themselves
are in `nn/beam.py` (beam) and `nn/sampling.py` (greedy and sampling); no model, no vocabulary, no text.

Index 0 is *begin* where it is an input and *end* where it is an output; it is also what stands behind the end.

Shape letters: N clips, B rows of a clip (captions in the making, or made), L places, V words of the vocabulary,
A things that attention is paid to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from unreel.errors import ConfigError
from unreel.nn.beam import search_beam
from unreel.nn.rows import END, Next, State, Written, first_tensor
from unreel.nn.sampling import argmax, drawn, write_rows

Method = Literal["greedy", "beam", "sample"]


@dataclass(frozen=True)
class SearchConfig:
    """How captions are written.

    Attributes:
        method: "greedy", the likeliest word each time; "beam"; or "sample".
        beam: captions in the making that a clip keeps. A beam of one is greedy.
        length_norm: a caption's score is the sum of its log-probabilities / length ** length_norm; the length counts
            the end. 0 ranks by probability, which likes short captions; 1 by the mean over the words.
        max_length: places of the longest caption, the end among them. A caption that has no end by then ends there
            and is counted as it is: its words alone.
        temperature: of sampling; the logits are divided by it.
        top_k: sampling draws from this many likeliest words only; 0 from all.
        top_p: sampling draws from the fewest likeliest words that have this probability together (nucleus sampling,
            Holtzman et al. 2020), after `top_k`; 1 from all.
        n_best: captions of each clip: the best of the beam, or so many samples.

    Raises:
        ConfigError: a number is out of range, or two settings exclude each other.
    """

    method: Method = "beam"
    beam: int = 5
    length_norm: float = 0.0
    max_length: int = 30
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    n_best: int = 1

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ConfigError(f"search.method must be one of {', '.join(get_args(Method))}, got {self.method!r}")
        for name in ("beam", "max_length", "n_best"):
            if getattr(self, name) < 1:
                raise ConfigError(f"search.{name} must be at least 1, got {getattr(self, name)}")
        if not (math.isfinite(self.length_norm) and self.length_norm >= 0):
            raise ConfigError(f"search.length_norm must be a number from 0 up, got {self.length_norm}")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ConfigError(f"search.temperature must be above 0, got {self.temperature}: for 0, take method greedy")
        if self.top_k < 0:
            raise ConfigError(f"search.top_k must be at least 1, or 0 for all words, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"search.top_p must be above 0 and at most 1, got {self.top_p}")
        most = {"greedy": 1, "beam": self.beam, "sample": self.n_best}[self.method]
        if self.n_best > most:
            raise ConfigError(
                f"search.n_best must be at most {most} where the method is {self.method}"
                f"{' and search.beam ' + str(most) if self.method == 'beam' else ''}, got {self.n_best}"
            )


def search(
    next: Next,
    state: State,
    config: SearchConfig,
    forbidden: Sequence[int] | None = None,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
) -> Written:
    """Write captions of N clips at once.

    What a clip gets does not depend on its batch mates: clips that are done wait for the others, unchanged.

    Args:
        next: one step of the model: (words (N, B) int64, state) to (logits (N, B, V), state, attention (N, B, A) or
            None). The first call has B = 1 and words of zeros, the begin; B grows to the width of the beam, or to the
            number of samples. What all rows of a clip share (its features) belongs in `next`, where nobody copies it.
        state: at the begin, nested tuples of tensors (N, 1, ...), at least one.
        config: how to write.
        forbidden: indices of words that are never written, such as that of unknown words. The others' probabilities
            stay as they are.
        generator: of samples, on the CPU. One for all: same seed, same captions, and a clip's draws depend on its
            place in the batch. One for each clip: they depend on nothing else.

    Returns:
        what was written. Log-probabilities are those of the model, whatever temperature, top_k and top_p; computed in
        float32 at least. Gradients go through those of greedy and of samples, where they are enabled, not through a
        beam's.

    Raises:
        ValueError: a forbidden index is the end, or negative; or not one generator for each clip.
    """
    clips = first_tensor(state).shape[0]
    if forbidden and min(forbidden) <= END:
        raise ValueError(f"forbidden words must be indices from 1 up (0 is the end), got {sorted(forbidden)}")
    if config.method == "sample":
        choose = drawn(
            config.temperature, config.top_k, config.top_p, clips, config.n_best, config.max_length, generator
        )
        return write_rows(next, state, choose, config.n_best, config.max_length, config.length_norm, forbidden)
    if config.method == "greedy" or config.beam == 1:
        return write_rows(next, state, argmax, 1, config.max_length, config.length_norm, forbidden)
    return search_beam(next, state, config.beam, config.n_best, config.max_length, config.length_norm, forbidden)
