"""Captions: several sentences about one picture or clip, as the labels of one example.

So all captions of a clip stay on one side of a split. They are kept as they were written, but for white space around
them; also those that stand there twice, since measures count every reference.

A caption without a letter or a digit says nothing: it is dropped and counted. A clip that has none left is no example.

What this file is not: it knows no format (`manifest_files.py`, `caption_sets.py`) and no words (`tokens.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from unreel.data.manifest import Example, Manifest
from unreel.errors import ManifestError


def with_captions(root: Path, rows: Iterable[Example], broken: Mapping[str, str] | None = None) -> Manifest:
    """The manifest of examples with captions, those of one clip joined in their order.

    Args:
        root: the folder that paths start from.
        rows: each with some of the captions of its clip as labels, perhaps none. A clip may have several rows.
        broken: path and reason of clips that are no examples already.

    Raises:
        ManifestError: rows of one clip say different groups or sides of the split.
    """
    clips: dict[str, Example] = {}
    captions: dict[str, list[str]] = {}
    for row in rows:
        clip = clips.setdefault(row.key, replace(row, labels=()))
        for column in ("group", "split"):
            if getattr(clip, column) != getattr(row, column):
                found = sorted({str(getattr(clip, column)), str(getattr(row, column))})
                raise ManifestError(f"the captions of one clip need one {column}, those of {row.key!r} have {found}")
        captions.setdefault(row.key, []).extend(row.labels)
    kept = {key: tuple(text for one in said if says(text := one.strip())) for key, said in captions.items()}
    without = {
        key: f"expected a caption, found {f'{len(said)} empty' if said else 'none'}"
        for key, said in captions.items()
        if not kept[key]
    }
    return Manifest(
        root,
        tuple(replace(clip, labels=kept[key]) for key, clip in clips.items() if kept[key]),
        broken={**(broken or {}), **without},
        captions=True,
        empty=sum(len(said) - len(kept[key]) for key, said in captions.items()),
    )


def says(caption: str) -> bool:
    """Whether it holds a letter or a digit of any script, and can be written as UTF-8."""
    try:
        caption.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates, which JSON can hold
        return False
    return any(letter.isalnum() for letter in caption)
