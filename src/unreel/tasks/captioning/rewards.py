"""Rewards: how good captions are that a model draws while it learns, by CIDEr-D against the captions of their clip.

How rare words are is told once, by the captions of the whole training side. The end counts as a word, as in the code of
Luo (github.com/ruotianluo/self-critical.pytorch): without it captions learn to stop short, "a man in a". What this file
is not: CIDEr-D itself is in `cider.py`.

Shape letters: N clips, S captions that are drawn for each, M captions.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from unreel.tasks.captioning.cider import Frequencies, compare
from unreel.tasks.captioning.measures import PROTOCOL
from unreel.tasks.captioning.ngrams import Numbers, Runs, count_runs
from unreel.tokens import tokenise

_END = 0
"""No word is a number, so the end is a word of its own."""


class Rewards:
    """CIDEr-D of captions, the end counted, with frequencies that are told once.

    Args:
        references: the captions of each training clip.
    """

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        self._words: dict[str, list[Hashable]] = {}
        for clip in references:
            self._words |= {text: _words(text) for text in clip}
        self._numbers = Numbers()
        given = self._numbers(self._words[text] for clip in references for text in clip)
        self._count = len(self._numbers)
        owner = np.repeat(np.arange(len(references)), [len(clip) for clip in references])
        self._frequencies = Frequencies.of(count_runs(given, self._count), owner, len(references))

    def __call__(
        self,
        captions: Sequence[Sequence[str]],
        references: Sequence[Sequence[str]],
        ended: Sequence[Sequence[bool]] | None = None,
    ) -> Tensor:
        """How good captions are.

        Args:
            captions: (N, S).
            references: those of the N clips, one or more each.
            ended: (N, S), false for a caption that was cut before its end, which is then not counted; None if none was.

        Returns:
            (N, S) float32, 0 to 10.
        """
        clips, several = len(captions), len(captions[0])
        whole = [[True] * several] * clips if ended is None else ended
        written = self._runs(zip(chain(*captions), chain(*whole), strict=True))
        given = self._runs((text, True) for clip in references for text in clip)
        owner = np.repeat(np.arange(clips), [len(clip) for clip in references])
        found = compare(written, np.repeat(np.arange(clips), several), given, owner, self._frequencies)
        return torch.from_numpy(found.cider_d).float().unflatten(0, (clips, several))

    def most_central(self, captions: Sequence[str]) -> str:
        """Of the captions of one clip, at least one, that which is most like the others; of equal ones the first."""
        if len(captions) == 1:
            return captions[0]
        others = [[*captions[:place], *captions[place + 1 :]] for place in range(len(captions))]
        return captions[int(self([[text] for text in captions], others).argmax())]

    def _runs(self, texts: Iterable[tuple[str, bool]]) -> tuple[Runs, ...]:
        """Of texts, and whether each has its end."""
        words = ((self._words.get(text) or _words(text), ended) for text, ended in texts)
        return count_runs(self._numbers(those if ended else those[:-1] for those, ended in words), self._count)


def _words(text: str) -> list[Hashable]:
    return [*tokenise(text, PROTOCOL), _END]
