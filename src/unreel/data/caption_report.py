"""CaptionReport: how many captions there are, how long, of which words, and which hardly say anything.

What this file is not: files of pictures and films are told of by `report.py`; which captions count by `captions.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from unreel.data.manifest import Manifest
from unreel.tokens import TextConfig, tokenise

THRESHOLDS = (1, 2, 3, 5, 10)
"""A vocabulary is counted of the words that stand there at least so often."""
QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
COMMON = 20
"""So many of the most common words are told."""


@dataclass(frozen=True)
class CaptionReport:
    """The captions of all clips.

    Args:
        clips: clips with captions.
        captions: how many captions they have.
        empty: captions that were dropped, since they say nothing.
        per_clip: least, median and most captions of a clip.
        words: words of a caption, at `QUANTILES`.
        vocabulary: for each of `THRESHOLDS`, how many words stand there at least so often.
        common: the most common words, and how often they stand there.
        repeated: captions that say, word by word, what an earlier one says, of this clip or of another.
        short: clip and caption, of captions of one word at most.
    """

    clips: int
    captions: int
    empty: int
    per_clip: tuple[float, ...]
    words: tuple[float, ...]
    vocabulary: tuple[tuple[int, int], ...]
    common: tuple[tuple[str, int], ...]
    repeated: int
    short: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, manifest: Manifest, text: TextConfig) -> CaptionReport | None:
        """The captions of a manifest, their words as `text.of_captions()` has them; None where its labels are none."""
        if not manifest.captions or not manifest.examples:
            return None
        text = text.of_captions()
        said = [(example.key, caption) for example in manifest.examples for caption in example.labels]
        tokens = [tuple(tokenise(caption, text)) for _, caption in said]
        per_clip = [len(example.labels) for example in manifest.examples]
        counts = Counter(token for row in tokens for token in row)
        return cls(
            clips=len(per_clip),
            captions=len(said),
            empty=manifest.empty,
            per_clip=(min(per_clip), median(per_clip), max(per_clip)),
            words=tuple(np.quantile([len(row) for row in tokens], QUANTILES).tolist()),
            vocabulary=tuple((least, sum(n >= least for n in counts.values())) for least in THRESHOLDS),
            common=tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:COMMON]),
            repeated=len(tokens) - len(set(tokens)),
            short=tuple(one for one, row in zip(said, tokens, strict=True) if len(row) <= 1),
        )

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> CaptionReport:
        """What `dataclasses.asdict` gave, perhaps through JSON."""
        pairs = {name: tuple(map(tuple, found[name])) for name in ("vocabulary", "common", "short")}
        rows = {name: tuple(found[name]) for name in ("per_clip", "words")}
        return cls(**{**found, **pairs, **rows})

    def facts(self) -> list[tuple[str, str]]:
        """Names and numbers of the whole."""
        return [
            ("clips with captions", f"{self.clips:,}"),
            ("captions", f"{self.captions:,}"),
            ("empty, dropped", f"{self.empty:,}"),
            ("repeated word by word", f"{self.repeated:,}"),
            ("of one word", f"{len(self.short):,}"),
            *((f"words that stand there {_times(least)}", f"{count:,}") for least, count in self.vocabulary),
        ]

    def spreads(self) -> list[tuple[str, str, str, str]]:
        """What, least, median and most."""
        words = [self.words[place] for place in (0, QUANTILES.index(0.5), -1)]
        return [_spread("captions of a clip", self.per_clip), _spread("words of a caption", words)]

    def table(self) -> Table:
        """What a terminal shows."""
        table = Table("captions", title="Captions", title_justify="left")
        table.add_column("", justify="right")
        for name, number in self.facts():
            table.add_row(name, number)
        table.add_section()
        table.add_row("captions of a clip: least, median, most", " ".join(f"{n:g}" for n in self.per_clip))
        table.add_row("words of a caption: least, 5 %, median, 95 %, most", " ".join(f"{n:g}" for n in self.words))
        table.add_row("most common words", escape(", ".join(word for word, _ in self.common)))
        return table


def _times(least: int) -> str:
    return "at all" if least == 1 else f"{least} times or more"


def _spread(name: str, values: tuple[float, ...] | list[float]) -> tuple[str, str, str, str]:
    least, middle, most = (f"{value:g}" for value in values)
    return name, least, middle, most
