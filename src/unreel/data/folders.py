"""Class folders: a manifest read off the names of folders, on disk or inside a zip.

    root/CLASS/clip.mp4              a file directly in a class folder is one clip (an image: a clip of one frame)
    root/CLASS/any/depth/clip.mp4    so is one further below
    root/CLASS/clip/0001.png ...     a folder below a class folder that holds nothing but images is one clip
    root/CLASS/case/IM0001 ...       so is one that is a scan: a DICOM series, or a part for each plane (`scans.py`)
    root/train|val|test/CLASS/...    outer folders that are all named like sides of a split are the split

Files that hold many labelled images or volumes (`image_sets.py`), MRNet's exams (`layouts.py`), published captions
(`caption_sets.py`), films with the labels of their frames beside them (`frame_labels.py`), and files of many texts
(`texts.py`), are told apart first.

What this file is not: it opens no clip. Hidden files and those that operating systems leave behind are passed over;
every other file of a class counts, so that one that cannot be read is found and listed later.
"""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from unreel.data import layouts
from unreel.data.caption_sets import captioned_file, captioned_folder
from unreel.data.frame_labels import labelled_beside
from unreel.data.image_sets import from_files, from_npz
from unreel.data.manifest import SPLIT_NAMES, Example, Manifest, ManifestConfig, grouped_by_path
from unreel.data.manifest_files import read_manifest
from unreel.data.names import named, says_labels
from unreel.data.readers import is_readable_name
from unreel.data.readers.conll import is_conll
from unreel.data.readers.dicom import is_dicom
from unreel.data.readers.images import is_image_name
from unreel.data.readers.text import reads_text
from unreel.data.scans import as_clips, check_installed, grouped_by_patient
from unreel.data.texts import conll_examples, text_manifest
from unreel.errors import ManifestError

_LEFT_BEHIND = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
_EXPECTED = (
    "expected a manifest.csv or manifest.jsonl, or one folder a class (cat/1.mp4, dog/1.mp4), or of sentences one file "
    "a class (pos.txt, neg.txt)"
)


def load(path: str | Path, config: ManifestConfig | None = None, labelled: bool = True) -> Manifest:
    """The manifest of whatever `path` is.

    Args:
        path: a table of examples; or a folder that holds manifest.csv or manifest.jsonl; or an .npz, the original
            CIFAR-10 files or IDX files, with their labels (`image_sets.py`); or scans as MRNet lays them out
            (`layouts.py`); or captions as they are published, or a folder with them and their pictures
            (`caption_sets.py`); or a folder of films with the labels of their frames beside them; or a file, or a
            folder of files, of many texts (`texts.py`); or a folder or zip of class folders; or a folder of files whose
            names tell their labels, by `config.pattern`. DICOM scans without a group are grouped by patient.
        config: names of columns, and what stands in names of files.
        labelled: whether clips need labels. If not, a folder of files alone is a folder of clips of which nothing is
            said.

    Raises:
        ManifestError: nothing is there, or it cannot be understood as one of these.
        ConfigError: there are scans, and the extra that reads them is not installed.
    """
    config = config or ManifestConfig()
    manifest = named(_found(Path(path), config, labelled), config.pattern)
    check_installed(manifest.examples)
    return manifest if config.group_from is not None else grouped_by_patient(manifest)


def _found(path: Path, config: ManifestConfig, labelled: bool) -> Manifest:
    """What `path` says by itself."""
    if path.is_dir():
        tables = [table for name in ("manifest.csv", "manifest.jsonl") if (table := path / name).is_file()]
        if len(tables) > 1:
            raise ManifestError(f"{path}: expected one manifest, found {[table.name for table in tables]}: name one")
        if tables:
            return read_manifest(tables[0], config)
        files = _files(path)
        if says_labels(config.pattern):
            return grouped_by_path(_of_files(path, files), config.group_from)
        told = (
            from_files(path)
            or layouts.mrnet(path, files, config)
            or captioned_folder(path, files, config)
            or labelled_beside(path, files)
            or text_manifest(path, files)
        )
        if told is None and not labelled and all(len(file.parts) == 1 for file in files):
            told = _of_files(path, files)
        if told is not None:
            return grouped_by_path(told, config.group_from)
    elif not path.is_file():
        raise ManifestError(f"{path}: expected a manifest, a folder or a zip, nothing is there")
    elif path.suffix.lower() == ".npz":
        return grouped_by_path(from_npz(path), config.group_from)
    elif (captioned := captioned_file(path, config)) is not None:
        return grouped_by_path(captioned, config.group_from)
    elif is_conll(path):
        manifest = Manifest(path.parent, tuple(conll_examples(path.parent, path.name, None)))
        return grouped_by_path(manifest, config.group_from)
    elif path.suffix.lower() != ".zip":
        return read_manifest(path, config)
    return grouped_by_path(from_folders(path, labelled), config.group_from)


