"""Tables that hold a manifest: CSV of any separator, and JSONL, read and written.

What this file is not: what a manifest is stands in `manifest.py`; tables of numbers are frames (`readers/tables.py`).
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unreel.data.captions import with_captions
from unreel.data.manifest import COLUMNS, SPLIT_NAMES, Example, Manifest, ManifestConfig, grouped_by_path
from unreel.errors import ManifestError

CAPTION_COLUMNS = ("caption", "captions")


def read_manifest(path: str | Path, config: ManifestConfig | None = None) -> Manifest:
    """Read a table of examples; its paths start from the table's folder.

    A table of texts gives an example for each row, "table.csv!text!12" after the column and the line. In a table of
    captions a clip may have several rows, each with one caption, or a JSON list of them; no caption is ever divided.

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
    label, captions = _check_columns(path, columns, config)
    read = _captions if captions else _labels
    examples = [_example(f"{path}, line {line}", row, label, config.group_column, read) for line, row in rows]
    manifest = with_captions(path.parent, examples) if captions else Manifest(path.parent, _one_row_each(examples))
    return grouped_by_path(manifest, config.group_from)


def write_manifest(manifest: Manifest, path: str | Path) -> None:
    """Write what `read_manifest` reads, as JSONL or CSV by the suffix of `path`.

    Segments become rows of their own, which `as_segments` joins again; captions a column of JSON lists. Paths stay as
    they are: relative to the root.
    """
    path = Path(path)
    rows = [row for example in manifest.examples for row in _rows(example)]
    if manifest.captions:
        rows = [{**row, "captions": row["labels"], "labels": None} for row in rows]
    elif all(len(row["labels"]) <= 1 for row in rows):
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


def _check_columns(path: Path, found: Iterable[str], config: ManifestConfig) -> tuple[str | None, bool]:
    """The column that holds labels or captions, None where there is none; and whether they are captions."""
    found = list(found)
    known = {*COLUMNS, config.label_column, config.group_column, config.caption_column}
    unknown = [column for column in found if column not in known]

    def missing(column: str) -> ManifestError:
        near = difflib.get_close_matches(column, unknown, n=1, cutoff=0.7)
        texts = f" (or, for texts, a column {config.text_column!r})" if column == "path" else ""
        meant = f"; did you mean {column!r} where the table says {near[0]!r}?" if near else ""
        return ManifestError(f"{path}: expected a column {column!r}{texts}, found {found}{meant}")

    if "path" not in found:
        raise missing("path" if config.text_column == ManifestConfig.text_column else config.text_column)
    label = next((column for column in (config.label_column, "labels") if column in found), None)
    captions = config.caption_column is not None
    if config.caption_column is not None:
        if config.caption_column not in found:
            raise missing(config.caption_column)
        label = config.caption_column
    elif label is None and config.label_column == "label":
        label = next((column for column in CAPTION_COLUMNS if column in found), None)
        captions = label is not None
    if label is None and config.label_column != "label":
        raise missing(config.label_column)
    for column, likeness in (("label", 0.7), ("caption", 0.75)):
        if label is None and difflib.get_close_matches(column, unknown, n=1, cutoff=likeness):
            raise missing(column)
    if config.group_column != "group" and config.group_column not in found:
        raise missing(config.group_column)
    for column in ("start", "end", "group", "split", "view"):
        near = difflib.get_close_matches(column, unknown, n=1, cutoff=0.8)
        if column not in found and near:
            warnings.warn(f"{path}: the column {near[0]!r} is ignored; did you mean {column!r}?", stacklevel=3)
    return label, captions


def _example(
    where: str,
    row: Mapping[str, Any],
    label: str | None,
    group_column: str,
    read: Callable[[str, str, Any], tuple[str, ...]],
) -> Example:
    path = _text(row.get("path"))
    if path is None:
        raise ManifestError(f"{where}: expected a path, found an empty cell")
    split = _text(row.get("split"))
    if split is not None and split.lower() not in SPLIT_NAMES:
        raise ManifestError(f"{where}: split must be one of {sorted(SPLIT_NAMES)} or empty, found {split!r}")
    start, end = read_span(where, row)
    return Example(
        path=path.replace("\\", "/"),
        labels=() if label is None else read(where, label, row.get(label)),
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


def _labels(where: str, column: str, cell: Any) -> tuple[str, ...]:
    several = column == "labels"
    cell = _list_in(where, column, cell) if several else cell
    parts = cell if isinstance(cell, list) else cell.split(";") if several and isinstance(cell, str) else [cell]
    if any(isinstance(part, dict | list) for part in parts):
        raise ManifestError(f"{where}: a label must be text or a number, found {cell!r}")
    return tuple(text for part in parts if (text := _text(part)) is not None)


def _captions(where: str, column: str, cell: Any) -> tuple[str, ...]:
    """Captions of a cell, the empty ones too; a text is one of them, whatever stands in it."""
    cell = _list_in(where, column, cell) if column == "captions" else cell
    parts = cell if isinstance(cell, list) else [cell]
    if any(isinstance(part, dict | list) for part in parts):
        raise ManifestError(f"{where}: a caption must be text, found {cell!r}")
    return tuple("" if part is None else str(part) for part in parts)


def _list_in(where: str, column: str, cell: Any) -> Any:
    """The JSON list that a cell holds, else the cell as it is."""
    if not isinstance(cell, str) or not cell.lstrip().startswith("["):
        return cell
    try:
        return json.loads(cell)
    except json.JSONDecodeError as error:
        raise ManifestError(f"{where}: {column} in brackets must be a JSON list, found {cell!r}: {error}") from None


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
