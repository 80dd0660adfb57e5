"""What a trained run says of new clips: one row a clip, or one a window of a long one."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from unreel.clip import Clip, collate
from unreel.data import Example, choose, tokenise, windows
from unreel.data.frame_labels import is_category, is_film_name
from unreel.data.image_sets import from_npz
from unreel.data.readers import is_readable_name, open_source
from unreel.data.readers.dicom import is_dicom
from unreel.data.readers.image_arrays import count_images, kind_of
from unreel.data.readers.images import is_image_name
from unreel.data.readers.tables import is_table_name
from unreel.data.readers.text import text_place
from unreel.data.scans import as_clips
from unreel.data.texts import holds_texts, places_in
from unreel.devices import best_device
from unreel.errors import ConfigError, ManifestError, ReadError
from unreel.inference.outputs import build_loader, described, nothing, outputs_of
from unreel.runs import Run


def _is_clip(file: Path) -> bool:
    return is_readable_name(file) or is_dicom(file) or _is_image_set(file)


def _is_image_set(file: Path) -> bool:
    """Whether a file is a batch of CIFAR-10, or IDX images rather than their labels, by its name."""
    kind = kind_of(file)
    return kind == "cifar" or (kind == "idx" and "-images" in file.name)


def predict(run: Run, paths: Sequence[str | Path]) -> Iterator[dict[str, Any]]:
    """Rows ready for JSON, in the order of `paths`, while they are computed.

    Of texts, a table gives a row for each of its lines, and a .txt file one for each of its lines too, if the run has
    learned from lines; if it has learned from whole files, one.

    A row has `file`, `start` and `end` in seconds (None for the whole file), and what the task says: `label`, `score`
    and `scores` for classify. With window sampling a long file gives one row for each window. A file that cannot be
    read gives `file` and `error`, after the others.

    Args:
        run: a trained run.
        paths: files, folders (searched for readable files) and glob patterns.

    Raises:
        ConfigError: a path does not exist or holds nothing readable.
    """
    examples, broken = find_examples(run, paths)
    task = run.trained_task()
    loader = build_loader(run, examples, Path(), nothing)
    by_key = {example.key: example for example in examples}
    for batch, outputs in outputs_of(task, loader, best_device(run.config.training.accelerator)):
        for key, row in zip(batch.keys, task.rows(outputs, batch), strict=True):
            yield described(run, Path(), by_key[key]) | row
    for file, reason in sorted({**broken, **loader.left_out}.items()):
        yield {"file": file, "error": reason}


def find_examples(run: Run, paths: Sequence[str | Path]) -> tuple[list[Example], dict[str, str]]:
    """Examples of the files behind `paths`, one for each window where the run looks at windows; and what is broken.

    Raises:
        ConfigError: see `find_files`.
    """
    broken: dict[str, str] = {}
    if run.reads_text:
        files = _places(run, find_files(paths, readable=holds_texts), broken)
    else:
        files = find_files(paths, _learned_from_frame_folders(run))
    examples: list[Example] = []
    for file in files:
        example = Example(path=str(file))
        if run.config.data.sampling.policy != "window":
            examples.append(example)
            continue
        try:
            with open_source(file, run.reading) as source:
                times, views = source.times, source.views
        except ReadError as error:
            broken[str(file)] = error.reason
            continue
        if views is not None:  # a window of each plane is taken
            examples.append(example)
            continue
        for indices in windows(len(times), run.config.data.sampling):
            after = int(indices[-1]) + run.config.data.sampling.stride  # where the next window begins
            end = float(times[after]) if after < len(times) else None
            start = float(times[indices[0]])
            examples.append(replace(example, start=start, end=end))
    return examples, broken


def predict_texts(run: Run, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row for each of these texts: `text`, its `words`, and what the task says; or `error`.

    Raises:
        ConfigError: the run has not learned from texts.
    """
    if not run.reads_text:
        raise ConfigError(f"{run.folder}: has learned from files, not from texts: give it paths")
    task = run.trained_task()
    for number, text in enumerate(texts):
        words = tokenise(text, run.config.data.text)[: run.config.data.text.max_length]
        if not words:
            yield {"text": text, "error": f"expected {run.config.data.text.tokens}, found none"}
            continue
        chosen = choose(len(words), run.config.data.sampling)
        clip = Clip(run.vocabulary.encode(words)[chosen], chosen.double(), f"text {number}")
        with torch.inference_mode():
            batch = collate([clip])
            [row] = task.rows(task(batch), batch)
        yield {"text": text, "words": words} | row


