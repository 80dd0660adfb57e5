"""CIDEr and CIDEr-D of captions: how near a caption's runs of words come to what people say of this clip alone.

Vedantam et al. (2015). Runs of one to four words are weighed by how rare they are: a run that the references of `df`
out of N clips hold weighs log N - log max(1, df). Captions are compared by the cosine of the vectors of these weights,
and the mean over the references and over the four lengths is multiplied by 10.

    cider     the cosine alone: equations 1 to 3, as `cider_scorer.py` of the authors (github.com/vrama91/cider)
    cider_d   weights clipped to those of the reference, and a Gaussian of the difference in length, sigma 6 words:
              equation 4, as the authors' `ciderD_scorer.py`. **This is what coco-caption and pycocoevalcap call
              CIDEr**, so that published numbers of captions are to be compared with it

Neither stems words, as those programs do not. As in them, the length of a caption is its number of pairs of words. Of
one clip alone every run weighs nothing, and all scores are 0: give it the frequencies of more.

What this file is not: it cuts no text into words. Shape letters: N clips, M captions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unreel.tasks.captioning.ngrams import ORDERS, Floats, Ints, Numbers, Runs, count_runs, join

SIGMA = 6.0


class Frequencies(NamedTuple):
    """In how many of N clips a run of words stands, in one reference or more.

    Attributes:
        runs: for each length the runs' numbers, ascending, uint64.
        clips: for each length in how many clips.
        documents: N.
    """

    runs: tuple[NDArray[np.uint64], ...]
    clips: tuple[Ints, ...]
    documents: int

    @classmethod
    def of(cls, runs: Sequence[Runs], owner: Ints, documents: int) -> Frequencies:
        """Of the runs of references, the clip of each of which is `owner` (M,)."""
        known, often = [], []
        for each in runs:
            clip = owner[each.caption]
            order = np.lexsort((clip, each.run))
            clip, run = clip[order], each.run[order]
            first = np.ones(len(run), dtype=bool)
            first[1:] = (run[1:] != run[:-1]) | (clip[1:] != clip[:-1])
            values, counts = np.unique(run[first], return_counts=True)
            known.append(values)
            often.append(counts)
        return cls(tuple(known), tuple(often), documents)

    def weigh(self, runs: Sequence[Runs]) -> list[Floats]:
        """The weight of each run, for each length: its count times its rarity."""
        return [
            each.often * (np.log(self.documents) - np.log(self._clips(order, each.run)))
            for order, each in enumerate(runs)
        ]

    def _clips(self, order: int, runs: NDArray[np.uint64]) -> Floats:
        """In how many clips each stands; 1 for none."""
        known = self.runs[order]
        if not len(known):
            return np.ones(len(runs))
        place = np.searchsorted(known, runs).clip(max=len(known) - 1)
        return np.where(known[place] == runs, self.clips[order][place], 1).astype(np.float64)


class Scores(NamedTuple):
    """Both scores of each clip, 0 to 10.

    Attributes:
        cider: (N,).
        cider_d: (N,).
    """

    cider: Floats
    cider_d: Floats


def cider(candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> Scores:
    """CIDEr and CIDEr-D of each clip, its rare words told by the references of these N clips.

    Args:
        candidates: the words of one caption for each of the N clips; perhaps none.
        references: for each clip the words of its references, of which there is at least one.
    """
    numbers = Numbers()
    written = numbers(candidates)
    given = numbers(reference for clip in references for reference in clip)
    owner = np.repeat(np.arange(len(references)), [len(clip) for clip in references])
    runs = count_runs(given, len(numbers))
    frequencies = Frequencies.of(runs, owner, len(references))
    return compare(count_runs(written, len(numbers)), np.arange(len(written)), runs, owner, frequencies)


def compare(
    written: Sequence[Runs], clip: Ints, given: Sequence[Runs], owner: Ints, frequencies: Frequencies
) -> Scores:
    """Both scores of M captions, (M,) each, of which a clip may have several.

    Args:
        written: runs of the M captions.
        clip: (M,) the clip of each.
        given: runs of the references.
        owner: the clip of each reference, ascending.
        frequencies: how rare runs are.
    """
    # a pair is a caption and a reference of its clip
    first, stop = np.searchsorted(owner, clip, "left"), np.searchsorted(owner, clip, "right")
    often = stop - first
    caption = np.repeat(np.arange(len(clip)), often)
    reference = np.arange(len(caption)) - np.repeat(np.cumsum(often) - often, often) + np.repeat(first, often)
    plain, clipped = np.zeros(len(caption)), np.zeros(len(caption))
    weights = zip(written, frequencies.weigh(written), given, frequencies.weigh(given), strict=True)
    for ours, of_ours, theirs, of_theirs in weights:
        left, right, pair = _shared(ours, theirs, caption, reference, len(clip))
        norm = np.sqrt(np.bincount(ours.caption, of_ours**2, len(clip)))[caption]
        norm = norm * np.sqrt(np.bincount(theirs.caption, of_theirs**2, len(owner)))[reference]
        norm[norm == 0] = 1
        mine, its = of_ours[left], of_theirs[right]
        plain += np.bincount(pair, mine * its, len(caption)) / norm
        clipped += np.bincount(pair, np.minimum(mine, its) * its, len(caption)) / norm
    length = np.bincount(written[1].caption, written[1].often, len(clip))[caption]
    length = length - np.bincount(given[1].caption, given[1].often, len(owner))[reference]
    clipped *= np.exp(-(length**2) / (2 * SIGMA**2))
    scale = 10 / ORDERS / often
    return Scores(np.bincount(caption, plain, len(clip)) * scale, np.bincount(caption, clipped, len(clip)) * scale)


def _shared(ours: Runs, theirs: Runs, caption: Ints, reference: Ints, captions: int) -> tuple[Ints, Ints, Ints]:
    """The runs that a caption shares with a reference: their places in `ours` and `theirs`, and the pair of the two."""
    # every run of a caption, once for each of its references
    often = np.bincount(caption, minlength=captions)
    begins = (np.cumsum(often) - often)[ours.caption]
    copies = often[ours.caption]
    left = np.repeat(np.arange(len(ours.run)), copies)
    pair = np.arange(len(left)) - np.repeat(np.cumsum(copies) - copies, copies) + np.repeat(begins, copies)
    kept, right = join((reference[pair], ours.run[left]), (theirs.caption, theirs.run))
    return left[kept], right, pair[kept]
