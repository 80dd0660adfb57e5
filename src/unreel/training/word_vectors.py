"""Word vectors that others have trained: the rows of a TextRNN's embedding to begin with.

A text file of one word a line, and the numbers of its vector behind it, separated by spaces: GloVe's, or word2vec's and
fastText's, which begin with a line of two numbers, how many words and how many numbers each. Words are looked up as the
vocabulary has them, so that vectors of words with capitals want `data.text.lower false`.

Words without a vector are drawn uniformly with the deviation of those that have one (Kim 2014).

What this file is not: the vectors are weights like others from here on; no run needs the file again.

Shape letters: D numbers of a vector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator

from unreel.data import Vocabulary
from unreel.errors import ConfigError
from unreel.models import TextRNN


@dataclass(frozen=True)
class Coverage:
    """How many of the words of a vocabulary have a vector in a file."""

    path: str
    found: int
    words: int

    def __str__(self) -> str:
        share = 100 * self.found / max(1, self.words)
        return f"{self.path}: vectors of {self.found:,} of {self.words:,} words ({share:.1f} %); the others are drawn"


def load_word_vectors(model: TextRNN, path: str | Path, vocabulary: Vocabulary, seed: int) -> Coverage:
    """Write the vectors of a file into the model's embedding.

    Args:
        model: its embedding has a row for each token of the vocabulary.
        path: the file.
        vocabulary: the words.
        seed: of the vectors that are drawn.

    Raises:
        ConfigError: the file is none of vectors, they have another size, or it has none of the words.
    """
    first = len(vocabulary) - len(vocabulary.tokens)
    place = {word: index for index, word in enumerate(vocabulary.tokens, start=first)}
    found = _read(Path(path), set(place), model.config.embedding_size)
    if not found:
        raise ConfigError(f"{path}: none of the {len(place)} words of the texts is in it; is it of this language?")
    vectors = torch.tensor(list(found.values()))
    bound = math.sqrt(3) * float(vectors.std(correction=0))
    weight = model.embedding.weight
    with torch.no_grad():
        drawn = torch.rand(weight.shape, generator=Generator().manual_seed(seed))
        weight[1:] = ((2 * drawn - 1) * bound)[1:]
        weight[torch.tensor([place[word] for word in found])] = vectors.to(weight)
    return Coverage(str(path), len(found), len(place))


def _read(path: Path, words: set[str], size: int) -> dict[str, list[float]]:
    """The vectors (D,) of those of `words` that the file has; of one that it has twice, the first."""
    found: dict[str, list[float]] = {}
    checked = False
    try:
        with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if number == 1 and _is_header(line):
                    continue
                if not checked:
                    _check_size(path, number, len(line.split()) - 1, size)
                    checked = True
                word, *numbers = line.rstrip().rsplit(" ", size)
                if word in words and word not in found:
                    found[word] = _numbers(path, number, numbers, size)
    except OSError as error:
        raise ConfigError(f"model.embeddings: {path}: expected a text file of vectors, {error.strerror}") from error
    return found


def _is_header(line: str) -> bool:
    parts = line.split()
    return len(parts) == 2 and all(part.isdigit() for part in parts)


def _check_size(path: Path, line: int, length: int, size: int) -> None:
    if length != size:
        raise ConfigError(
            f"{path}, line {line}: expected a word and {size} numbers, got {length}: set model.embedding_size "
            f"{length}, or choose another file"
        )


def _numbers(path: Path, line: int, texts: list[str], size: int) -> list[float]:
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        numbers = []
    if len(numbers) != size:
        raise ConfigError(f"{path}, line {line}: expected {size} numbers behind the word, got {texts[:3]} ...")
    return numbers
