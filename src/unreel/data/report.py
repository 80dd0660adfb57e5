"""DataReport: what a scan has found, as a value, as JSON and as tables. The figure is drawn in `report_plot.py`.

What this file is not: it looks at nothing itself (`scanning.py`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from rich.markup import escape
from rich.table import Table

from unreel.data.caption_report import CaptionReport
from unreel.errors import RunError

ROWS = 30
"""Longer lists are cut in tables, never in JSON."""
NAMES = 3
"""So many files are named beside a reason that several share."""


@dataclass(frozen=True)
class FileReport:
    """One file (or folder of frames, or member of a zip).

    Args:
        path: as in the manifest.
        frames: T; 0 where it cannot be read.
        seconds: from the first frame to the end of the last. Where nothing tells seconds, one for each frame.
        fps: frames a second: one over the median distance of frames; None for less than two frames.
        size: shape of a frame, such as (3, 240, 320); empty where it cannot be read.
        reason: why it cannot be read; None where it can.
    """

    path: str
    frames: int = 0
    seconds: float = 0.0
    fps: float | None = None
    size: tuple[int, ...] = ()
    reason: str | None = None


@dataclass(frozen=True)
class WordReport:
    """The tokens of all texts, words or characters.

    Args:
        count: how many there are.
        different: how many different ones.
        once: how many of these stand there once.
    """

    count: int
    different: int
    once: int


@dataclass(frozen=True)
class DataReport:
    """What is there.

    Args:
        files: every file once, in the order of the manifest.
        classes: number of clips of each label (of segments, for labels in time); empty where labels are numbers.
        small: labels of so few clips that a split hardly gives each side one.
        identical: sets of files of the same content.
        near: pairs of files that look nearly the same.
        words: of texts, whose frames are their words; None where there are none.
        captions: of clips whose labels are captions, and so no classes; None where they are not.
    """

    files: tuple[FileReport, ...]
    classes: Mapping[str, int]
    small: tuple[str, ...] = ()
    identical: tuple[tuple[str, ...], ...] = ()
    near: tuple[tuple[str, str], ...] = ()
    words: WordReport | None = None
    captions: CaptionReport | None = None

    @property
    def readable(self) -> tuple[FileReport, ...]:
        """The files that can be read."""
        return tuple(file for file in self.files if file.reason is None)

    @property
    def unreadable(self) -> dict[str, str]:
        """Path and reason of each file that cannot be read."""
        return {file.path: file.reason for file in self.files if file.reason is not None}

    def to_json(self) -> str:
        """All of it as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> DataReport:
        """What `to_json` wrote.

        Raises:
            RunError: it did not.
        """
        try:
            found = json.loads(text)
            return cls(
                files=tuple(FileReport(**{**file, "size": tuple(file["size"])}) for file in found["files"]),
                classes=found["classes"],
                small=tuple(found["small"]),
                identical=tuple(tuple(alike) for alike in found["identical"]),
                near=tuple((one, other) for one, other in found["near"]),
                words=WordReport(**found["words"]) if found.get("words") else None,
                captions=CaptionReport.from_dict(found["captions"]) if found.get("captions") else None,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"expected a data report in JSON, found something else: {error!r}: scan again") from None

    def tables(self) -> list[Table]:
        """What a terminal shows: classes, measures, and lists of whatever is wrong."""
        tables = [self._classes(), self._measures()]
        if self.captions is not None:
            tables.append(self.captions.table())
            if self.captions.short:
                tables.append(_list("Captions of one word", ("file", "caption"), self.captions.short))
        if self.unreadable:
            tables.append(_list("Reasons why files cannot be read", ("files", "reason"), by_reason(self.unreadable)))
        if self.identical:
            tables.append(_list("The same content", ("files",), [(", ".join(alike),) for alike in self.identical]))
        if self.near:
            tables.append(_list("Nearly the same pictures", ("file", "file"), self.near))
        return tables

    def _classes(self) -> Table:
        title = f"{len(self.files)} files, {len(self.unreadable)} unreadable"
        if self.captions is not None:
            table = Table("labels", title=title, title_justify="left")
            table.add_row("captions, no classes")
            return table
        table = Table("label", title=title, title_justify="left")
        table.add_column("clips", justify="right")
        table.add_column("share", justify="right")
        table.add_column()
        total = sum(self.classes.values())
        for name, count in self.classes.items():
            few = "too few" if name in self.small else ""
            table.add_row(escape(name), str(count), f"{count / total:.1%}", few)
        return table

    def _measures(self) -> Table:
        table = Table("of a file", title="Readable files", title_justify="left")
        for column in ("least", "median", "most"):
            table.add_column(column, justify="right")
        files = self.readable
        if self.words is not None:
            lengths = [file.frames for file in files]
            table.add_row("words", *(f"{value:.0f}" for value in (min(lengths), median(lengths), max(lengths))))
            table.add_section()
            for name, count in asdict(self.words).items():
                table.add_row(f"all words: {name}", "", "", str(count))
            return table
        for name, values, digits in (
            ("frames", [file.frames for file in files], 0),
            ("seconds", [file.seconds for file in files], 2),
            ("frames a second", [file.fps for file in files if file.fps is not None], 2),
        ):
            if values:
                table.add_row(name, *(f"{value:.{digits}f}" for value in (min(values), median(values), max(values))))
        table.add_section()
        for size, count in Counter(file.size for file in files).most_common(ROWS):
            table.add_row("size " + " × ".join(map(str, size)), "", f"{count} files", "")
        return table


def by_reason(unreadable: Mapping[str, str]) -> list[tuple[str, str]]:
    """Files and why they cannot be read, each reason once: of many files the first ones, and how many more.

    Pictures that a file of captions names may be missing by the thousand.

    Args:
        unreadable: path and reason of each.
    """
    sharing: dict[str, list[str]] = {}
    for path, reason in unreadable.items():
        sharing.setdefault(reason, []).append(path)
    return [(_first(paths), reason) for reason, paths in sharing.items()]


def _first(paths: Sequence[str]) -> str:
    more = len(paths) - NAMES
    return ", ".join(paths[:NAMES]) + (f" and {more} more" if more > 0 else "")


def _list(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(*columns, title=f"{title}: {len(rows)}", title_justify="left")
    for row in rows[:ROWS]:
        table.add_row(*map(escape, row))
    if len(rows) > ROWS:
        table.add_row(f"and {len(rows) - ROWS} more", *[""] * (len(columns) - 1))
    return table