def find_files(
    paths: Sequence[str | Path],
    frame_folders: bool = False,
    readable: Callable[[Path], bool] = _is_clip,
) -> list[Path]:
    """Readable files behind files, folders and patterns, each once, folders in sorted order.

    A file that is named is kept whatever its name: whether it can be read is for the reader to say.

    Args:
        paths: files, folders (searched for readable files) and glob patterns.
        frame_folders: a folder that holds nothing but images is one clip, not one for each image.
        readable: whether a file in a folder is a clip, or a part of one.

    Raises:
        ConfigError: a path does not exist or holds nothing readable.
    """
    found: dict[Path, None] = {}
    for text in map(str, paths):
        path = Path(text)
        if path.is_dir():
            files = _inside(path, frame_folders, readable)
            if not files and len(paths) > 1:  # one of many, as a shell's pattern gives: it must not stop the others
                files = [path]
        elif os.path.lexists(path) or "!" in text:
            files = _members(path) or [path]
        else:
            matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
            files = [
                file
                for match in matches
                for file in (_inside(match, frame_folders, readable) if match.is_dir() else [match])
            ]
        if not files:
            raise ConfigError(f"{text}: expected a file, a folder of clips or a pattern that matches some, found none")
        found |= dict.fromkeys(files)
    return list(found)


def _places(run: Run, files: Sequence[Path], broken: dict[str, str]) -> list[Path]:
    """The texts in these files; those that cannot be read are added to `broken`, with the reason."""
    whole = not all(text_place(example.path) for example in run.splits().train)
    found: list[Path] = []
    for file in files:
        try:
            found += map(Path, places_in(file, run.config.data.manifest.text_column, whole))
        except ReadError as error:
            broken[str(file)] = error.reason
    return found


def _inside(folder: Path, frame_folders: bool, readable: Callable[[Path], bool]) -> list[Path]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and readable(file)]
    films = {file.with_suffix("") for file in files if is_film_name(file)}
    tables = {file for file in files if is_table_name(file)}
    tables = {file for file in tables if file.with_suffix("") in films or file.stem == "manifest"}
    files = [file for file in files if not is_category(file) and file not in tables]  # labels, beside the frames
    files = as_clips(files, is_dicom, len(folder.parts))
    files = [member for file in files for member in _members(file) or [file]]
    if not frame_folders:
        return files
    mixed = {file.parent for file in files if not is_image_name(file.name)}
    frames = {file for file in files if is_image_name(file.name) and file.parent not in mixed}
    return list(dict.fromkeys(file.parent if file in frames else file for file in files))


def _members(path: Path) -> list[Path]:
    """The images or volumes of a file that holds many; none where it does not."""
    if _is_image_set(path):
        try:
            return [Path(f"{path}!{row}") for row in range(count_images(path))]
        except ReadError:
            return [Path(f"{path}!0")]  # its reader says what is wrong with it
    if path.suffix.lower() != ".npz":
        return []
    try:
        return [path.parent / example.path for example in from_npz(path).examples]
    except ManifestError:  # one clip, or the reader says what is wrong with it
        return []


def _learned_from_frame_folders(run: Run) -> bool:
    """Whether the run's own clips were folders of images."""
    return any(not is_readable_name(example.path) for example in run.splits().train)