def from_folders(root: str | Path, labelled: bool = True) -> Manifest:
    """The manifest that class folders stand for, examples in the order of their paths.

    Args:
        root: a folder, or a .zip file. A single folder that wraps all others inside a zip is looked through.
        labelled: whether clips need labels: then a single class is warned of.

    Raises:
        ManifestError: no files, or none in a class folder.
    """
    root = Path(root)
    if root.is_dir():
        return Manifest(root, _examples(root, _files(root), on_disk=True, labelled=labelled))
    try:
        with zipfile.ZipFile(root) as archive:
            files = [PurePosixPath(name) for name in archive.namelist() if not name.endswith("/")]
    except (OSError, zipfile.BadZipFile) as error:
        raise ManifestError(f"{root}: expected a folder or a zip: {error}") from None
    files = [file for file in files if not any(_passed_over(part) for part in file.parts)]
    wrapper = _wrapper(files)
    examples = _examples(root, [file.relative_to(wrapper) for file in files], on_disk=False, labelled=labelled)
    inside = [replace(example, path=f"{root.name}!{(wrapper / example.path).as_posix()}") for example in examples]
    return Manifest(root.parent, tuple(inside))


def _of_files(root: Path, files: Sequence[PurePosixPath]) -> Manifest:
    """Every readable file as a clip of which nothing is said; texts where there is nothing else."""
    clips = sorted(file for file in files if is_readable_name(str(file)))
    clips = clips or sorted(file for file in files if reads_text(str(file)))
    if not clips:
        raise ManifestError(f"{root}: expected files that can be read as clips, found none among {len(files)}")
    return Manifest(root, tuple(Example(path=clip.as_posix()) for clip in clips))


def _files(root: Path) -> list[PurePosixPath]:
    return [PurePosixPath(path.relative_to(root).as_posix()) for path in _walk(root)]


def _walk(root: Path) -> Iterable[Path]:
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not _passed_over(name))
        yield from (Path(folder, name) for name in sorted(files) if not _passed_over(name))


def _passed_over(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def _wrapper(files: Sequence[PurePosixPath]) -> PurePosixPath:
    """The folder that all files lie in, where it is neither a class nor a side of a split."""
    tops = {file.parts[0] for file in files}
    if len(tops) == 1 and all(len(file.parts) > 2 for file in files) and not tops <= SPLIT_NAMES.keys():
        return PurePosixPath(tops.pop())
    return PurePosixPath()


def _examples(root: Path, files: Sequence[PurePosixPath], on_disk: bool, labelled: bool) -> tuple[Example, ...]:
    if not files:
        raise ManifestError(f"{root}: {_EXPECTED}, found no files")
    inside = [file for file in files if len(file.parts) > 1]
    if not inside:
        tables = sorted(file for file in files if file.suffix.lower() in (".csv", ".tsv", ".jsonl"))
        instead = f", or name the table: {root / tables[0]}" if on_disk and tables else ""
        raise ManifestError(
            f"{root}: {_EXPECTED}, found {len(files)} files and no folder: make a folder for each class{instead}"
        )
    split_outside = all(file.parts[0].lower() in SPLIT_NAMES for file in inside)
    depth = 1 if split_outside else 0
    inside = [file for file in inside if len(file.parts) > depth + 1]
    if not inside:
        raise ManifestError(f"{root}: {_EXPECTED} inside of the folders of a split, found files only")
    if on_disk:  # scans inside of a zip are not read
        inside = as_clips(inside, lambda file: is_dicom(root / file), depth + 2)
    by_folder: dict[PurePosixPath, list[PurePosixPath]] = {}
    for file in inside:
        by_folder.setdefault(file.parent, []).append(file)
    holds_folders = {parent for folder in by_folder for parent in folder.parents}
    clips: list[PurePosixPath] = []
    for folder, members in by_folder.items():
        below_class = len(folder.parts) > depth + 1
        only_images = all(is_image_name(member.name) for member in members)
        clips.extend([folder] if below_class and only_images and folder not in holds_folders else members)
    classes = {clip.parts[depth] for clip in clips}
    if len(classes) == 1 and labelled:
        warnings.warn(f"{root}: expected a folder for each class, found one only: {classes.pop()!r}", stacklevel=5)
    return tuple(
        Example(
            path=clip.as_posix(),
            labels=(clip.parts[depth],),
            split=SPLIT_NAMES[clip.parts[0].lower()] if split_outside else None,
        )
        for clip in sorted(clips)
    )
