"""Manifest: which clips there are, what is said of each, and where its files lie.

A manifest is a table (CSV or JSONL, columns `path`, `label` or `labels`, optionally `start`, `end`, `group`, `split`,
`view`; `caption` or `captions` in place of labels), or is made from class folders by `folders.py`. A table without
paths may hold the clips themselves, as texts.

What this file is not: it reads no table (`manifest_files.py`), opens no clip, so it does not know whether a file can be
read (`scanning.py`), and it divides nothing (`splits.py`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from unreel.errors import ConfigError, ManifestError
from unreel.natural import natural_key

COLUMNS = ("path", "label", "labels", "caption", "captions", "start", "end", "group", "split", "view")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""How a side of the split may be written, and what it is called here."""
NAMED_GROUPS = ("label", "group", "split", "train", "val", "test")
"""What a regular expression may find in the name of a file."""


@dataclass(frozen=True)
class Segment:
    """A label in time: from `start`, inclusive, to `end`, exclusive, in seconds of the source.

    Of the frames of a segment whose label is empty nothing is known.
    """

    start: float
    end: float
    label: str


@dataclass(frozen=True)
class Example:
    """One clip: a file, or a part of one, and what is said of it.

    Args:
        path: posix path relative to the manifest's root where it lies below it, else absolute. A member of a zip is
            "archive.zip!cat/1.png".
        labels: labels of the whole clip: none, one, several, or numbers for regression; or its captions, where
            `Manifest.captions` says so.
        segments: labels in time.
        start: the clip begins here, seconds of the source, inclusive; None for its beginning.
        end: the clip ends here, exclusive; None for its end.
        group: clips of one group never stand on two sides of a split; None for a group of its own.
        split: "train", "val" or "test"; None where nothing is said.
        view: which view of a thing the clip shows.
    """

    path: str
    labels: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()
    start: float | None = None
    end: float | None = None
    group: str | None = None
    split: str | None = None
    view: str | None = None

    @property
    def key(self) -> str:
        """A unique and stable name: "a.mp4", "a.mp4@12.0-14.0", "a.mp4@12.0-", "a.nii#axial"."""
        time = ""
        if self.start is not None or self.end is not None:
            time = f"@{'' if self.start is None else self.start}-{'' if self.end is None else self.end}"
        view = "" if self.view is None else f"#{self.view}"
        name = f"{self.path}{time}{view}"
        return name if name.isprintable() else name.encode("unicode_escape").decode("ascii")


@dataclass(frozen=True)
class Manifest:
    """Examples and the folder that their paths start from.

    Args:
        root: the folder.
        examples: the clips.
        heads: names of all labels that a frame can have, where the data itself says which there are; each of them holds
            or does not hold, whatever the others do. Empty where labels are whatever the examples have.
        broken: path and reason of clips that are no examples, since their labels cannot be used.
        captions: labels are captions, sentences about the clip, and no classes.
        empty: how many captions were dropped since they say nothing.

    Raises:
        ManifestError: two examples have one key.
    """

    root: Path
    examples: tuple[Example, ...]
    heads: tuple[str, ...] = ()
    broken: Mapping[str, str] = field(default_factory=dict)
    captions: bool = False
    empty: int = 0

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for example in self.examples:
            if example.key in seen:
                raise ManifestError(
                    f"expected each clip once, {example.key!r} stands in the manifest twice: give it one row, "
                    "several labels in a column 'labels' (separated by ';'), parts of a file by 'start' and 'end'"
                )
            seen.add(example.key)

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def classes(self) -> tuple[str, ...]:
        """All label names, of clips and of segments, in natural order ("2" before "10")."""
        names = {label for example in self.examples for label in labels_of(example)}
        return tuple(sorted(names, key=natural_key))


