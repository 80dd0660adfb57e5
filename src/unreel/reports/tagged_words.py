"""Tagged words: test sentences of a run whose labels are of words, the worst and the best of them, word by word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unreel.reports.results import Results
from unreel.reports.timelines import FRAME_TASKS

SHOWN = 8


@dataclass(frozen=True)
class Word:
    """One word.

    Args:
        text: the word.
        said, truth: labels as text; truth is empty where nothing is known, which counts as right.
        right: whether they agree.
    """

    text: str
    said: str
    truth: str
    right: bool


@dataclass(frozen=True)
class Sentence:
    """One sentence: where it is, how good it is, as text, and its words."""

    file: str
    score: str
    words: tuple[Word, ...]

    @property
    def wrong(self) -> int:
        """How many words are wrong."""
        return sum(not word.right for word in self.words)


@dataclass(frozen=True)
class TaggedWords:
    """The chosen sentences.

    Args:
        worst, best: the sentences with the most wrong words, and the longest of those without any.
        sentences: how many test sentences there are.
        wrong: how many of them have a wrong word.
    """

    worst: tuple[Sentence, ...]
    best: tuple[Sentence, ...]
    sentences: int
    wrong: int


def tagged_words(results: Results) -> TaggedWords | None:
    """Sentences of the test side, None where there are none, or where labels are not of words."""
    if results.task not in FRAME_TASKS:
        return None
    found = [_sentence(row) for row in results.predictions if row.get("words") and row.get("truth") is not None]
    if not found:
        return None
    wrong = sorted((one for one in found if one.wrong), key=lambda one: one.wrong, reverse=True)
    right = sorted((one for one in found if not one.wrong), key=lambda one: len(one.words), reverse=True)
    return TaggedWords(tuple(wrong[:SHOWN]), tuple(right[:SHOWN]), len(found), len(wrong))


def _sentence(row: Mapping[str, Any]) -> Sentence:
    # where sampling has left words out, times say which are left
    chosen = [row["words"][int(time)] for time in row["times"]]
    words = tuple(
        Word(text, _text(said), _text(truth), truth is None or _text(said) == _text(truth))
        for text, said, truth in zip(chosen, row["labels"], row["truth"], strict=True)
    )
    right = sum(word.right for word in words)
    return Sentence(str(row.get("file", "")), f"{right} of {len(words)} words right", words)


def _text(labels: str | Sequence[str] | None) -> str:
    """One label, or several, as text."""
    return labels if isinstance(labels, str) else ", ".join(sorted(labels or ()))
