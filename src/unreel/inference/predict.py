"""What a trained run says of new clips: one row a clip, or one a window of a long one."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unreel.data import Example, windows
from unreel.data.frame_labels import is_category, is_film_name
from unreel.data.readers import is_readable_name, open_source
from unreel.data.readers.images import is_image_name
from unreel.data.readers.tables import is_table_name
from unreel.devices import best_device
from unreel.errors import ConfigError, ReadError
from unreel.inference.outputs import build_loader, described, nothing, outputs_of
from unreel.runs import Run


def predict(run: Run, paths: Sequence[str | Path]) -> Iterator[dict[str, Any]]:
    """Rows ready for JSON, in the order of `paths`, while they are computed.

    A row has `file`, `start` and `end` in seconds (None for the whole file), and what the task says: `label`, `score`
    and `scores` for classify. With window sampling a long file gives one row for each window. A file that cannot be
    read gives `file` and `error`, after the others.

    Args:
        run: a trained run.
        paths: files, folders (searched for readable files) and glob patterns.

    Raises:
        ConfigError: a path does not exist or holds nothing readable.
    """
    files = find_files(paths, _learned_from_frame_folders(run))
    examples: list[Example] = []
    broken: dict[str, str] = {}
    for file in files:
        example = Example(path=str(file))
        if run.config.data.sampling.policy != "window":
            examples.append(example)
            continue
        try:
            with open_source(file) as source:
                times = source.times
        except ReadError as error:
            broken[str(file)] = error.reason
            continue
        for indices in windows(len(times), run.config.data.sampling):
            after = int(indices[-1]) + run.config.data.sampling.stride  # where the next window begins
            end = float(times[after]) if after < len(times) else None
            start = float(times[indices[0]])
            examples.append(replace(example, start=start, end=end))
    task = run.trained_task()
    loader = build_loader(run, examples, Path(), nothing)
    by_key = {example.key: example for example in examples}
    for batch, outputs in outputs_of(task, loader, best_device(run.config.training.accelerator)):
        for key, row in zip(batch.keys, task.rows(outputs, batch), strict=True):
            yield described(by_key[key]) | row
    for file, reason in sorted({**broken, **loader.left_out}.items()):
        yield {"file": file, "error": reason}


def find_files(paths: Sequence[str | Path], frame_folders: bool = False) -> list[Path]:
    """Readable files behind files, folders and patterns, each once, folders in sorted order.

    A file that is named is kept whatever its name: whether it can be read is for the reader to say.

    Args:
        paths: files, folders (searched for readable files) and glob patterns.
        frame_folders: a folder that holds nothing but images is one clip, not one for each image.

    Raises:
        ConfigError: a path does not exist or holds nothing readable.
    """
    found: dict[Path, None] = {}
    for text in map(str, paths):
        path = Path(text)
        if path.is_dir():
            files = _inside(path, frame_folders)
            if not files and len(paths) > 1:  # one of many, as a shell's pattern gives: it must not stop the others
                files = [path]
        elif os.path.lexists(path) or "!" in text:
            files = [path]
        else:
            matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
            files = [
                file for match in matches for file in (_inside(match, frame_folders) if match.is_dir() else [match])
            ]
        if not files:
            raise ConfigError(f"{text}: expected a file, a folder of clips or a pattern that matches some, found none")
        found |= dict.fromkeys(files)
    return list(found)


def _inside(folder: Path, frame_folders: bool) -> list[Path]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and is_readable_name(file)]
    films = {file.with_suffix("") for file in files if is_film_name(file)}
    tables = {file for file in files if is_table_name(file)}
    tables = {file for file in tables if file.with_suffix("") in films or file.stem == "manifest"}
    files = [file for file in files if not is_category(file) and file not in tables]  # labels, beside the frames
    if not frame_folders:
        return files
    mixed = {file.parent for file in files if not is_image_name(file.name)}
    return list(dict.fromkeys(file if file.parent in mixed else file.parent for file in files))


def _learned_from_frame_folders(run: Run) -> bool:
    """Whether the run's own clips were folders of images."""
    return any(not is_readable_name(example.path) for example in run.splits().train)
