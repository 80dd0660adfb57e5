"""Manifest: which clips there are, what is said of each, and where its files lie.

A manifest is a table (CSV or JSONL, columns `path`, `label` or `labels`, optionally `start`, `end`, `group`, `split`,
`view`), or is made from class folders by `folders.py`. A table without paths may hold the clips themselves, as texts.

What this file is not: it opens no clip, so it does not know whether a file can be read (`scan.py`), and it divides
nothing (`splits.py`).
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unreel.errors import ConfigError, ManifestError
from unreel.natural import natural_key

COLUMNS = ("path", "label", "labels", "start", "end", "group", "split", "view")
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
        labels: labels of the whole clip: none, one, several, or numbers for regression.
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

    Raises:
        ManifestError: two examples have one key.
    """

    root: Path
    examples: tuple[Example, ...]
    heads: tuple[str, ...] = ()
    broken: Mapping[str, str] = field(default_factory=dict)

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
        group_from: a regular expression searched in each path; its first group (the whole match where it has none)
            is the clip's group, in place of the column. For instance `(g\\d\\d)`.
        pattern: a regular expression searched in each path, whose groups named `label`, `group`, `split`, or `train`,
            `val`, `test`, say what the name of a file tells of it, in place of folders and columns. For instance
            `(?P<label>\\d)_(?P<group>[a-z]+)_`.
    """

    label_column: str = "label"
    group_column: str = "group"
    text_column: str = "text"
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


def read_manifest(path: str | Path, config: ManifestConfig | None = None) -> Manifest:
    """Read a table of examples; its paths start from the table's folder.

    A table of texts gives an example for each row, "table.csv!text!12" after the column and the line.

    Args:
        path: a .jsonl file of one object a line, or a table with a header, separated by comma, tab or semicolon.
        config: names of columns.

    Raises:
        ManifestError: no column of paths or texts, a named column is missing or mistyped, a cell cannot be understood,
            a clip stands there twice, or there are no rows.
    """
    path, config = Path(path), config or ManifestConfig()
    rows = list(rows_of(path, _bytes(path).decode("utf-8-sig", "surrogateescape")))
    if not rows:
        raise ManifestError(f"{path}: expected at least one row below the header, found none")
    columns = {column: None for _, row in rows for column in row}
    if "path" not in columns and config.text_column in columns:
        # what cannot be decoded in a text is for its reader to tell
        rows = [(line, _as_place(path, line, row, config.text_column)) for line, row in rows]
        del columns[config.text_column]
        columns["path"] = None
    else:
        table_text(path)
    label = _check_columns(path, columns, config)
    examples = [_example(f"{path}, line {line}", row, label, config.group_column) for line, row in rows]
    return grouped_by_path(Manifest(path.parent, _one_row_each(examples)), config.group_from)


def write_manifest(manifest: Manifest, path: str | Path) -> None:
    """Write what `read_manifest` reads, as JSONL or CSV by the suffix of `path`.

    Segments become rows of their own, which `as_segments` joins again. Paths stay as they are: relative to the root.
    """
    path = Path(path)
    rows = [row for example in manifest.examples for row in _rows(example)]
    if all(len(row["labels"]) <= 1 for row in rows):
        rows = [{"path": row["path"], "label": "".join(row["labels"]), **row} for row in rows]
        for row in rows:
            del row["labels"]
    columns = [column for column in COLUMNS if any(row.get(column) not in (None, "", []) for row in rows)]
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix.lower() == ".jsonl":
            for row in rows:
                cells = {column: row[column] for column in columns if row[column] is not None}
                file.write(json.dumps(cells, ensure_ascii=False) + "\n")
            return
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            cells = [row[column] for column in columns]
            writer.writerow(json.dumps(cell, ensure_ascii=False) if isinstance(cell, list) else cell for cell in cells)


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


def _one_row_each(examples: Sequence[Example]) -> tuple[Example, ...]:
    """Rows that give one part of a file several labels, joined: `a.mp4,0,2,rain` and `a.mp4,0,2,wind`."""
    joined: dict[Example, int] = {}
    kept: list[Example] = []
    for example in examples:
        part = replace(example, labels=())
        place = joined.get(part)
        timed = example.start is not None or example.end is not None
        if place is None or not timed or not kept[place].labels or not set(example.labels) - set(kept[place].labels):
            joined.setdefault(part, len(kept))
            kept.append(example)
        else:
            kept[place] = replace(part, labels=tuple(dict.fromkeys((*kept[place].labels, *example.labels))))
    return tuple(kept)


def table_text(path: Path) -> str:
    """The text of a table.

    Raises:
        ManifestError: it cannot be read, or is not in UTF-8.
    """
    try:
        return _bytes(path).decode("utf-8-sig")  # a name may hold a "\r", which reading as text would change
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: expected a table in UTF-8, {error}: save it as UTF-8") from None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None


def rows_of(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Number of the line, and cells by column, of every row of a table, which is JSONL by the suffix of its name.

    Raises:
        ManifestError: it is no table.
    """
    return jsonl_rows(path, text) if path.suffix.lower() in (".jsonl", ".ndjson") else table_rows(path, text)