@dataclass(frozen=True)
class ManifestConfig:
    """How to read a table of examples.

    Args:
        label_column: the column that holds the label. Where there is none of this name, `labels` is looked for. In the
            layout of MRNet, the one label to learn: its clips are `NAME` or `no NAME`.
        group_column: the column that holds the group.
        text_column: the column that holds texts, of a table that has no column `path`.
        caption_column: the column that holds captions, in place of labels: one a row, of which a clip may have several,
            or, in JSONL and in a column called `captions`, a list. None for `caption` or `captions`, of a table without
            a column of labels.
        language: of captions whose table names a language for each (MSVD), those that are taken; None for all.
        group_from: a regular expression searched in each path; its first group (the whole match where it has none)
            is the clip's group, in place of the column. For instance `(g\\d\\d)`.
        pattern: a regular expression searched in each path, whose groups named `label`, `group`, `split`, or `train`,
            `val`, `test`, say what the name of a file tells of it, in place of folders and columns. For instance
            `(?P<label>\\d)_(?P<group>[a-z]+)_`.
    """

    label_column: str = "label"
    group_column: str = "group"
    text_column: str = "text"
    caption_column: str | None = None
    language: str | None = "English"
    group_from: str | None = None
    pattern: str | None = None

    def __post_init__(self) -> None:
        for name in ("group_from", "pattern"):
            try:
                re.compile(getattr(self, name) or "")
            except re.error as error:
                raise ConfigError(
                    f"{name} must be a regular expression, {getattr(self, name)!r} is none: {error}"
                ) from None
        if self.pattern is None:
            return
        found = re.compile(self.pattern).groupindex.keys()
        if not found or found - set(NAMED_GROUPS):
            raise ConfigError(
                f"pattern must have groups named as some of {', '.join(NAMED_GROUPS)}, such as (?P<label>\\w+), "
                f"{self.pattern!r} has {', '.join(found) or 'none'}"
            )
        if "group" in found and self.group_from is not None:
            raise ConfigError("pattern and group_from both say the group: leave one of them out")


def labels_of(example: Example) -> tuple[str, ...]:
    """All labels of an example: of the whole clip, then of its segments, as often as they stand there."""
    return (*example.labels, *(segment.label for segment in example.segments if segment.label))


def grouped_by_path(manifest: Manifest, pattern: str | None) -> Manifest:
    """The same manifest, in which the group of each example is what `pattern` finds in its path.

    An example in whose path nothing is found is a group of its own. None leaves the groups as they are.

    Raises:
        ManifestError: the pattern is found in no path at all.
    """
    if pattern is None:
        return manifest
    found = [re.search(pattern, example.path) for example in manifest.examples]
    if not any(found):
        raise ManifestError(
            f"the pattern {pattern!r} of group_from is found in none of {len(manifest)} paths, for instance not in "
            f"{manifest.examples[0].path!r}: change the pattern"
        )
    examples = [
        replace(example, group=None if match is None else match[1] if match.re.groups else match[0])
        for example, match in zip(manifest.examples, found, strict=True)
    ]
    return replace(manifest, examples=tuple(examples))


def as_segments(manifest: Manifest) -> Manifest:
    """All rows of one path as one example: rows with `start` or `end` become segments, the others label the whole.

    A missing start is 0, a missing end is infinite. Rows keep their order. A row with several labels gives a segment
    for each; one with a time and no label says that nothing is known there.

    Raises:
        ManifestError: rows of one path differ in group, split or view.
    """
    rows: dict[str, list[Example]] = {}
    for example in manifest.examples:
        rows.setdefault(example.path, []).append(example)
    return replace(manifest, examples=tuple(_join(path, parts) for path, parts in rows.items()))


def _join(path: str, rows: Sequence[Example]) -> Example:
    for column in ("group", "split", "view"):
        found = {getattr(row, column) for row in rows}
        if len(found) > 1:
            raise ManifestError(f"rows of one file need one {column}, those of {path!r} have {sorted(map(str, found))}")
    labels: list[str] = []
    segments: list[Segment] = []
    for row in rows:
        segments.extend(row.segments)
        if row.start is None and row.end is None:
            labels.extend(row.labels)
        else:
            end = math.inf if row.end is None else row.end
            segments.extend(Segment(row.start or 0.0, end, label) for label in row.labels or ("",))
    return replace(rows[0], labels=tuple(labels), segments=tuple(segments), start=None, end=None)
