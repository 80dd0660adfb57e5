"""Tables of numbers as a source: .csv and .tsv, a row for each frame, a column for each feature.

The first line may name the columns. A column called `time` holds the seconds of the frames, which must grow; without
one, times are the positions 0, 1, 2 ... Columns are separated by commas, tabs or semicolons.

What this file is not: tables of examples, labels or texts are read elsewhere (`manifest_files.py`, `frame_labels.py`).

Shape letters: T frames, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unreel.data.readers.source import Closing, check_indices, one_line
from unreel.errors import ReadError

TIME = "time"
"""The name of the column of seconds."""
SUFFIXES = (".csv", ".tsv")


class Numbers(NamedTuple):
    """A table.

    Args:
        columns: their names; empty where there is no such line.
        values: (rows, columns) float64.
    """

    columns: tuple[str, ...]
    values: NDArray[np.float64]


class TableSource(Closing):
    """The rows of a table as frames (D,).

    Args:
        path: the file.

    Attributes:
        times: (T,) float64.
        columns: names of the D features; empty where the file tells none.

    Raises:
        ReadError: it is no table of finite numbers in UTF-8, or its times do not grow.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        columns, values = read_numbers(self._path)
        odd = np.argwhere(~np.isfinite(values))
        if len(odd):
            line, column = int(odd[0][0]) + (2 if columns else 1), int(odd[0][1]) + 1
            raise ReadError(
                path, f"expected finite numbers, got {values[tuple(odd[0])]} in line {line}, column {column}"
            )
        times = np.arange(len(values), dtype=np.float64)
        names = [name.lower() for name in columns]
        if TIME in names:
            place = names.index(TIME)
            times, values = values[:, place], np.delete(values, place, axis=1)
            columns = columns[:place] + columns[place + 1 :]
            if (np.diff(times) <= 0).any():
                line = int(np.argmax(np.diff(times) <= 0)) + 3
                raise ReadError(path, f"expected times that grow from line to line, they do not in line {line}")
        if values.shape[1] == 0:
            raise ReadError(path, f"expected features beside the column {TIME!r}, there are none")
        self.columns = columns
        self.times = torch.from_numpy(np.ascontiguousarray(times))
        self.frame_shape: tuple[int, ...] = (values.shape[1],)
        self._values: NDArray[np.float32] | None = values.astype(np.float32)

    def __len__(self) -> int:
        return len(self.times)

    def read(self, indices: Sequence[int]) -> Tensor:
        """The rows at `indices`, (n, D) float32.

        Raises:
            ReadError: the source was closed.
            IndexError: an index is outside 0..T-1.
        """
        checked = check_indices(indices, len(self), self._path)
        if self._values is None:
            raise ReadError(self._path, "expected an open table, this one was closed")
        return torch.from_numpy(self._values[checked])

    def close(self) -> None:
        """Forget the numbers."""
        self._values = None


def is_table_name(path: str | Path) -> bool:
    """Whether the name is one of a table."""
    return str(path).lower().endswith(SUFFIXES)


def read_numbers(path: Path) -> Numbers:
    """A table of numbers, `nan` and `inf` among them.

    Raises:
        ReadError: it cannot be read, is not in UTF-8, or holds something that is no number, or nothing.
    """
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ReadError(path, f"expected a table in UTF-8: {one_line(error)}") from error
    except OSError as error:
        raise ReadError(path, f"cannot be read: {one_line(error)}") from error
    first = lines[0] if lines else ""
    separator = max(",\t;", key=first.count)
    cells = [cell.strip().strip('"') for cell in first.split(separator)]
    columns = () if all(map(_is_number, cells)) else tuple(cells)
    rows = lines[1:] if columns else lines
    if not any(row.strip() for row in rows):
        raise ReadError(path, "expected rows of numbers, found none")
    try:
        values = np.loadtxt(rows, delimiter=separator, dtype=np.float64, ndmin=2, comments=None)
    except ValueError as error:
        raise ReadError(path, f"expected numbers with {separator!r} between them: {one_line(error)}") from error
    if columns and len(columns) != values.shape[1]:
        raise ReadError(path, f"expected {len(columns)} numbers a row as in the first line, got {values.shape[1]}")
    return Numbers(columns, values)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
