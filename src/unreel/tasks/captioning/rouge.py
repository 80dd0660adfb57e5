"""ROUGE-L of captions: the longest row of words that a caption and a reference have in common, gaps allowed.

Lin (2004), as coco-caption counts it (pycocoevalcap's `rouge.py`): precision and recall are each the highest over the
references, not of one of them, and recall weighs 1.2² as much as precision.

What this file is not: it cuts no text into words. Shape letters: N clips.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unreel.tasks.captioning.ngrams import Floats

BETA = 1.2


def rouge_l(candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> Floats:
    """ROUGE-L of each clip, (N,), 0 to 1.

    No words at all count as one word, the empty one, as in the original: an empty caption has 0, unless a reference is
    empty too.

    Args:
        candidates: the words of one caption for each of the N clips; perhaps none.
        references: for each clip the words of its references, of which there is at least one.
    """
    return np.array([_score(words or [""], known) for words, known in zip(candidates, references, strict=True)])


def _score(words: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    places: dict[str, int] = {}
    for place, word in enumerate(words):
        places[word] = places.get(word, 0) | 1 << place
    precision = recall = 0.0
    for reference in references:
        known = reference or [""]
        common = _common(places, len(words), known)
        precision = max(precision, common / len(words))
        recall = max(recall, common / len(known))
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common(places: dict[str, int], length: int, other: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of its table at a time in the bits of one number (Hyyrö 2004).

    Args:
        places: the bits at which each word of the one caption stands.
        length: its words.
        other: the words of the other.
    """
    everything = (1 << length) - 1
    row = everything
    for word in other:
        matches = row & places.get(word, 0)
        row = ((row + matches) | (row - matches)) & everything
    return length - row.bit_count()
