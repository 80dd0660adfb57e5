"""Runs of one to four words, counted for many captions at once.

Words are numbers here. A run of n words is one number too, 16 bits a word, so that counting is sorting: a thousand
clips with five references take hundredths of a second.

What this file is not: it knows no score. Shape letters: M captions, E runs that differ, caption by caption.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ORDERS = 4
"""The longest run: words by themselves, pairs, threes and fours."""
_EXACT = 1 << 16
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # beyond 65,536 words: two runs meet in one number with odds of about 1e-7

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Runs(NamedTuple):
    """The runs of one length of M captions, sorted by caption and then by run.

    Attributes:
        caption: (E,) which caption.
        run: (E,) uint64, the run's number.
        often: (E,) how often.
    """

    caption: Ints
    run: NDArray[np.uint64]
    often: Ints


class Numbers:
    """A number for every word that comes by."""

    def __init__(self) -> None:
        self._of: dict[Hashable, int] = {}

    def __call__(self, captions: Iterable[Sequence[Hashable]]) -> list[list[int]]:
        """The captions as numbers; a word not seen before takes the next one."""
        of = self._of
        return [[of.setdefault(word, len(of)) for word in caption] for caption in captions]

    def __len__(self) -> int:
        return len(self._of)


def count_runs(captions: Sequence[Sequence[int]], words: int) -> tuple[Runs, ...]:
    """The runs of one, two, three and four words of M captions.

    Args:
        captions: numbers of words, each at least 0 and below `words`.
        words: how many words there are: runs that are to be compared want the same.
    """
    lengths = np.array([len(caption) for caption in captions], dtype=np.int64)
    flat = np.fromiter((word for caption in captions for word in caption), np.uint64, int(lengths.sum()))
    return count_flat(flat, np.repeat(np.arange(len(captions)), lengths), words)


def count_flat(flat: NDArray[np.uint64], owner: Ints, words: int) -> tuple[Runs, ...]:
    """The same of captions behind each other: their words (P,), and the caption of each, ascending (P,)."""
    base = np.uint64(_EXACT) if words <= _EXACT else _SPREAD
    run, found = flat, []
    for order in range(1, ORDERS + 1):
        if order > 1:
            run = run[:-1] * base + flat[order - 1 :]
        begins = owner[: len(run)]
        whole = begins == owner[order - 1 :]
        found.append(_sorted(begins[whole], run[whole]))
    return tuple(found)


def _sorted(caption: Ints, run: NDArray[np.uint64]) -> Runs:
    order = np.lexsort((run, caption))
    caption, run = caption[order], run[order]
    first = np.ones(len(run), dtype=bool)
    first[1:] = (run[1:] != run[:-1]) | (caption[1:] != caption[:-1])
    places = np.flatnonzero(first)
    return Runs(caption[places], run[places], np.diff(places, append=len(run)))


def join(left: tuple[Ints, NDArray[np.uint64]], right: tuple[Ints, NDArray[np.uint64]]) -> tuple[Ints, Ints]:
    """Where a (clip, run) of `left` stands in `right`, whose pairs are sorted and differ.

    Returns:
        The places in `left` and in `right` of the pairs that stand in both.
    """
    runs, inverse = np.unique(np.concatenate([left[1], right[1]]), return_inverse=True)
    key = np.concatenate([left[0], right[0]]) * len(runs) + inverse
    ours, theirs = key[: len(left[0])], key[len(left[0]) :]
    if not len(theirs):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    place = np.searchsorted(theirs, ours).clip(max=len(theirs) - 1)
    both = np.flatnonzero(theirs[place] == ours)
    return both, place[both]
