"""Texts: manifests of many texts in few files, and the vocabulary that the training side has.

    root/pos.txt  root/neg.txt         a sentence a line; the name of the file is the class of its lines
    root/rt.pos   root/rt.neg          the same, where files of one name differ in what follows it
    root/train/pos.txt ...             outer folders that are all named like sides of a split are the split
    a.conll                            a word a line, labels of words: they become segments, a word lasting from its
    root/train.conll root/dev.conll    position to the next; files named like sides of a split are the split

A table with a column of texts is read by `manifest_files.py`, class folders of .txt files by `folders.py`.

What this file is not: it cuts no text into tokens (`unreel/tokens.py`) and reads none (`readers/text.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath

from unreel.data.manifest import SPLIT_NAMES, Example, Manifest, Segment
from unreel.data.readers import READERS
from unreel.data.readers.conll import Sentence, is_conll
from unreel.data.readers.text import (
    TABLES,
    TextSource,
    cell_lines,
    file_lines,
    file_sentences,
    reads_text,
    text_place,
)
from unreel.errors import ManifestError, ReadError
from unreel.natural import natural_key
from unreel.tokens import TextConfig, Vocabulary

_BESIDE = ("readme", "license", "licence")
"""Files of these names, whatever follows, say something of the data and are none of it."""


def text_manifest(root: Path, files: Sequence[PurePosixPath]) -> Manifest | None:
    """The manifest of files of many texts; None where `files` are none.

    Args:
        root: the folder.
        files: all files below it, relative to it.

    Raises:
        ManifestError: a file is not what its name says.
    """
    files = sorted((file for file in files if file.stem.lower() not in _BESIDE), key=lambda f: natural_key(str(f)))
    if files and all(is_conll(file) for file in files):
        sides = [SPLIT_NAMES.get(file.stem.lower()) for file in files]
        named = all(sides)
        examples = [
            example
            for file, side in zip(files, sides, strict=True)
            for example in conll_examples(root, str(file), side if named else None)
        ]
        return Manifest(root, tuple(examples))
    split_outside = bool(files) and all(len(f.parts) == 2 and f.parts[0].lower() in SPLIT_NAMES for f in files)
    if not files or not (split_outside or all(len(file.parts) == 1 for file in files)):
        return None
    classes = _classes(files)
    if classes is None:
        return None
    examples = []
    for file, label in zip(files, classes, strict=True):
        side = SPLIT_NAMES[file.parts[0].lower()] if split_outside else None
        examples += [Example(place, (label,), split=side) for place in line_places(root / file, str(file))]
    return Manifest(root, tuple(examples))


def conll_examples(root: Path, file: str, split: str | None) -> list[Example]:
    """Each sentence of a file, with its labels as segments.

    Raises:
        ManifestError: a line does not have a word and a label, or the file cannot be read.
    """
    try:
        found = file_sentences(root / file)
        labelled = [Example(f"{file}!{line}", segments=_segments(it), split=split) for line, it in found.items()]
    except ReadError as error:
        raise ManifestError(f"{root / file}: {error.reason}") from None
    except OSError as error:
        raise ManifestError(f"{root / file}: cannot be read: {error.strerror}") from None
    if not labelled:
        raise ManifestError(f"{root / file}: expected a word and its label a line, found none")
    return labelled


def line_places(file: Path, name: str) -> list[str]:
    """The place of each line: "a.pos!1", "a.pos!2" ... Arguments as of `places_in`."""
    return [f"{name}!{line}" for line in range(1, len(file_lines(file)) + 1)]


def places_in(file: Path, column: str, whole: bool) -> list[str]:
    """The texts of a file: rows of a table, sentences, or lines; or the file itself.

    Args:
        file: its name begins each place.
        column: of tables.
        whole: a file that is none of the others is one text.

    Raises:
        ReadError: it cannot be read, or is a table without that column.
    """
    try:
        if file.suffix.lower() in TABLES:
            return [f"{file}!{column}!{line}" for line in cell_lines(file, column)]
        if is_conll(file):
            return [f"{file}!{line}" for line in file_sentences(file)]
        return [str(file)] if whole or text_place(file) else line_places(file, str(file))
    except OSError as error:
        raise ReadError(file, f"cannot be read: {error.strerror}") from None


def holds_texts(file: Path) -> bool:
    """Whether the name is one of a file of texts."""
    return reads_text(file) or is_conll(file) or file.suffix.lower() in TABLES


def count_tokens(examples: Iterable[Example], root: Path, config: TextConfig) -> Counter[str]:
    """How often each token stands in these texts; those that cannot be read have none."""
    counts: Counter[str] = Counter()
    for path in dict.fromkeys(example.path for example in examples):
        try:
            counts.update(TextSource(root / path, config).tokens)
        except ReadError:  # it is listed by whoever wants its frames
            continue
    return counts


def learn_vocabulary(examples: Iterable[Example], root: Path, config: TextConfig) -> Vocabulary:
    """The vocabulary of these examples: those of the training side, and no others."""
    return Vocabulary.of(count_tokens(examples, root, config), config.min_count)


def _classes(files: Sequence[PurePosixPath]) -> list[str] | None:
    """The class of each file of lines; None where they are none."""
    stems, suffixes = {file.stem for file in files}, {file.suffix.lower() for file in files}
    if suffixes == {".txt"} and len(stems) > 1:
        return [file.stem for file in files]
    unknown = all(suffix and suffix not in READERS and suffix not in TABLES for suffix in suffixes)
    if len(stems) == 1 and len(suffixes) > 1 and unknown:
        return [file.suffix[1:] for file in files]
    return None


def _segments(sentence: Sentence) -> tuple[Segment, ...]:
    """A segment for each run of one label."""
    segments: list[Segment] = []
    position = 0
    for label, run in groupby(sentence.labels):
        end = position + len(list(run))
        segments.append(Segment(float(position), float(end), label))
        position = end
    return tuple(segments)
