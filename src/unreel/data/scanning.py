"""Scan: open every file of a manifest, decode a few frames, and say what is there.

A file that crashes its reader, hangs or cannot be read is listed with the reason. What is decoded is the first, the
middle and the last frame and those at the quarters, so damage between them can go unseen: training then leaves the file
out. Nearly the same pictures are looked for among up to 20,000 files. Texts are read whole and in this process: they
are many and small, and no foreign decoder sees them.

What this file is not: a report's form is `report.py`, how contents are compared `content.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from unreel.data.caption_report import CaptionReport
from unreel.data.content import frame_hash, near_pairs, same_content
from unreel.data.isolated import Lost, isolated
from unreel.data.manifest import Example, Manifest, labels_of
from unreel.data.readers import Reading, open_source
from unreel.data.readers.text import TextSource, reads_text
from unreel.data.report import DataReport, FileReport, WordReport
from unreel.data.splits import as_numbers
from unreel.data.transforms import is_images
from unreel.errors import ReadError

FEW = 10
"""A label of fewer clips than this counts as small."""
NEAR_AMONG = 20_000
"""Nearly the same pictures are looked for among so many files at most: their pairs grow with the square of it."""


class _Seen(NamedTuple):
    file: FileReport
    hashes: NDArray[np.bool_] | None
    tokens: Sequence[str] = ()


def scan(
    manifest: Manifest,
    workers: int = 2,
    console: Console | None = None,
    seconds: float = 60.0,
    reading: Reading | None = None,
) -> DataReport:
    """Look at every file of a manifest.

    Args:
        manifest: what to look at; a file that several examples share is opened once.
        workers: processes that open files, at least one.
        console: where progress is drawn; None draws none.
        seconds: a file that takes longer is given up.
        reading: what readers must know besides the file.
    """
    paths = list(dict.fromkeys(example.path for example in manifest.examples))
    files = [path for path in paths if not reads_text(path)]
    look = partial(_look, manifest.root, len(files) <= NEAR_AMONG, reading)
    seen: dict[str, _Seen] = {}
    with _progress(console) as progress:
        task = progress.add_task("looking at files", total=len(paths))
        for number, found in isolated(look, files, max(1, workers), seconds):
            lost = isinstance(found, Lost)
            seen[files[number]] = _Seen(FileReport(files[number], reason=found.reason), None) if lost else found
            progress.advance(task)
        for path in paths:
            if path not in seen:
                seen[path] = _look_at_text(manifest.root, path, reading or Reading())
                progress.advance(task)
    ordered = [seen[path] for path in paths]
    identical = _identical(manifest.root, paths)
    classes = {} if manifest.captions else _classes(manifest.examples)
    return DataReport(
        files=(
            *(one.file for one in ordered),
            *(FileReport(path, reason=reason) for path, reason in manifest.broken.items()),
        ),
        classes=classes,
        small=tuple(name for name, count in classes.items() if count < FEW),
        identical=identical,
        near=_near(ordered, identical),
        words=_words(ordered),
        captions=CaptionReport.of(manifest, (reading or Reading()).text),
    )


def _look(root: Path, near: bool, reading: Reading | None, path: str) -> _Seen:
    """What one file holds, with hashes of its pictures where near ones are looked for. Runs in a process of its own."""
    try:
        with open_source(root / path, reading) as source:
            count = len(source)
            if count == 0:
                raise ReadError(path, "expected at least one frame, found none")
            frames = source.read([0, count // 4, count // 2, count * 3 // 4, count - 1])
            times = source.times
    except ReadError as error:
        return _Seen(FileReport(path, reason=error.reason), None)
    step = float(times.diff().median()) if count > 1 else 0.0
    return _Seen(
        FileReport(
            path=path,
            frames=count,
            seconds=float(times[-1] - times[0]) + step,
            fps=1 / step if step > 0 else None,
            size=tuple(frames.shape[1:]),
        ),
        _hashes(frames[1:-1]) if near else None,
    )


def _look_at_text(root: Path, path: str, reading: Reading) -> _Seen:
    try:
        tokens = TextSource(root / path, reading.text).tokens
    except ReadError as error:
        return _Seen(FileReport(path, reason=error.reason), None)
    return _Seen(FileReport(path, frames=len(tokens), seconds=float(len(tokens)), fps=1.0), None, tokens)


def _words(seen: Sequence[_Seen]) -> WordReport | None:
    counts = Counter(token for one in seen for token in one.tokens)
    if not counts:
        return None
    return WordReport(counts.total(), len(counts), sum(count == 1 for count in counts.values()))


def _hashes(frames: Tensor) -> NDArray[np.bool_] | None:
    if not is_images(frames):
        return None
    return frame_hash([frame.movedim(0, -1).squeeze(-1).numpy() for frame in frames])


def _classes(examples: Sequence[Example]) -> dict[str, int]:
    names = [labels_of(example) for example in examples]
    if as_numbers(names) is not None:
        return {}
    counts = Counter(label for labels in names for label in labels)
    return {name: counts[name] for name in Manifest(Path(), tuple(examples)).classes}


def _identical(root: Path, paths: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    same = same_content(root / path for path in paths)
    sets: dict[str, list[str]] = {}
    for path in paths:
        sets.setdefault(same[str(root / path)], []).append(path)
    return tuple(tuple(alike) for alike in sets.values() if len(alike) > 1)


def _near(seen: Sequence[_Seen], identical: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    hashed = [(one.file.path, one.hashes) for one in seen if one.hashes is not None]
    if not hashed:
        return ()
    same = {path: alike[0] for alike in identical for path in alike}
    pairs = [(hashed[i][0], hashed[j][0]) for i, j in near_pairs(np.stack([hashes for _, hashes in hashed]))]
    return tuple((one, other) for one, other in pairs if one not in same or same[one] != same.get(other))


def _progress(console: Console | None) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=console is None,
        transient=True,
    )
