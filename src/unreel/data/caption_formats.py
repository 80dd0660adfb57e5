"""Caption formats: what a published file of captions says, told by its content.

    JSON, COCO         images (id, file_name), annotations (image_id, caption)
    JSON, Karpathy     images (filename, perhaps filepath, split, sentences with raw); restval is learned from
    JSON, MSR-VTT      videos (video_id, split), sentences (video_id, caption)
    table, Flickr      header `image,caption`, or `image_name| comment_number| comment`
    lines, Flickr      name.jpg#0 <tab> caption
    table, MSVD        columns VideoID, Start, End, Language, Description: of the film VideoID_Start_End
    lines, MSVD        VideoID_Start_End caption; lines that begin with # are passed over

What this file is not: it looks for no picture (`caption_sets.py`); a manifest's own captions are `manifest_files.py`.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unreel.data.manifest import SPLIT_NAMES
from unreel.data.manifest_files import table_rows, table_text
from unreel.errors import ManifestError

SUFFIXES = (".json", ".csv", ".txt", ".token")
"""Names of files that may be one of these."""
EXPECTED = "captions as COCO, Karpathy, Flickr, MSVD or MSR-VTT have them"

_HEAD = 4096  # bytes that tell what lines and tables hold
_SIDES = {**SPLIT_NAMES, "restval": "train", "validate": "val"}
_TABLE = re.compile(r'"?image(_name)?"?\s*[,|](.*[,|])?\s*"?(caption|comment)"?\s*', re.IGNORECASE)
_TOKEN = re.compile(r"([^\t]+)#\d+\t(.*)")
_NUMBERED = re.compile(r"\s*\d+\s*\|?\s*(.*)")  # a line of Flickr30k's table lacks the second separator
_MSVD = re.compile(r"([\w-]{11}_\d+_\d+)\s+(.*)")
_MSVD_COLUMNS = {"VideoID", "Start", "End", "Language", "Description"}


@dataclass(frozen=True)
class Told:
    """What a file says of one picture or film.

    Args:
        name: as it stands there, perhaps with folders, perhaps without a suffix.
        captions: perhaps none, perhaps empty ones.
        split: the side that is stated.
        source: of a film that was cut from a longer one, that.
    """

    name: str
    captions: tuple[str, ...]
    split: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class CaptionFile:
    """What a file holds.

    Args:
        path: of the file.
        kind: "coco", "karpathy", "msr_vtt", "flickr" or "msvd".
        told: in its order; of one picture perhaps several.
        broken: places in it, or names, that cannot be used, and why.
    """

    path: Path
    kind: str
    told: tuple[Told, ...]
    broken: Mapping[str, str] = field(default_factory=dict)


def read_captions(path: Path, language: str | None) -> CaptionFile | None:
    """The captions of a file; None where it holds none of these formats.

    Args:
        path: the file.
        language: of MSVD's table, the captions that are taken; None for all.

    Raises:
        ManifestError: it cannot be read, or is one of these and broken.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _json(path)
    if suffix not in SUFFIXES:
        return None
    head = _head(path)
    first = next((line for line in head if line.strip() and not line.startswith("#")), "")
    if _TABLE.fullmatch(first):
        return _flickr_table(path)
    if _TOKEN.match(first):
        return _lines(path, "flickr", _TOKEN, "NAME#NUMBER, a tab and a caption")
    if {column.strip(' "') for column in re.split(r"[,;\t]", first)} >= _MSVD_COLUMNS:
        return _msvd_table(path, language)
    if _MSVD.match(first):
        return _lines(path, "msvd", _MSVD, "VIDEO_START_END and a caption")
    return None


def _head(path: Path) -> Sequence[str]:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD).decode("utf-8-sig", "replace").splitlines()
    except OSError:  # whoever wants the file will tell
        return ()


def _json(path: Path) -> CaptionFile | None:
    text = table_text(path)
    if not any(word in text for word in ('"caption"', '"sentences"')):
        return None
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ManifestError(f"{path}: expected {EXPECTED}, this JSON is broken: {error}") from None
    if not isinstance(found, dict):
        return None
    for kind, read, keys in (
        ("coco", _coco, ("images", "annotations")),
        ("msr_vtt", _msr_vtt, ("videos", "sentences")),
        ("karpathy", _karpathy, ("images",)),
    ):
        if all(isinstance(found.get(key), list) for key in keys):
            broken: dict[str, str] = {}
            try:
                told = tuple(read(found, broken))
            except (KeyError, TypeError, AttributeError) as error:
                raise ManifestError(f"{path}: expected {EXPECTED}, an entry lacks what it must have: {error}") from None
            return CaptionFile(path, kind, told, broken)
    return None


