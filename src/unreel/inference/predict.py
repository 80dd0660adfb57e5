"""What a trained run says of new clips: one row a clip, or one a window of a long one."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unreel.data import Example, windows
from unreel.data.readers import is_readable_name, open_source
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
    files = find_files(paths)
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
            start, last = float(times[indices[0]]), int(indices[-1])
            end = float(times[last + 1]) if last + 1 < len(times) else None
            examples.append(replace(example, start=start, end=end))
    task = run.trained_task()
    loader = build_loader(run, examples, Path(), nothing)
    by_key = {example.key: example for example in examples}
    for batch, outputs in outputs_of(task, loader, best_device(run.config.training.accelerator)):
        for key, row in zip(batch.keys, task.rows(outputs, batch), strict=True):
            yield described(by_key[key]) | row
    for file, reason in sorted({**broken, **loader.left_out}.items()):
        yield {"file": file, "error": reason}


def find_files(paths: Sequence[str | Path]) -> list[Path]:
    """Readable files behind files, folders and patterns, each once, folders in sorted order.

    A folder that holds images and nothing else readable is itself a clip of frames.
    A file that is named is kept whatever its name: whether it can be read is for the reader to say.

    Raises:
        ConfigError: a path does not exist or holds nothing readable.
    """
    found: dict[Path, None] = {}
    for text in map(str, paths):
        path = Path(text)
        if path.is_dir():
            files = [file for file in sorted(path.rglob("*")) if file.is_file() and is_readable_name(file)]
        elif path.is_file() or "!" in text:
            files = [path]
        else:
            files = [Path(match) for match in sorted(glob.glob(text, recursive=True)) if Path(match).is_file()]
        if not files:
            raise ConfigError(f"{text}: expected a file, a folder of clips or a pattern that matches some, found none")
        found |= dict.fromkeys(files)
    return list(found)
