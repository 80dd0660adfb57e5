"""Files in the manner of CoNLL: a word a line, its columns behind it, an empty line between sentences.

    .conll .bio .iob .iob2    the word is the first column, its label the last; separated by tabs or spaces
    .conllu                   Universal Dependencies: the word is FORM, its label UPOS; words joined in writing and
                              words that are left out have lines of their own there, which are passed over

Lines that begin with "# " and -DOCSTART- lines are passed over.

What this file is not: it makes no tokens and no clips (`text.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from unreel.errors import ReadError

SUFFIXES = (".conll", ".conllu", ".bio", ".iob", ".iob2")


class Sentence(NamedTuple):
    """A sentence: the number of its first line, from 1, its words, and the label of each."""

    line: int
    words: tuple[str, ...]
    labels: tuple[str, ...]


def is_conll(path: object) -> bool:
    """Whether the name is one of such a file."""
    return str(path).lower().endswith(SUFFIXES)


def sentences(path: object, lines: list[str]) -> Iterator[Sentence]:
    """The sentences of a file, which holds these lines.

    Raises:
        ReadError: a line does not have a word and a label.
    """
    universal = str(path).lower().endswith(".conllu")
    begin, words, labels = 0, [], []
    for number, line in enumerate([*lines, ""], start=1):
        if not line.strip():
            if words:
                yield Sentence(begin, tuple(words), tuple(labels))
            words, labels = [], []
            continue
        if line.startswith(("# ", "-DOCSTART-")):
            continue
        columns = line.strip().split("\t") if "\t" in line else line.split()
        if universal and not columns[0].isdigit():
            continue
        if len(columns) < (4 if universal else 2):
            raise ReadError(path, f"line {number}: expected a word and its label, got {line.strip()[:60]!r}")
        begin = begin if words else number
        words.append(columns[1 if universal else 0])
        labels.append(columns[3 if universal else -1])
