"""Tokens: how a text becomes a row of words or characters, and how these become numbers.

The rules, fixed so that a run reads a text the same for ever. Text is first put into the normal form C of Unicode.

    words, rule unicode   runs of letters and digits, which may hold apostrophes and hyphens, numbers also commas and
                          full stops ("it's", "too-tepid", "3.5"); every other character but a space is a word
    words, rule kim       `clean_str` of Kim (2014), github.com/yoonkim/CNN_sentence: ASCII letters, digits and
                          ( ) , ! ? ' ` are kept, English endings split off ("it 's", "do n't")
    words, rule ptb       the Penn Treebank's words without punctuation, on which published scores of captions are
                          counted; `ptb.py` tells them
    characters            every character; a run of white space is one space

A vocabulary is counted on the training side alone. What it does not hold is `UNKNOWN`, as is, in training already, what
is counted less than `min_count` times: so the unknown word is learned as others are.

What this file is not: it opens no file (`data/readers/text.py`). Languages without spaces between words want
characters.

Shape letters: T tokens.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from unreel import ptb
from unreel.errors import ConfigError, RunError

PADDING, UNKNOWN = 0, 1
"""Indices of what stands behind the end of a text, and of a token that the vocabulary does not hold."""
NAMES = ("<pad>", "<unk>")
"""How the two stand in vocabulary.txt."""

_WORD = re.compile(r"\d+(?:[.,]\d+)+|\w+(?:['’\-]\w+)*|[^\w\s]")
_KIM = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"[^A-Za-z0-9(),!?'`]", " "),
        (r"'s", " 's"),
        (r"'ve", " 've"),
        (r"n't", " n't"),
        (r"'re", " 're"),
        (r"'d", " 'd"),
        (r"'ll", " 'll"),
        (r"([,!()?])", r" \1 "),
    )
)


@dataclass(frozen=True)
class TextConfig:
    """How a text is read.

    Args:
        tokens: `words`, or `characters`.
        rule: where words begin and end, as this file's docstring says: `unicode`, or `kim` or `ptb` for English; None
            for `ptb` of captions and `unicode` of other texts. Words that a file gives one by one (CoNLL) stay as they
            are.
        lower: tokens in lower case; those of `ptb` always are.
        min_count: a token that the training side has fewer times is unknown.
        max_length: tokens of a text that are taken, from its beginning; None for all.
        encoding: of files, such as `latin-1`; one in which the end of a line is a byte of its own.
    """

    tokens: Literal["words", "characters"] = "words"
    rule: Literal["unicode", "kim", "ptb"] | None = None
    lower: bool = True
    min_count: int = 2
    max_length: int | None = None
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        if self.min_count < 1:
            raise ConfigError(f"min_count must be at least 1, got {self.min_count}")
        if self.max_length is not None and self.max_length < 1:
            raise ConfigError(f"max_length must be at least 1 token, or None for all, got {self.max_length}")
        try:
            known = "\n".encode(self.encoding) == b"\n"
        except (LookupError, ValueError):
            known = False
        if not known:
            raise ConfigError(f"encoding must be one such as utf-8, latin-1 or cp1252, got {self.encoding!r}")

    def of_captions(self) -> TextConfig:
        """How a caption is read: where no rule is asked for, by `ptb`, on which its measures are counted."""
        return self if self.rule is not None else replace(self, rule="ptb")


def tokenise(text: str, config: TextConfig) -> list[str]:
    """The tokens of a text; perhaps none."""
    text = unicodedata.normalize("NFC", text)
    if config.tokens == "characters":
        found = list(" ".join(text.split()))
    elif config.rule == "ptb":
        found = ptb.words(text)
    elif config.rule == "kim":
        for pattern, replacement in _KIM:
            text = pattern.sub(replacement, text)
        found = text.split()
    else:
        found = _WORD.findall(text)
    return cased(found, config)


def cased(words: Sequence[str], config: TextConfig) -> list[str]:
    """Words as the configuration wants them written."""
    return [word.lower() for word in words] if config.lower else list(words)


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that a model knows, in the order of their indices, which begin after `PADDING` and `UNKNOWN`.

    An empty one, the default, calls every token unknown.
    """

    tokens: tuple[str, ...] = ()

    @classmethod
    def of(cls, counts: Mapping[str, int], min_count: int) -> Vocabulary:
        """All tokens counted at least `min_count` times, the most frequent first, among equals by their letters."""
        kept = [token for token, count in counts.items() if count >= min_count and token not in NAMES]
        return cls(tuple(sorted(kept, key=lambda token: (-counts[token], token))))

    @classmethod
    def from_text(cls, text: str) -> Vocabulary:
        """What `to_text` wrote.

        Raises:
            RunError: it did not.
        """
        lines = text.removesuffix("\n").split("\n")
        if tuple(lines[:2]) != NAMES:
            raise RunError(f"expected a vocabulary that begins with the lines {' and '.join(NAMES)}, got {lines[:2]}")
        return cls(tuple(lines[2:]))

    def to_text(self) -> str:
        """One token a line, `<pad>` and `<unk>` first: index n stands in line n + 1."""
        return "".join(f"{token}\n" for token in (*NAMES, *self.tokens))

    def encode(self, tokens: Iterable[str]) -> Tensor:
        """Indices (T,) int64."""
        return torch.tensor([self._index.get(token, UNKNOWN) for token in tokens], dtype=torch.int64)

    def __len__(self) -> int:
        return len(NAMES) + len(self.tokens)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {token: index for index, token in enumerate(self.tokens, start=len(NAMES))}
