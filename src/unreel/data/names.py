"""Names: what the name of a file says of its clip: its label, its group, its side of the split.

One regular expression with named groups, searched in each path, says where it stands:

    (?P<label>\\d)_(?P<group>[a-z]+)_\\d+\\.wav             3_anna_17.wav is a 3, said by anna
    (?P<label>\\d)_[a-z]+_(?:(?P<test>[0-4])|\\d+)\\.wav    3_anna_4.wav is a 3 to be measured on, 3_anna_17.wav is not

`label`, `group` and `split` give what they match; of `train`, `val` and `test` the one that takes part in the match
names the side, and where none does it is train.

What this file is not: class folders are `folders.py`, tables `manifest_files.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from unreel.data.manifest import SPLIT_NAMES, Example, Manifest
from unreel.errors import ManifestError

SIDES = ("train", "val", "test")


def named(manifest: Manifest, pattern: str | None) -> Manifest:
    """The same manifest, with what `pattern` finds in each path in place of what was said.

    A clip in whose path it is not found is no example but stands in `broken`. None leaves all as it is.

    Args:
        manifest: the clips.
        pattern: a regular expression as `ManifestConfig` has it.

    Raises:
        ManifestError: it is found in no path at all, or what it finds as `split` is no side of one.
    """
    if pattern is None:
        return manifest
    examples: list[Example] = []
    broken: dict[str, str] = {}
    for example in manifest.examples:
        match = re.search(pattern, example.path)
        if match is None:
            broken[example.path] = f"expected a name in which the pattern {pattern!r} is found"
        else:
            examples.append(_told(example, match.groupdict()))
    if not examples:
        first = manifest.examples[0].path
        raise ManifestError(
            f"the pattern {pattern!r} is found in none of {len(manifest)} paths, for instance not in {first!r}: "
            "change it"
        )
    return replace(manifest, examples=tuple(examples), broken={**manifest.broken, **broken})


def says_labels(pattern: str | None) -> bool:
    """Whether labels stand in the names, so that no folder needs to tell them."""
    return pattern is not None and "label" in re.compile(pattern).groupindex


def _told(example: Example, found: Mapping[str, str | None]) -> Example:
    if "label" in found:
        label = found["label"]
        example = replace(example, labels=() if label is None else (label,))
    if "group" in found:
        example = replace(example, group=found["group"])
    if (side := found.get("split")) is not None:
        if side.lower() not in SPLIT_NAMES:
            raise ManifestError(f"{example.path}: split must be one of {sorted(SPLIT_NAMES)}, the name has {side!r}")
        return replace(example, split=SPLIT_NAMES[side.lower()])
    if found.keys() & set(SIDES):
        return replace(example, split=next((side for side in SIDES if found.get(side) is not None), "train"))
    return example
