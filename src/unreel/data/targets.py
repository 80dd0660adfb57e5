"""Targets: numbers over time, told in a cell of the manifest or in a table of their own, as labels of an example.

    path,label                        the label of x/1.csv is the name of a table or .npy array of numbers: a row for
    x/1.csv,y/1.csv                   each frame, or for each step of an answer of its own length
    path,labels                       or the numbers stand in the cell, a step each, with spaces between the numbers of
    x/1.csv,1;0.8;0.6;0;0;0           a step

A table may have a column `time`, which is left out: rows belong to frames by their place. `nan` says that nothing is
known. What this file is not: of clips it opens the headers alone, to know their times.

Shape letters: T frames, L steps, K numbers of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unreel.data.manifest import Example, Manifest, Segment
from unreel.data.readers import open_source
from unreel.data.readers.tables import TIME, is_table_name, read_numbers
from unreel.data.sampling import within
from unreel.errors import ReadError


def values_of_frames(manifest: Manifest) -> Manifest:
    """The same manifest with the numbers of each frame as segments; examples whose numbers do not fit are broken.

    A label that is one row of numbers already holds for the whole clip, and stays.
    """

    def change(example: Example) -> Example:
        rows = _rows(manifest.root, example)
        if rows is None or (len(rows) == 1 and len(example.labels) == 1 and _is_numbers(example.labels[0])):
            return example
        with open_source(manifest.root / example.path) as source:
            times = source.times[within(source.times, example.start, example.end)].tolist()
        if times[0] < 0:  # a manifest knows no seconds before 0
            raise ReadError(example.path, f"expected times from 0 on, got {times[0]}")
        if len(times) != len(rows):
            raise ReadError(example.path, f"expected numbers for each of {len(times)} frames, got {len(rows)} rows")
        ends = [*times[1:], math.inf]
        spans = zip(times, ends, rows, strict=True)
        return replace(example, labels=(), segments=tuple(Segment(begin, end, row) for begin, end, row in spans))

    return _changed(manifest, change)


def values_of_steps(manifest: Manifest, most: int) -> Manifest:
    """The same manifest with a label for each step; examples that say nothing, or of too many steps, are broken.

    Args:
        manifest: its labels are numbers, or the name of a table of them.
        most: L.
    """

    def change(example: Example) -> Example:
        rows = _rows(manifest.root, example)
        if rows is None:
            raise ReadError(example.path, "expected the numbers of its answer, or the name of a table of them")
        if len(rows) > most:
            raise ReadError(example.path, f"expected at most {most} steps, got {len(rows)}: set model.output_length")
        return replace(example, labels=tuple(rows))

    return _changed(manifest, change)


def _changed(manifest: Manifest, change: Callable[[Example], Example]) -> Manifest:
    broken = dict(manifest.broken)
    examples = []
    for example in manifest.examples:
        try:
            examples.append(change(example))
        except ReadError as error:
            broken[example.path] = error.reason
    return replace(manifest, examples=tuple(examples), broken=broken)


def _rows(root: Path, example: Example) -> list[str] | None:
    """Each row of numbers as text; None where the example has no label."""
    labels = example.labels
    if not labels:
        return None
    if len(labels) == 1 and not _is_numbers(labels[0]):
        return [" ".join(map(repr, row)) for row in _table(root / labels[0]).tolist()]
    if odd := [label for label in labels if not _is_numbers(label)]:
        raise ReadError(example.path, f"expected numbers with spaces between them, got {odd[0]!r}")
    return list(labels)


def _table(path: Path) -> NDArray[np.float64]:
    """(L, K) of a table, or of an array."""
    try:
        if is_table_name(path):
            columns, values = read_numbers(path)
            names = [name.lower() for name in columns]
            return np.delete(values, names.index(TIME), axis=1) if TIME in names else values
        with open_source(path) as source:
            shape = source.frame_shape
            if len(shape) == 1:
                return source.read(range(len(source))).double().numpy()
    except ReadError as error:
        raise ReadError(path, f"{path.name}, the numbers of a clip: {error.reason}") from error
    raise ReadError(path, f"expected rows of numbers in {path.name}, got frames of {shape}")


def _is_numbers(label: str) -> bool:
    try:
        return bool([float(text) for text in label.split()])
    except ValueError:
        return False