def _coco(found: Mapping[str, Any], broken: dict[str, str]) -> Iterator[Told]:
    captions = _by_id(found["annotations"], "image_id")
    for image in found["images"]:
        yield Told(str(image["file_name"]), captions.pop(image["id"], ()))
    for key, orphans in captions.items():
        broken[f"image_id {key}"] = f"expected an image of this id, there is none for {len(orphans)} captions"


def _msr_vtt(found: Mapping[str, Any], broken: dict[str, str]) -> Iterator[Told]:
    captions = _by_id(found["sentences"], "video_id")
    for video in found["videos"]:
        name = video["video_id"]
        source = video.get("url")
        yield Told(str(name), captions.pop(name, ()), _side(video, str(name)), None if source is None else str(source))
    for key, orphans in captions.items():
        broken[str(key)] = f"expected a video of this video_id, there is none for {len(orphans)} captions"


def _karpathy(found: Mapping[str, Any], broken: dict[str, str]) -> Iterator[Told]:
    for image in found["images"]:
        name = "/".join(filter(None, (image.get("filepath"), image["filename"])))
        yield Told(name, tuple(_text(sentence["raw"]) for sentence in image["sentences"]), _side(image, name))


def _by_id(entries: Iterable[Mapping[str, Any]], key: str) -> dict[Any, tuple[str, ...]]:
    found: dict[Any, list[str]] = {}
    for entry in entries:
        found.setdefault(entry[key], []).append(_text(entry["caption"]))
    return {one: tuple(captions) for one, captions in found.items()}


def _text(caption: Any) -> str:
    return "" if caption is None else str(caption)


def _side(entry: Mapping[str, Any], name: str) -> str | None:
    side = entry.get("split")
    if side is None:
        return None
    if str(side).lower() not in _SIDES:
        raise ManifestError(f"{name}: split must be one of {sorted(_SIDES)}, found {side!r}")
    return _SIDES[str(side).lower()]


def _flickr_table(path: Path) -> CaptionFile:
    text = table_text(path)
    lines = text.split("\n")
    bars = "|" in lines[0]
    rows = (line.split("|", 1) for line in lines) if bars else csv.reader(_with_ends(text))
    told: list[Told] = []
    broken: dict[str, str] = {}
    numbered = bars or lines[0].count(",") > 1
    try:
        for number, cells in enumerate(rows, start=1):
            if number == 1 or not any(cell.strip() for cell in cells):
                continue
            name, rest = cells[0].strip(), ",".join(cells[1:])  # captions with commas stand there without quotes too
            match = re.fullmatch(r"\s*\d+\s*,(.*)", rest, re.DOTALL) if not bars else _NUMBERED.match(rest)
            if not name or len(cells) < 2 or (numbered and match is None):
                broken[f"{path.name}, row {number}"] = f"expected a picture and its caption, found {cells!r}"
            else:
                told.append(Told(name, (match[1] if numbered and match is not None else rest,)))
    except csv.Error as error:
        raise ManifestError(f"{path}: expected a table, {error}") from None
    return CaptionFile(path, "flickr", tuple(told), broken)


def _with_ends(text: str) -> Iterator[str]:
    """The lines of a text with their ends, as `csv.reader` wants them."""
    return iter(re.findall(r"[^\n]*\n|[^\n]+", text))


def _lines(path: Path, kind: str, form: re.Pattern[str], expected: str) -> CaptionFile:
    told: list[Told] = []
    broken: dict[str, str] = {}
    for number, line in enumerate(table_text(path).split("\n"), start=1):
        match = form.match(line)
        if match is not None:
            name = match[1].strip()
            told.append(Told(name, (match[2],), source=name.rsplit("_", 2)[0] if kind == "msvd" else None))
        elif line.strip() and not line.startswith("#"):
            broken[f"{path.name}, line {number}"] = f"expected {expected}, found {line.strip()[:80]!r}"
    return CaptionFile(path, kind, tuple(told), broken)


def _msvd_table(path: Path, language: str | None) -> CaptionFile:
    rows = list(table_rows(path, table_text(path)))
    broken = {
        f"{path.name}, line {number}": f"expected cells for {', '.join(sorted(_MSVD_COLUMNS - row.keys()))}, found none"
        for number, row in rows
        if not row.keys() >= _MSVD_COLUMNS
    }
    whole = [row for _, row in rows if row.keys() >= _MSVD_COLUMNS]
    spoken = sorted({row["Language"] for row in whole})
    if language is not None and language not in spoken:
        raise ManifestError(f"{path}: expected captions in {language!r}, the languages are {', '.join(spoken)}")
    told = (
        Told(f"{row['VideoID']}_{row['Start']}_{row['End']}", (row["Description"],), source=row["VideoID"])
        for row in whole
        if language is None or row["Language"] == language
    )
    return CaptionFile(path, "msvd", tuple(told), broken)
