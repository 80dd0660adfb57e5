"""Gallery: clips with the caption that was written of them, word by word, and the captions that people wrote.

The best and the worst by CIDEr-D, and some drawn by chance, since the best are no sample. Where the model attends, each
word stands below the place that it looked at, in the frame that it looked at most.

Shape letters: T frames, P places of the encoder's map, C channels, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unreel.clip import Clip
from unreel.data import ClipDataset, Example
from unreel.reports.captions import cider_d_of, written
from unreel.reports.looks import find_grid, look_at
from unreel.reports.pictures import Pictures, address, as_bytes, pictures
from unreel.reports.results import Results

SHOWN = 6
"""Clips of each kind."""
_ALONE, _TILE = 240, 72  # pixels: height of a single picture, of a place looked at


@dataclass(frozen=True)
class Written:
    """One word of a caption.

    Args:
        text: the word.
        probability: that the model gave it, after the words before it.
        picture: address of where it looked; empty where the model does not attend.
        frame: which frame that is, from 0; None where there is one only.
    """

    text: str
    probability: float
    picture: str
    frame: int | None


@dataclass(frozen=True)
class Captioned:
    """One clip: where it is, its pictures, what was written, its CIDEr-D as text, and what people wrote."""

    file: str
    pictures: Pictures
    words: tuple[Written, ...]
    score: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class Gallery:
    """Clips by heading, and whether words have pictures of where they looked."""

    groups: tuple[tuple[str, tuple[Captioned, ...]], ...]
    attends: bool


def gallery(results: Results) -> Gallery | None:
    """Clips of the test side; None where nothing was written."""
    rows = written(results)
    if not rows:
        return None
    groups = [
        (heading, tuple(_captioned(results, row) for row in several))
        for heading, several in zip(("Best by CIDEr-D", "Worst by CIDEr-D", "By chance"), chosen(rows), strict=True)
        if several
    ]
    attends = any(word.picture for _, clips in groups for clip in clips for word in clip.words)
    return Gallery(tuple(groups), attends)


def chosen(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], ...]:
    """The best, the worst and others by chance, `SHOWN` of each at most, no clip twice.

    Of equally bad ones those of which the model is surest come first. Chance is in the names of files: the same clips
    are shown of every run.
    """
    scored = sorted((row for row in rows if cider_d_of(row) is not None), key=_rank, reverse=True)
    count = min(SHOWN, len(scored) // 2)
    best, worst = scored[:count], scored[len(scored) - count :][::-1]
    shown = {id(row) for row in (*best, *worst)}
    rest = sorted((row for row in rows if id(row) not in shown), key=_chance)
    return best, worst, rest[:SHOWN]


def lightened(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of captions as a run keeps them: where words looked stands only in those of clips that the gallery shows.

    Of a film that is a number for each place of each frame, word by word: of a thousand films a hundred megabytes.
    """
    shown = {id(row) for several in chosen(rows) for row in several}
    return [row if id(row) in shown else _without_attention(row) for row in rows]


def _without_attention(row: Mapping[str, Any]) -> Mapping[str, Any]:
    captions = [
        caption | {"words": [{key: word[key] for key in word if key != "attention"} for word in caption["words"]]}
        for caption in row["captions"]
    ]
    return {**row, "captions": captions}


def _rank(row: Mapping[str, Any]) -> tuple[float, float]:
    return cider_d_of(row) or 0.0, -(row.get("score") or 0.0)


def _chance(row: Mapping[str, Any]) -> bytes:
    name = f"{row.get('file')}@{row.get('start')}-{row.get('end')}"
    return sha256(name.encode("utf-8", "backslashreplace")).digest()


def _captioned(results: Results, row: Mapping[str, Any]) -> Captioned:
    file, start, end = str(row.get("file", "")), row.get("start"), row.get("end")
    shown = pictures(results.data_root, file, start, end, reading=results.reading, alone=_ALONE)
    said = (row.get("captions") or [{}])[0].get("words") or [{"word": word} for word in row["caption"].split()]
    attended = [np.asarray(word["attention"], dtype=float) for word in said if word.get("attention") is not None]
    frames = _seen(results, row) if attended and len(attended) == len(said) and not shown.missing else None
    words = []
    for number, word in enumerate(said):
        picture, frame = _looked(frames, attended[number]) if frames is not None else ("", None)
        words.append(Written(str(word["word"]), math.exp(min(word.get("log_prob", 0.0), 0.0)), picture, frame))
    mark = cider_d_of(row)
    score = "" if mark is None else f"CIDEr-D {mark:.2f}"
    return Captioned(file, shown, tuple(words), score, tuple(row.get("truth") or ()))


def _seen(results: Results, row: Mapping[str, Any]) -> NDArray[np.uint8] | None:
    """Frames (T, H, W, 1 or 3) as the model saw them; None where they can no longer be read, or are no pictures."""
    example = Example(str(row["file"]), start=row.get("start"), end=row.get("end"))
    root = results.data_root
    if root is None:
        return None
    clip = ClipDataset([example], root, results.sampling, results.preprocess, reading=results.reading)[0, 0]
    return as_bytes(clip.frames.numpy()) if isinstance(clip, Clip) and clip.frames.ndim == 4 else None


def _looked(frames: NDArray[np.uint8], attention: NDArray[np.float64]) -> tuple[str, int | None]:
    """The frame that a word looked at most, with the place in it; nothing where frames and weights (T, P) differ."""
    if attention.ndim != 2 or len(attention) != len(frames):
        return "", None
    picture, frame = look_at(frames, attention.reshape(len(frames), *find_grid(attention.shape[1], frames.shape[1:3])))
    return address(picture, _TILE), frame if len(frames) > 1 else None
