"""Caption sets: a manifest of a published file of captions, with the pictures or films that it names.

Pictures are looked for beside the file and in folders there, two deep (`images/`, `train2014/`, `images/val2014/`);
of a file in `annotations/` or `captions/`, also beside that folder. A name without a suffix (MSVD, MSR-VTT) is that of
a film with any suffix, or of a folder of frames. Those that are not there are listed in `Manifest.broken`.

Sides of the split are those that the file states, or that lists of names beside it do: `Flickr_8k.trainImages.txt`,
`train_list.txt`, and the same of val or dev, and of test. A picture in none of the lists is left out. A folder with
COCO's files for train and for val has these sides; as its test captions are kept secret, val is what is measured on.
Where no side is stated, films that were cut from one longer film (MSVD, MSR-VTT) are one group, that no split divides;
the published sides do divide some.

What this file is not: formats are `caption_formats.py`; which captions count is `captions.py`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from unreel.data.caption_formats import EXPECTED, SUFFIXES, CaptionFile, Told, read_captions
from unreel.data.captions import with_captions
from unreel.data.manifest import SPLIT_NAMES, Example, Manifest, ManifestConfig
from unreel.data.manifest_files import table_text
from unreel.data.readers import READERS, is_readable_name
from unreel.data.readers.tables import is_table_name
from unreel.errors import ManifestError

_FOLDERS = ("annotations", "captions", "flickr8k_text")
_DEEP = 2
_SIDE = re.compile(r"(?:^|[._-])(train|dev|val|test)(?:[._-]|images|20\d\d|$)")
_SUFFIX_ORDER = {suffix: number for number, suffix in enumerate(READERS)}


def captioned_file(path: Path, config: ManifestConfig) -> Manifest | None:
    """The manifest of one file of captions; None where it is none of the formats.

    Raises:
        ManifestError: it is a JSON of something else, is broken, or none of its pictures can be used.
    """
    found = read_captions(path, config.language)
    if found is None:
        if path.suffix.lower() == ".json":
            raise ManifestError(f"{path}: expected {EXPECTED}, this JSON holds something else")
        return None
    beside = (path.parent, path.parent.parent) if _is_beside(path.absolute().parent.name) else (path.parent,)
    return _manifest(path.parent, (found,), beside)


def captioned_folder(root: Path, files: Sequence[PurePosixPath], config: ManifestConfig) -> Manifest | None:
    """The manifest of a folder with a file of captions in it, or in its `annotations/`; None where there is none.

    Args:
        root: the folder.
        files: all files below it, relative to it.
        config: which language.

    Raises:
        ManifestError: there are several such files that are no parts of one, or none of their pictures can be used.
    """
    places = [file for file in files if len(file.parts) == 1 or (len(file.parts) == 2 and _is_beside(file.parts[0]))]
    places = [file for file in places if file.suffix.lower() in SUFFIXES and "lemma" not in file.name]
    found = [one for file in places if (one := read_captions(root / file, config.language)) is not None]
    if not found:
        return None
    kinds = {one.kind for one in found}
    if len(found) > 1 and kinds == {"coco"}:
        found = _coco_sides(found)
    elif len(found) > 1 and kinds != {"msr_vtt"}:
        names = ", ".join(str(one.path.relative_to(root)) for one in found)
        raise ManifestError(f"{root}: expected one file of captions, found {names}: name one of them as DATA")
    return _manifest(root, found, (root,))


def _is_beside(folder: str) -> bool:
    return folder.lower() in _FOLDERS


def _side_of(file: Path) -> str | None:
    """The side that the name of a file speaks of."""
    match = _SIDE.search(file.stem.lower())
    return None if match is None else SPLIT_NAMES[match[1]]


def _coco_sides(files: Sequence[CaptionFile]) -> list[CaptionFile]:
    sides = [_side_of(file.path) for file in files]
    if None in sides or len(set(sides)) < len(sides):
        names = ", ".join(file.path.name for file in files)
        raise ManifestError(f"expected one file of captions for train and one for val, found {names}: name one as DATA")
    if set(sides) == {"train", "val"}:
        sides = ["test" if side == "val" else side for side in sides]
    return [
        replace(file, told=tuple(replace(one, split=side) for one in file.told))
        for file, side in zip(files, sides, strict=True)
    ]


def _manifest(root: Path, files: Sequence[CaptionFile], bases: Sequence[Path]) -> Manifest:
    told = [one for file in files for one in file.told]
    broken = {place: reason for file in files for place, reason in file.broken.items()}
    folder = files[0].path.parent
    told = _with_lists(folder, told, broken)
    where: Mapping[str, str] = {}
    missing: Mapping[str, str] = {}
    for base in bases:
        where, missing = _places(root, base, dict.fromkeys(one.name for one in told))
        if where:
            break
    rows = [
        Example(where[one.name], one.captions, split=one.split, group=None if one.split else one.source)
        for one in told
        if one.name in where
    ]
    manifest = with_captions(root, rows, {**broken, **missing})
    if not manifest.examples:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in list(manifest.broken.items())[:3])
        raise ManifestError(
            f"{files[0].path}: expected the pictures that it names beside it or in a folder there, such as images/; "
            f"none of {len({one.name for one in told})} can be used: {reasons}"
        )
    return manifest


def _with_lists(folder: Path, told: Sequence[Told], broken: dict[str, str]) -> list[Told]:
    """What is told with the sides of published lists, without what is in none of them; as it is without lists."""
    names = {one.name for one in told}
    by_stem = {PurePosixPath(name).stem: name for name in names}
    sides: dict[str, str] = {}
    lists: list[str] = []
    for file in sorted(folder.glob("*.txt")):
        side = _side_of(file)
        if side is None or any(one.split for one in told):
            continue
        listed = [line.strip() for line in table_text(file).splitlines() if line.strip()]
        if not listed or (listed[0] not in names and PurePosixPath(listed[0]).stem not in by_stem):
            continue
        lists.append(file.name)
        for line in listed:
            name = line if line in names else by_stem.get(PurePosixPath(line).stem)
            if name is None:
                broken[line] = f"expected captions of what {file.name} names, there are none"
            elif sides.setdefault(name, side) != side:
                raise ManifestError(f"{folder / file.name}: expected each name on one side, {line} is on {sides[name]}")
    if not lists:
        return list(told)
    for name in sorted(names - sides.keys()):
        broken[name] = f"expected a side of the split, none of {', '.join(lists)} names it"
    return [replace(one, split=sides[one.name]) for one in told if one.name in sides]


def _places(root: Path, base: Path, names: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The path of each name, as examples have it; and why some have none."""
    files: dict[str, list[PurePosixPath]] = {}
    folders: dict[str, list[PurePosixPath]] = {}
    _index(base, PurePosixPath(), files, folders)
    where: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name in names:
        stated = PurePosixPath(name.replace("\\", "/"))
        found = files.get(stated.name) or folders.get(stated.name) or []
        ends = [place for place in found if place.parts[-len(stated.parts) :] == stated.parts]
        found = ends or found
        parents = sorted({str(place.parent) for place in found})
        if not found:
            missing[name] = "expected this picture or film beside its captions or in a folder there, there is none"
        elif len(parents) > 1:
            missing[name] = f"expected one file of this name, there are some in {', '.join(parents)}"
        else:
            best = min(found, key=lambda place: _SUFFIX_ORDER.get(place.suffix.lower(), len(_SUFFIX_ORDER)))
            where[name] = _as_path(root, base / best)
    return where, missing


def _as_path(root: Path, place: Path) -> str:
    return place.relative_to(root).as_posix() if place.is_relative_to(root) else place.absolute().as_posix()


def _index(
    base: Path, inside: PurePosixPath, files: dict[str, list[PurePosixPath]], folders: dict[str, list[PurePosixPath]]
) -> None:
    """Note every clip below `base / inside` by its name and its name without suffix, two folders deep."""
    try:
        entries = sorted(os.scandir(base / inside), key=lambda entry: entry.name)
    except OSError:  # what lies there is missing then
        return
    for entry in entries:
        if entry.name.startswith((".", "__")):
            continue
        place = inside / entry.name
        if entry.is_dir():
            folders.setdefault(entry.name, []).append(place)
            if len(place.parts) <= _DEEP:
                _index(base, place, files, folders)
        elif is_readable_name(entry.name) and not is_table_name(entry.name):
            for name in (entry.name, place.stem):
                files.setdefault(name, []).append(place)
