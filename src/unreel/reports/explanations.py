"""Explanations: why the model said what it said, clip by clip, as a section of a page, from the files of a folder.

What this file is not: it computes no explanation (`unreel.inference.explain`), draws none (`heat_strips.py`), and
writes no file (`explanation_files.py`).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from unreel.reports.results import read_json_lines

ROWS = "explanations.jsonl"
WEAK = 0.2
"""A heat whose rank correlation with occlusion is below this says little."""


@dataclass(frozen=True)
class Explained:
    """One clip in the page.

    Args:
        file: where it is.
        target: what is explained.
        said, truth: what the model said and what is true, as text; empty where it is not known.
        picture: a `data:` address.
        agreement: the rank correlations with occlusion, as text; empty where there are none.
        weak: that of frames, or of a single picture that of its patches, is below `WEAK`.
    """

    file: str
    target: str
    said: str
    truth: str
    picture: str
    agreement: str
    weak: bool


@dataclass(frozen=True)
class Section:
    """What a page shows.

    Args:
        clips: in order.
        left_out: (file, reason) of those that could not be explained.
        verdict: how far heat and occlusion agree over all clips; empty where they cannot be compared.
        of_words: captions are explained, word by word.
    """

    clips: tuple[Explained, ...]
    left_out: tuple[tuple[str, str], ...]
    verdict: str
    of_words: bool


def read_explanations(folder: Path) -> Section | None:
    """What `write_explanations` wrote into a folder; None where there is nothing of it."""
    rows = list(read_json_lines(folder / ROWS))
    if not rows:
        return None
    shown = [row for row in rows if "error" not in row and (folder / row["picture"]).is_file()]
    of_words = any("caption" in row["said"] for row in shown)
    return Section(
        tuple(_explained(row, folder) for row in shown),
        tuple((row["file"], row["error"]) for row in rows if "error" in row),
        _verdict_of_words(shown) if of_words else _verdict(shown),
        of_words,
    )


def _explained(row: Mapping[str, Any], folder: Path) -> Explained:
    found = row["agreement"]
    known = {what: found[what] for what in ("frames", "patches") if found[what] is not None}
    encoded = base64.b64encode((folder / row["picture"]).read_bytes()).decode()
    return Explained(
        file=row["file"] + _seconds(row),
        target=row["target"],
        said=_said(row["said"]),
        truth=" / ".join(row.get("truth") or ()) if "caption" in row["said"] else _text(row.get("truth")),
        picture=f"data:image/png;base64,{encoded}",
        agreement=", ".join(f"{what} {value:.2f}" for what, value in known.items()),
        weak=next(iter(known.values()), 1.0) < WEAK,
    )


def _seconds(row: Mapping[str, Any]) -> str:
    if row.get("start") is None or row.get("end") is None:
        return ""
    return f" · {row['start']:.1f} – {row['end']:.1f} s"


def _said(said: Mapping[str, Any]) -> str:
    """What a task says of a clip as text; nothing for labels of frames, which are too many."""
    if "caption" in said:
        return said["caption"]
    if "label" in said:
        return f"{said['label']} {100 * said['score']:.0f} %"
    if "values" in said:
        return _text(said["values"])
    return _text(said.get("labels")) if "times" not in said else ""


def _text(truth: Any) -> str:
    """A label, several, or numbers; nothing for labels of frames."""
    if isinstance(truth, str):
        return truth
    if not isinstance(truth, Sequence) or any(one is None or isinstance(one, list) for one in truth):
        return ""
    return ", ".join(one if isinstance(one, str) else f"{one:.4g}" for one in truth) or "none"


def _verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    found = [row["agreement"]["frames"] for row in rows if row["agreement"]["frames"] is not None]
    if not found:
        return ""
    weak = sum(value < WEAK for value in found)
    return (
        f"Rank correlation of the heat with what covering each frame costs: median {median(found):.2f} over "
        f"{len(found)} clips; {weak} below {WEAK}, of which the heat says little."
    )


def _verdict_of_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """What words lose where they looked, and where the heat is, beside a place by chance."""
    sentences = []
    for name, what in (("heat", "where its heat is highest"), ("attention", "that it looked at most")):
        lost = [word["covering"][name] for row in rows for word in row["words"] if name in word["covering"]]
        if lost:
            there, anywhere = (round(fmean(one[where] for one in lost), 3) + 0.0 for where in ("there", "anywhere"))
            more = sum(one["there"] > one["anywhere"] for one in lost) / len(lost)
            sentences.append(
                f"Covering the place {what} costs a word {there:.3f} of its log-probability on average, a place by "
                f"chance {anywhere:.3f} ({len(lost)} words); {100 * more:.0f} % of them lose more than by chance."
            )
    return " ".join(sentences)
