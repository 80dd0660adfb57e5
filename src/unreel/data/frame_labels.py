"""Frame labels: what holds in which frame, told by files that lie beside the films.

    root/scene_7.npy  root/category_7.npy    pairs of arrays: frames (T, C, H, W), and labels (K, 1, T, 1) of 0 and 1,
                                             a row for each of K heads
    root/heads.txt                           names of the heads of pairs, one a line; else cat_0, cat_1, ...
    root/a.mp4  root/a.csv                   a table beside each film: start, end, label, with or without such a header
    root/train|val|test/...                  outer folders that are all named like sides of a split are the split

All of them become segments, as rows of a manifest do (`manifest.py`), so there is one way to ask what holds at a time.
A film whose labels are missing or do not fit is no example but stands in `Manifest.broken`, with the reason.

What this file is not: of films it opens the headers alone, to know their times; no frame is decoded.

Shape letters: T frames, K heads.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from unreel.data.manifest import SPLIT_NAMES, Example, Manifest, Segment
from unreel.data.manifest_files import read_span, table_rows, table_text
from unreel.data.readers import Reading, is_readable_name, open_source
from unreel.data.readers.tables import is_table_name
from unreel.data.sampling import within
from unreel.errors import ManifestError, ReadError
from unreel.natural import natural_key

SCENE, CATEGORY, HEADS = "scene_", "category_", "heads.txt"
_COLUMNS = ("start", "end", "label")


def labelled_beside(root: Path, files: Sequence[PurePosixPath]) -> Manifest | None:
    """The manifest of films with labels beside them; None where `files` are neither pairs nor films with tables.

    Args:
        root: the folder.
        files: all files below it, relative to it.

    Raises:
        ManifestError: no film is left, or heads.txt does not name the heads.
    """
    if any(map(_is_scene, files)) and any(is_category(file) for file in files):
        manifest = _pairs(root, files)
    elif _tables(files):
        manifest = _films_with_tables(root, files)
    else:
        return None
    if not manifest.examples:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in list(manifest.broken.items())[:3])
        count = len(manifest.broken)
        raise ManifestError(f"{root}: expected films with labels beside them, none of {count} can be used: {reasons}")
    return _on_sides(manifest)


def is_category(file: PurePosixPath | Path) -> bool:
    """Whether the name says that a file holds labels of a pair, not frames."""
    return file.name.startswith(CATEGORY) and file.suffix == ".npy"


def is_film_name(file: PurePosixPath | Path) -> bool:
    """Whether the name is one of a file of frames that may have a table beside it: not of a table itself."""
    return is_readable_name(str(file)) and not is_table_name(str(file))


def frame_times(path: str | Path, example: Example, reading: Reading | None = None) -> Tensor:
    """(T,) float64 seconds of the frames of an example, without decoding them; none where the file cannot be read."""
    try:
        with open_source(path, reading) as source:
            return source.times[within(source.times, example.start, example.end)]
    except ReadError:  # it is left out of training for the same reason
        return torch.zeros(0, dtype=torch.float64)


def at_once(examples: Iterable[Example]) -> str:
    """Where two labels hold at the same time, as text: "a.mp4: rain and wind at 3.0 s"; empty where none do."""
    for example in examples:
        until: dict[str, float] = {}
        for segment in sorted(example.segments, key=lambda segment: segment.start):
            for label, end in until.items():
                if segment.label and label != segment.label and end > segment.start:
                    return f"{example.path}: {label} and {segment.label} at {segment.start} s"
            if segment.label:
                until[segment.label] = max(segment.end, until.get(segment.label, 0.0))
    return ""


def _on_sides(manifest: Manifest) -> Manifest:
    """The same manifest; where all films lie in folders named like sides of the split, they know their side."""
    outer = [PurePosixPath(example.path).parts[0].lower() for example in manifest.examples]
    if not all(name in SPLIT_NAMES for name in outer):
        return manifest
    pairs = zip(manifest.examples, outer, strict=True)
    return replace(manifest, examples=tuple(replace(example, split=SPLIT_NAMES[name]) for example, name in pairs))


def _is_scene(file: PurePosixPath) -> bool:
    return file.name.startswith(SCENE) and file.suffix == ".npy"


def _partner(file: PurePosixPath) -> PurePosixPath:
    """The labels of a scene, or the scene of labels."""
    old, new = (SCENE, CATEGORY) if _is_scene(file) else (CATEGORY, SCENE)
    return file.with_name(new + file.name.removeprefix(old))


def _pairs(root: Path, files: Sequence[PurePosixPath]) -> Manifest:
    here = set(files)
    broken: dict[str, str] = {}
    held: dict[PurePosixPath, tuple[Tensor, Tensor]] = {}
    for file in sorted(filter(lambda file: _is_scene(file) or is_category(file), files), key=_by_name):
        if _partner(file) not in here:
            broken[str(file)] = f"expected {_partner(file).name} beside it, there is none"
        elif _is_scene(file):
            try:
                held[file] = _read_pair(root, file)
            except ReadError as error:
                broken[str(file)] = error.reason
    names = _head_names(root, [len(labels) for labels, _ in held.values()])
    examples = []
    for file, (labels, times) in held.items():
        if len(labels) == len(names):
            rows = zip(names, labels, strict=True)
            segments = tuple(Segment(*run, name) for name, row in rows for run in _runs(row, times))
            examples.append(Example(str(file), segments=segments))
        else:
            shape = (len(labels), 1, len(times), 1)
            broken[str(file)] = f"expected {_partner(file).name} of {len(names)} heads like the others, got {shape}"
    return Manifest(root, tuple(examples), heads=names, broken=broken)


def _read_pair(root: Path, scene: PurePosixPath) -> tuple[Tensor, Tensor]:
    """Labels (K, T), 0 or 1, and times (T,) of a scene.

    Raises:
        ReadError: one of the two cannot be read, or they do not fit.
    """
    category = _partner(scene)
    with open_source(root / scene) as frames:
        shape, times = (len(frames), *frames.frame_shape), frames.times
    try:
        with open_source(root / category) as rows:
            labels = rows.read(range(len(rows)))
    except ReadError as error:
        raise ReadError(scene, f"{category.name}: {error.reason}") from error
    if labels.shape[1:] != (1, len(times), 1):
        wanted = f"{category.name} of (heads, 1, {len(times)}, 1), for {scene.name} is {shape}"
        raise ReadError(scene, f"expected {wanted}; got {tuple(labels.shape)}")
    labels = labels[:, 0, :, 0]
    odd = ((labels != 0) & (labels != 1)).nonzero()
    if len(odd):
        head, frame = odd[0].tolist()
        value = labels[head, frame].item()
        raise ReadError(scene, f"expected 0 or 1 in {category.name}, got {value} in row {head}, frame {frame}")
    return labels, times


def _runs(row: Tensor, times: Tensor) -> list[tuple[float, float]]:
    """Seconds of each run of ones in (T,), from its first frame to the frame after its last."""
    edges = torch.diff(row != 0, prepend=row.new_zeros(1) != 0, append=row.new_zeros(1) != 0).nonzero().flatten()
    ends = [*times.tolist(), math.inf]
    return [(ends[begin], ends[end]) for begin, end in edges.reshape(-1, 2).tolist()]


def _head_names(root: Path, counts: Sequence[int]) -> tuple[str, ...]:
    """The names in heads.txt, or cat_0, cat_1, ... for as many heads as most films have."""
    file = root / HEADS
    if not file.is_file():
        most = Counter(counts).most_common(1)
        return tuple(f"cat_{index}" for index in range(most[0][0] if most else 0))
    names = tuple(line.strip() for line in table_text(file).splitlines() if line.strip())
    if len(set(names)) != len(names) or (counts and len(names) not in counts):
        found = sorted(set(counts))
        raise ManifestError(f"{file}: expected a different name on each line for {found} heads, found {list(names)}")
    return names


def _tables(files: Iterable[PurePosixPath]) -> set[PurePosixPath]:
    """The tables that lie beside a film of the same name."""
    films = {file.with_suffix("") for file in files if is_film_name(file)}
    return {file for file in files if file.suffix.lower() == ".csv" and file.with_suffix("") in films}


def _films_with_tables(root: Path, files: Sequence[PurePosixPath]) -> Manifest:
    tables = {table.with_suffix(""): table for table in _tables(files)}
    broken: dict[str, str] = {}
    examples = []
    for file in sorted(files, key=_by_name):
        table = tables.get(file.with_suffix(""))
        if is_film_name(file) and table is not None:
            try:
                examples.append(Example(str(file), segments=_read_table(root / table)))
            except ManifestError as error:
                broken[str(file)] = str(error)
        elif is_film_name(file):
            broken[str(file)] = f"expected its labels in {file.with_suffix('.csv').name} beside it, there is none"
        elif file.suffix.lower() == ".csv" and table is None:
            broken[str(file)] = "expected a film of the same name beside it, there is none"
    return Manifest(root, tuple(examples), broken=broken)


def _read_table(path: Path) -> tuple[Segment, ...]:
    """Segments of a table with the columns start, end, label; or of one that has three columns and no header."""
    text = table_text(path)
    first = text.split("\n", 1)[0]
    separator = max(",\t;", key=first.count)
    added = 0
    if _is_number(first.split(separator)[0]):  # no header
        text, added = separator.join(_COLUMNS) + "\n" + text, 1
    segments: dict[Segment, None] = {}
    for line, row in table_rows(path, text):
        where = f"{path.name}, line {line - added}"
        if missing := [column for column in _COLUMNS if column not in row]:
            raise ManifestError(f"{where}: expected {', '.join(_COLUMNS)}, there is no {', '.join(missing)}")
        start, end = read_span(where, row)
        segments[Segment(start or 0.0, math.inf if end is None else end, row["label"].strip())] = None
    unknown = {(segment.start, segment.end) for segment in segments if not segment.label}
    for segment in segments:
        if segment.label and (segment.start, segment.end) in unknown:
            raise ManifestError(f"{path.name}: expected {segment.label} or nothing from {segment.start} s, found both")
    return tuple(segments)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _by_name(file: PurePosixPath) -> tuple[list[tuple[int, int, str]], str]:
    return natural_key(str(file))