def _as_place(path: Path, line: int, row: Mapping[str, Any], column: str) -> Mapping[str, Any]:
    """The row of a table of texts with the text's place as its path: "reviews.csv!text!12"."""
    others = {name: cell for name, cell in row.items() if name != column}
    try:
        json.dumps(others, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ManifestError(f"{path}, line {line}: expected UTF-8, got {others!a}: save it as UTF-8") from None
    return others | {"path": f"{path.name}!{column}!{line}"}


def table_rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Number of the line, and cells by column, of every row below the header of a table.

    Raises:
        ManifestError: a row does not fit the header.
    """
    header = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",\t;", key=header.count))
    try:
        columns = [column.strip() for column in next(reader, [])]
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(columns):
                raise ManifestError(
                    f"{path}, line {reader.line_num}: expected {len(columns)} cells as in the header, found "
                    f"{len(cells)}: put cells that hold the separator in quotes"
                )
            yield reader.line_num, dict(zip(columns, cells, strict=False))
    except csv.Error as error:
        raise ManifestError(f"{path}, line {reader.line_num}: expected a table, {error}") from None


def jsonl_rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Number of the line, and the object, of every line that is not empty. Errors as of `table_rows`."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ManifestError(f"{path}, line {number}: expected one JSON object a line: {error}") from None
        if not isinstance(row, dict):
            raise ManifestError(f"{path}, line {number}: expected a JSON object, found {type(row).__name__}")
        yield number, row


def _check_columns(path: Path, found: Iterable[str], config: ManifestConfig) -> str | None:
    """The column that holds labels, None where there is none."""
    found = list(found)
    known = {*COLUMNS, config.label_column, config.group_column}
    unknown = [column for column in found if column not in known]

    def missing(column: str) -> ManifestError:
        near = difflib.get_close_matches(column, unknown, n=1, cutoff=0.7)
        texts = f" (or, for texts, a column {config.text_column!r})" if column == "path" else ""
        meant = f"; did you mean {column!r} where the table says {near[0]!r}?" if near else ""
        return ManifestError(f"{path}: expected a column {column!r}{texts}, found {found}{meant}")

    if "path" not in found:
        raise missing("path" if config.text_column == ManifestConfig.text_column else config.text_column)
    label = next((column for column in (config.label_column, "labels") if column in found), None)
    if label is None and (
        config.label_column != "label" or difflib.get_close_matches("label", unknown, n=1, cutoff=0.7)
    ):
        raise missing(config.label_column)
    if config.group_column != "group" and config.group_column not in found:
        raise missing(config.group_column)
    for column in ("start", "end", "group", "split", "view"):
        near = difflib.get_close_matches(column, unknown, n=1, cutoff=0.8)
        if column not in found and near:
            warnings.warn(f"{path}: the column {near[0]!r} is ignored; did you mean {column!r}?", stacklevel=3)
    return label


def _example(where: str, row: Mapping[str, Any], label: str | None, group_column: str) -> Example:
    path = _text(row.get("path"))
    if path is None:
        raise ManifestError(f"{where}: expected a path, found an empty cell")
    split = _text(row.get("split"))
    if split is not None and split.lower() not in SPLIT_NAMES:
        raise ManifestError(f"{where}: split must be one of {sorted(SPLIT_NAMES)} or empty, found {split!r}")
    start, end = read_span(where, row)
    return Example(
        path=path.replace("\\", "/"),
        labels=() if label is None else _labels(where, row.get(label), several=label == "labels"),
        start=start,
        end=end,
        group=_text(row.get(group_column)),
        split=None if split is None else SPLIT_NAMES[split.lower()],
        view=_text(row.get("view")),
    )


def read_span(where: str, row: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """`start` and `end` of a row in seconds, None where a cell is empty.

    Raises:
        ManifestError: a cell holds no seconds, or the end does not come after the start.
    """
    start, end = _seconds(where, "start", row.get("start")), _seconds(where, "end", row.get("end"))
    if end is not None and end <= (start or 0.0):
        raise ManifestError(f"{where}: end must be greater than start, found start={start} end={end}")
    return start, end


def _labels(where: str, cell: Any, several: bool) -> tuple[str, ...]:
    if several and isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            cell = json.loads(cell)
        except json.JSONDecodeError as error:
            raise ManifestError(f"{where}: labels in brackets must be a JSON list, found {cell!r}: {error}") from None
    parts = cell if isinstance(cell, list) else cell.split(";") if several and isinstance(cell, str) else [cell]
    if any(isinstance(part, dict | list) for part in parts):
        raise ManifestError(f"{where}: a label must be text or a number, found {cell!r}")
    return tuple(text for part in parts if (text := _text(part)) is not None)


def _text(cell: Any) -> str | None:
    return None if cell is None else str(cell).strip() or None


def _seconds(where: str, column: str, cell: Any) -> float | None:
    text = _text(cell)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ManifestError(f"{where}: {column} must be seconds from 0, found {text!r}")
    return seconds


def _rows(example: Example) -> Iterator[dict[str, Any]]:
    parts: list[tuple[float | None, float | None, tuple[str, ...]]] = [
        (segment.start, segment.end, (segment.label,)) for segment in example.segments
    ]
    if example.labels or not parts:
        parts.insert(0, (example.start, example.end, example.labels))
    for start, end, labels in parts:
        yield {
            "path": example.path,
            "labels": list(labels),
            "start": start,
            "end": None if end == math.inf else end,
            "group": example.group,
            "split": example.split,
            "view": example.view,
        }
