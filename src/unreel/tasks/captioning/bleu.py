"""BLEU of a corpus of captions: how many of the runs of words that were written stand in a reference.

Papineni et al. (2002), as coco-caption counts it (pycocoevalcap's `bleu_scorer.py`, option `closest`), on which
published numbers of captions rest: the reference length of a clip is that nearest to the caption's, of two equally near
the shorter one; counts are summed over the corpus before they are divided; 1e-15 is added above and 1e-9 below, so that
a corpus without a single run of four has a BLEU-4 near 0, and not 0 / 0.

What this file is not: it cuts no text into words. Shape letters: N clips.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unreel.tasks.captioning.ngrams import ORDERS, Floats, Ints, Numbers, Runs, count_runs, join

STATISTICS = 2 + 2 * ORDERS


def statistics(candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> Floats:
    """What BLEU needs to know of each clip: sums of these over clips are what `bleu` takes.

    Args:
        candidates: the words of one caption for each of the N clips; perhaps none.
        references: for each clip the words of its references, of which there is at least one.

    Returns:
        (N, 10): words written, words of the nearest reference; runs of 1, 2, 3, 4 words written; and of these, how many
        stand in a reference, each counted at most as often as in that reference which has most of them.
    """
    numbers = Numbers()
    written = numbers(candidates)
    given = numbers(reference for clip in references for reference in clip)
    owner = np.repeat(np.arange(len(references)), [len(clip) for clip in references])
    found = np.zeros((len(candidates), STATISTICS))
    for clip, (candidate, known) in enumerate(zip(candidates, references, strict=True)):
        length = len(candidate)
        found[clip, 0] = length
        found[clip, 1] = min((abs(len(words) - length), len(words)) for words in known)[1]
        found[clip, 2 : 2 + ORDERS] = [max(0, length - order) for order in range(ORDERS)]
    pairs = zip(count_runs(written, len(numbers)), count_runs(given, len(numbers)), strict=True)
    for order, (ours, theirs) in enumerate(pairs):
        most = _most(theirs, owner)
        left, right = join((ours.caption, ours.run), (most.caption, most.run))
        shared = np.minimum(ours.often[left], most.often[right])
        found[:, 2 + ORDERS + order] = np.bincount(ours.caption[left], shared, len(candidates))
    return found


def _most(runs: Runs, owner: Ints) -> Runs:
    """How often a run stands in that reference of a clip which has most of it; `caption` is the clip."""
    clip = owner[runs.caption]
    order = np.lexsort((runs.often, runs.run, clip))
    clip, run, count = clip[order], runs.run[order], runs.often[order]
    last = np.ones(len(run), dtype=bool)
    last[:-1] = (run[1:] != run[:-1]) | (clip[1:] != clip[:-1])
    return Runs(clip[last], run[last], count[last])


def bleu(sums: Floats) -> Floats:
    """BLEU-1, -2, -3 and -4, (..., 4), 0 to 1, from sums of `statistics` over clips, (..., 10)."""
    written, nearest = sums[..., :1] + 1e-15, sums[..., 1:2] + 1e-9
    precisions = (sums[..., 2 + ORDERS :] + 1e-15) / (sums[..., 2 : 2 + ORDERS] + 1e-9)
    means = np.cumprod(precisions, -1) ** (1 / np.arange(1, ORDERS + 1))
    return means * np.exp(np.minimum(0, 1 - nearest / written))
