"""Text as a source: a file, or a place in one, becomes tokens.

    a.txt                      the whole file
    a.csv!review!12            the cell of the column `review` in line 12; .tsv, .jsonl and .ndjson alike. (A row that
                               goes over several lines is called by its last one.)
    a.pos!12                   line 12, of any other file whose name has a suffix
    a.conll!12                 the sentence that begins in line 12, whose words stand in lines of their own

Files of lines are kept in memory while they do not change, so that each of their lines is no file to be opened.
Times are the positions of the tokens, 0, 1, 2 ...

What this file is not: how a text is cut into tokens is said in `unreel/tokens.py`, which places there are in
`texts.py`.

Shape letters: T tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from unreel.data.manifest_files import rows_of
from unreel.data.readers.conll import Sentence, is_conll, sentences
from unreel.data.readers.image_arrays import is_row
from unreel.data.readers.source import Closing, check_indices, stamp
from unreel.errors import ManifestError, ReadError
from unreel.tokens import TextConfig, Vocabulary, cased, tokenise

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
"""Files whose texts stand in a column."""
UTF8 = "utf-8"

_CELL = re.compile(r"(?P<file>.+?\.(?:csv|tsv|jsonl|ndjson))!(?P<column>.+)!(?P<line>[1-9]\d*)", re.DOTALL | re.I)
_LINE = re.compile(r"(?P<file>.*\.[^./\\!]+)!(?P<line>[1-9]\d*)", re.DOTALL)
_BAD = re.compile("[\ud800-\udfff]")  # what cannot be decoded, kept by "surrogateescape"


class Place(NamedTuple):
    """A text in a file: the column of a table, None elsewhere, and the number of the line, from 1."""

    file: Path
    column: str | None
    line: int


def text_place(path: str | Path) -> Place | None:
    """The place in a file that `path` names; None where it names a file, or a place in a zip, in a file of arrays, or
    in a folder, whose name has no suffix.
    """
    return _place(str(path))


def reads_text(path: str | Path) -> bool:
    """Whether the name, not the content, is one of a text."""
    return str(path).lower().endswith(".txt") or text_place(path) is not None


class TextSource(Closing):
    """The tokens of a text, as indices in a vocabulary.

    Args:
        path: a file, or a place in one.
        config: how it is read.
        vocabulary: what the indices stand for.

    Attributes:
        text: as it was written.
        tokens: the T tokens, as `config` wants them.
        times: (T,) float64, positions.

    Raises:
        ReadError: there is no such place, the bytes are no text in this encoding, or it holds no token.
    """

    frame_shape: tuple[int, ...] = ()

    def __init__(
        self, path: str | Path, config: TextConfig | None = None, vocabulary: Vocabulary | None = None
    ) -> None:
        config = config or TextConfig()
        self._path = path
        place = text_place(path)
        try:
            if place is not None and place.column is None and is_conll(place.file):
                if config.tokens != "words":
                    raise ReadError(path, "its labels are of words, so that data.text.tokens must be words")
                words = sentence_at(place, config.encoding).words
                self.text = " ".join(words)
                tokens = cased(words, config)
            else:
                self.text = text_at(path, config.encoding)
                tokens = tokenise(self.text, config)
        except OSError as error:
            raise ReadError(path, f"cannot be read: {error.strerror}") from error
        if bad := _BAD.search(self.text):
            line = place.line if place else self.text.count("\n", 0, bad.start()) + 1
            raise ReadError(
                path,
                f"expected text in {config.encoding}, line {line} holds the byte 0x{ord(bad[0]) & 0xFF:02x}: save the "
                "file as UTF-8, or set data.text.encoding, for instance to latin-1",
            )
        if not tokens:
            raise ReadError(path, f"expected {config.tokens}, found none in {self.text.strip()[:40]!a}")
        self.tokens = tokens[: config.max_length]
        self._indices = (vocabulary or Vocabulary()).encode(self.tokens)
        self.times = torch.arange(len(self.tokens), dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.tokens)

    def read(self, indices: Sequence[int]) -> Tensor:
        """The tokens at `indices`, (n,) int64.

        Raises:
            IndexError: an index is outside 0..T-1.
        """
        return self._indices[check_indices(indices, len(self), self._path)]

    def close(self) -> None:
        """Nothing is open."""


def text_at(path: str | Path, encoding: str = UTF8) -> str:
    """The text at `path`. Bytes that are none in this encoding become lone surrogates.

    Raises:
        ReadError: there is no such place.
        OSError: the file cannot be opened.
    """
    place = text_place(path)
    if place is None:
        return _decoded(Path(path).read_bytes(), encoding)
    if place.column is not None:
        cells = _cells(place.file, place.column, encoding, *stamp(place.file))
        if place.line not in cells:
            raise ReadError(path, f"expected a cell of {place.column!r} in line {place.line}, there is none")
        return cells[place.line]
    if is_conll(place.file):
        return " ".join(sentence_at(place, encoding).words)
    found = file_lines(place.file)
    if place.line > len(found):
        raise ReadError(path, f"expected line {place.line}, the file has {len(found)}")
    return _decoded(found[place.line - 1], encoding)


def file_lines(file: Path) -> tuple[bytes, ...]:
    """The lines of a file, without their ends. Only a line feed ends a line, with or without a carriage return."""
    return _lines(file, *stamp(file))


def cell_lines(file: Path, column: str) -> list[int]:
    """The numbers of the lines of a table that have a cell of this column.

    Raises:
        ReadError: it is no table, or none has.
        OSError: it cannot be opened.
    """
    found = list(_cells(file, column, UTF8, *stamp(file)))
    if not found:
        raise ReadError(file, f"expected a column {column!r} of texts, there is none")
    return found


def file_sentences(file: Path, encoding: str = UTF8) -> Mapping[int, Sentence]:
    """The sentences of a file of CoNLL's kind, by the number of their first line.

    Raises:
        ReadError: it is none.
        OSError: it cannot be opened.
    """
    return _sentences(file, encoding, *stamp(file))


def sentence_at(place: Place, encoding: str) -> Sentence:
    """The sentence at a place. Errors as of `file_sentences`, and ReadError where none begins there."""
    found = file_sentences(place.file, encoding)
    if place.line not in found:
        raise ReadError(f"{place.file}!{place.line}", f"expected a sentence to begin in line {place.line}, none does")
    return found[place.line]


@lru_cache(maxsize=1 << 16)
def _place(path: str) -> Place | None:
    if found := _CELL.fullmatch(path):
        return Place(Path(found["file"]), found["column"], int(found["line"]))
    found = _LINE.fullmatch(path)
    if found is None or ".zip!" in path.lower() or is_row(found["file"], found["line"]):
        return None
    return Place(Path(found["file"]), None, int(found["line"]))


def _decoded(raw: bytes, encoding: str) -> str:
    text = raw.decode(encoding, "surrogateescape")
    return text.removeprefix("\ufeff") if encoding.lower() in ("utf-8", "utf8") else text


@lru_cache(maxsize=16)
def _lines(file: Path, size: int, changed: int) -> tuple[bytes, ...]:
    whole = file.read_bytes()
    return tuple(line.removesuffix(b"\r") for line in whole.removesuffix(b"\n").split(b"\n"))


@lru_cache(maxsize=16)
def _cells(file: Path, column: str, encoding: str, size: int, changed: int) -> Mapping[int, str]:
    try:
        rows = list(rows_of(file, _decoded(file.read_bytes(), encoding)))
    except ManifestError as error:
        raise ReadError(file, str(error).removeprefix(f"{file}, ").removeprefix(f"{file}: ")) from error
    cells = {line: row[column] for line, row in rows if column in row}
    return {line: "" if cell is None else str(cell) for line, cell in cells.items()}


@lru_cache(maxsize=16)
def _sentences(file: Path, encoding: str, size: int, changed: int) -> Mapping[int, Sentence]:
    lines = [_decoded(line, encoding) for line in _lines(file, size, changed)]
    return {sentence.line: sentence for sentence in sentences(file, lines)}
