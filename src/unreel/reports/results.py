"""Results: the files of a run folder as values, read leniently, since a report shows what there is.

What this file is not: it loads no weights and builds no model. A file that is missing is empty here, and the section
that would show it is left out of the page.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from unreel.data import DataReport, PreprocessConfig, Reading, SamplingConfig, SoundConfig, VolumeConfig
from unreel.errors import RunError

T = TypeVar("T", SoundConfig, VolumeConfig, SamplingConfig, PreprocessConfig)


@dataclass(frozen=True)
class Results:
    """One run folder.

    Args:
        folder: the run folder.
        config: the run's configuration as nested dicts.
        config_text: the same as it stands in the file.
        versions: package to version.
        labels: names of the outputs.
        model: the model's summary.
        history: one dict an epoch, numbers by column name; a cell that holds no number is absent.
        left_out: (path, reason) of files that could not be read.
        manifest: one dict an example.
        data: the data report, None where there is none.
        metrics: what was measured.
        predictions: one dict a test clip.
    """

    folder: Path
    config: Mapping[str, Any]
    config_text: str
    versions: Mapping[str, str]
    labels: tuple[str, ...]
    model: str
    history: tuple[Mapping[str, float], ...]
    left_out: tuple[tuple[str, str], ...]
    manifest: tuple[Mapping[str, str], ...]
    data: DataReport | None
    metrics: Mapping[str, Any]
    predictions: tuple[Mapping[str, Any], ...]

    @property
    def task(self) -> str:
        """Name of the task: a key of `unreel.tasks.TASKS`."""
        return self.metrics.get("task", "classify")

    @property
    def data_root(self) -> Path | None:
        """Folder that the paths of the clips start from; None where the configuration does not say."""
        path = (self.config.get("data") or {}).get("path")
        if not path:
            return None
        return Path(path) if Path(path).is_dir() else Path(path).parent

    @property
    def reading(self) -> Reading:
        """The settings of readers, those by default where the configuration does not say."""
        return Reading(sound=self._settings(SoundConfig, "sound"), volume=self._settings(VolumeConfig, "volume"))

    @property
    def sampling(self) -> SamplingConfig:
        """Which frames of a clip the model sees."""
        return self._settings(SamplingConfig, "sampling")

    @property
    def preprocess(self) -> PreprocessConfig:
        """What is done to every frame before the model sees it."""
        return self._settings(PreprocessConfig, "preprocess")

    def _settings(self, kind: type[T], name: str) -> T:
        """What the configuration says below `data` of the settings that there are, the rest by default."""
        said = (self.config.get("data") or {}).get(name) or {}
        return kind(**{key.name: said[key.name] for key in fields(kind) if key.name in said})


def read_results(folder: Path) -> Results:
    """Read a run folder.

    Raises:
        RunError: there is neither a configuration nor a measure in it, or a file of it is torn.
    """
    if not any((folder / name).is_file() for name in ("config.yaml", "metrics.json", "history.csv")):
        raise RunError(
            f"{folder}: expected a run folder with config.yaml, history.csv or metrics.json, found none of them: "
            "give the folder that `unreel train` wrote"
        )
    config_text = _text(folder / "config.yaml")
    try:
        config = yaml.safe_load(config_text) or {}
    except yaml.YAMLError as error:
        raise RunError(f"{folder / 'config.yaml'}: expected YAML, cannot parse it: {error}") from error
    return Results(
        folder=folder,
        config=config,
        config_text=config_text,
        versions=read_json(folder / "versions.json"),
        labels=tuple(map(str, read_json(folder / "labels.json"))),
        model=_text(folder / "model.txt"),
        history=tuple(
            {key: float(text) for key, text in row.items() if _is_number(text)} for row in _rows(folder, "history.csv")
        ),
        left_out=tuple((row["path"], row.get("reason", "")) for row in _rows(folder, "left_out.csv")),
        manifest=tuple(_rows(folder, "manifest.csv")),
        data=DataReport.from_json(scanned) if (scanned := _text(folder / "data.json")) else None,
        metrics=read_json(folder / "metrics.json"),
        predictions=tuple(read_json_lines(folder / "predictions.jsonl")),
    )


def read_json(path: Path) -> Any:
    """Content of a JSON file, an empty dict where there is no file."""
    return _parse(_text(path) or "{}", path)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _parse(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise RunError(f"{path}: expected JSON, cannot parse it ({error}): evaluate the run again") from error


def read_json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    """Content of a file of one JSON value a line, nothing where there is no file."""
    for line in _text(path).split("\n"):
        if line.strip():
            yield _parse(line, path)


def _rows(folder: Path, name: str) -> list[dict[str, str]]:
    path = folder / name
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _is_number(text: str | None) -> bool:
    try:
        return math.isfinite(float(text or ""))
    except ValueError:
        return False
