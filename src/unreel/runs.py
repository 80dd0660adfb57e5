"""The run folder: everything that a run leaves behind, and the one way to load it.

    config.yaml  versions.json  labels.json  frame.json  vocabulary.txt  manifest.csv  left_out.csv  data.json
    history.csv  checkpoint.safetensors  weights.safetensors  model.txt
    metrics.json  predictions.jsonl  report.html  tensorboard/  control/

The folder is enough by itself: configuration, weights, label names and preprocessing lie in it. Nothing in it is a
pickle, and nothing in it names code.
"""

from __future__ import annotations

import csv
import io
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from unreel.config import RunConfig, from_yaml, to_yaml
from unreel.data import (
    Example,
    Manifest,
    Reading,
    Splits,
    Vocabulary,
    as_segments,
    learn_vocabulary,
    load,
    read_manifest,
    values_of_frames,
    values_of_steps,
    write_manifest,
)
from unreel.devices import leads
from unreel.errors import ConfigError, RunError
from unreel.models import MODELS, Model, SequenceRNNConfig, TextRNNConfig
from unreel.nn import SearchConfig
from unreel.tasks import TASKS, Caption, Task

SIDES = ("train", "val", "test")
PACKAGES = ("unreel", "torch", "torchvision", "lightning", "torchmetrics", "timm", "av", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Run:
    """A run folder.

    Args:
        folder: where it lies.
        config: the run as one typed value.
        labels: names of the K outputs.
        frame_shape: shape of one preprocessed frame, (C, H, W) or (D,); () of a text, whose frames are tokens.
        vocabulary: the tokens that the model knows; an empty one where clips are no texts.
    """

    folder: Path
    config: RunConfig
    labels: tuple[str, ...]
    frame_shape: tuple[int, ...]
    vocabulary: Vocabulary = field(default_factory=Vocabulary, repr=False)

    @classmethod
    def create(
        cls,
        folder: Path,
        config: RunConfig,
        labels: Sequence[str],
        frame_shape: Sequence[int],
        vocabulary: Vocabulary | None = None,
    ) -> Run:
        """Make the folder and write what is known before training."""
        folder.mkdir(parents=True, exist_ok=True)
        run = cls(folder, config, tuple(labels), tuple(frame_shape), vocabulary or Vocabulary())
        run.write_text("config.yaml", to_yaml(config))
        run.write_json("labels.json", list(labels))
        run.write_json("frame.json", list(frame_shape))
        if run.reads_text:
            run.write_text("vocabulary.txt", run.vocabulary.to_text())
        run.write_json("versions.json", versions())
        return run

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Open a folder that `create` made.

        Raises:
            RunError: it is not a run; the message names what is missing.
        """
        folder = Path(folder)
        config = load_run_config(folder)
        missing = [name for name in ("labels.json", "frame.json") if not (folder / name).is_file()]
        if missing:
            several = " It holds several runs: name one of its folders." if (folder / "summary.json").is_file() else ""
            raise RunError(f"{folder}: expected a run, this folder has no {' and '.join(missing)}.{several}")
        labels, frame = (json.loads((folder / name).read_text("utf-8")) for name in ("labels.json", "frame.json"))
        run = cls(folder, config, tuple(labels), tuple(frame))
        return replace(run, vocabulary=read_vocabulary(folder)) if run.reads_text else run

    @property
    def reads_text(self) -> bool:
        """Whether clips are texts, their frames tokens."""
        return self.frame_shape == ()

    @property
    def reading(self) -> Reading:
        """What readers must know besides the file."""
        return replace(self.config.data.reading, vocabulary=self.vocabulary)

    @property
    def root(self) -> Path:
        """What the paths of the run's examples are relative to."""
        path = Path(self.config.data.path)
        return path if path.is_dir() else path.parent

    @property
    def task_type(self) -> type[Task]:
        """What an output means."""
        return TASKS[self.config.task]

    @property
    def weights(self) -> Path:
        """The best weights on validation."""
        return self.folder / "weights.safetensors"

    @property
    def checkpoint(self) -> Path:
        """All that a resume needs."""
        return self.folder / "checkpoint.safetensors"

    @property
    def name(self) -> str:
        """The folder's last name."""
        return self.folder.name

    def fresh_task(self, class_weights: torch.Tensor | None = None, from_features: bool = False) -> Task:
        """The task with its model as it is before training: weights drawn from the seed, or pretrained."""
        torch.manual_seed(self.config.seed)
        model = build_model(self.config, self.labels, self.frame_shape)
        settings = (model, self.labels, self.config.optim, class_weights, from_features)
        if issubclass(self.task_type, Caption):
            return self.task_type(*settings, self.config.caption, self.config.data.text, self.config.seed)
        return self.task_type(*settings)

    def searching(self, search: SearchConfig) -> Run:
        """The same run, whose captions are searched for in this way.

        Raises:
            ConfigError: it writes none.
        """
        if self.config.task != "caption":
            raise ConfigError(f"{self.folder}: a run of the task {self.config.task} writes no captions to search for")
        caption = replace(self.config.caption, search=search)
        return replace(self, config=replace(self.config, caption=caption))

    def trained_task(self) -> Task:
        """The task with the run's best weights, in eval mode, on the CPU.

        Raises:
            RunError: there are no weights yet, or they do not fit the configuration.
        """
        if not self.weights.is_file():
            raise RunError(f"{self.folder}: no weights yet; finish it with `unreel train --resume {self.folder}`")
        config = replace(self.config, model=self.config.model.without_pretrained())
        task = replace(self, config=config).fresh_task()
        try:
            task.load_state_dict(load_file(self.weights))
        except (SafetensorError, RuntimeError) as error:
            raise RunError(f"{self.weights}: does not hold the weights of this run's model ({error})") from error
        return task.eval()

    def write_splits(self, manifest: Manifest, splits: Splits) -> None:
        """Store every example with its side."""
        if not leads():
            return
        examples = tuple(replace(example, split=side) for side in SIDES for example in getattr(splits, side))
        unfinished = self.folder / ".partial.manifest.csv"  # the suffix says how it is written
        write_manifest(replace(manifest, root=manifest.root.absolute(), examples=examples), unfinished)
        os.replace(unfinished, self.folder / "manifest.csv")

    def splits(self) -> Splits:
        """The sides as they were stored.

        Raises:
            RunError: they are not stored yet.
        """
        path = self.folder / "manifest.csv"
        if not path.is_file():
            raise RunError(f"{self.folder}: expected a run with its manifest.csv, which training writes first")
        manifest = arranged(self.config.task, read_manifest(path))
        return Splits(*(tuple(e for e in manifest.examples if e.split == side) for side in SIDES))

    def write_text(self, name: str, text: str) -> None:
        """Write a file at once or not at all."""
        write_whole(self.folder / name, text)

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file."""
        self.write_text(name, json.dumps(value, indent=1, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the run; None where it does not exist."""
        path = self.folder / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def write_rows(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write JSON lines."""
        self.write_text(name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def read_rows(self, name: str) -> list[dict[str, Any]]:
        """Read JSON lines; none where the file does not exist."""
        path = self.folder / name
        text = path.read_text("utf-8") if path.is_file() else ""
        return [json.loads(line) for line in text.split("\n") if line]  # splitlines would also cut a text at U+2028

    def write_left_out(self, left_out: Mapping[str, str]) -> None:
        """List the files that could not be read, adding to those listed before."""
        path = self.folder / "left_out.csv"
        known: dict[str, str] = {}
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                known = {row["path"]: row["reason"] for row in csv.DictReader(file)}
        known |= left_out
        table = io.StringIO(newline="")
        writer = csv.writer(table)
        writer.writerow(["path", "reason"])
        writer.writerows(sorted(known.items()))
        self.write_text("left_out.csv", table.getvalue())


def write_whole(path: Path, text: str) -> None:
    """Write a text file at once or not at all, whatever kills the process; of several that train together, the first.

    Names of files that are no UTF-8 are escaped, as they would be in JSON.
    """
    if not leads():
        return
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(text.encode("utf-8", "backslashreplace"))
    os.replace(partial, path)


def load_run_config(folder: Path) -> RunConfig:
    """The configuration that a run's folder holds.

    Raises:
        RunError: it holds none.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        what = "one without config.yaml" if folder.is_dir() else "nothing there"
        if (folder / "data.json").is_file():
            what += ": it was stopped before training began, so give the command that made it once more"
        raise RunError(f"{folder}: expected a folder made by `unreel train`, got {what}")
    return from_yaml(path.read_text(encoding="utf-8"), str(path))


def build_model(config: RunConfig, labels: Sequence[str], frame_shape: tuple[int, ...]) -> Model:
    """The model that the configuration names, for these labels and frames."""
    readout = TASKS[config.task].readout
    return MODELS[config.model.name](config.model, frame_shape, len(labels), readout)  # type: ignore[arg-type]


def with_vocabulary(config: RunConfig, examples: Iterable[Example], root: Path) -> tuple[RunConfig, Vocabulary]:
    """The configuration whose model has the size of the vocabulary of these examples, the training side; and that.

    Raises:
        ConfigError: the model does not read texts.
    """
    if not isinstance(config.model, TextRNNConfig):
        raise ConfigError(
            f"{config.data.path}: its clips are texts, which {config.model.name} cannot see: set model.name text_rnn"
        )
    vocabulary = learn_vocabulary(examples, root, config.data.text)
    return replace(config, model=replace(config.model, vocabulary=len(vocabulary))), vocabulary


def output_names(config: RunConfig, manifest: Manifest, learned_from: Sequence[Example]) -> tuple[str, ...]:
    """Names of the outputs: of captions the words of the examples to learn from, else the labels of the whole manifest.

    Raises:
        UnreelError: nothing can be learned from what the manifest says.
    """
    if config.task == "caption":
        return Caption.words_of(learned_from, config.data.text)
    return manifest.heads or TASKS[config.task].label_names(manifest.examples)


def read_vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary that a run's folder holds.

    Raises:
        RunError: it holds none.
    """
    path = folder / "vocabulary.txt"
    if not path.is_file():
        raise RunError(f"{folder}: expected a run on texts with its vocabulary.txt, there is none")
    return Vocabulary.from_text(path.read_bytes().decode("utf-8"))


def versions() -> dict[str, str]:
    """Versions of Python, the system and the packages that decide the numbers."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **{package: version(package) for package in PACKAGES},
    }


def load_manifest(config: RunConfig, path: str | Path | None = None) -> Manifest:
    """The examples of `path`, by default those of the configuration, in the form that the task learns from.

    Raises:
        ConfigError: its labels are captions and the task learns none, or the other way round; or no example is left.
        ManifestError: see `data.load`.
    """
    path = config.data.path if path is None else path
    manifest = load(path, config.data.manifest, labelled=config.task != "reconstruct")
    if config.task == "caption" and not manifest.captions:
        raise ConfigError(
            f"{manifest.root}: the task caption needs captions, a column caption or captions; to take them from "
            "another column set data.manifest.caption_column"
        )
    if manifest.captions and config.task != "caption":
        raise ConfigError(
            f"{manifest.root}: its labels are captions, of which the task {config.task} can learn nothing: set "
            "--task caption --model.name captioner, or name another column with data.manifest.label_column"
        )
    manifest = arranged(config.task, manifest)
    if config.task == "trace":
        manifest = values_of_frames(manifest)
    elif config.task == "sequence" and isinstance(config.model, SequenceRNNConfig):
        manifest = values_of_steps(manifest, config.model.output_length or 1)
    if not manifest.examples:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in list(manifest.broken.items())[:3])
        raise ConfigError(f"none of {len(manifest.broken)} clips has labels that can be used: {reasons}")
    return manifest


def arranged(task: str, manifest: Manifest) -> Manifest:
    """The manifest with the rows of one file joined, where labels in time are what the task is about."""
    return as_segments(manifest) if TASKS[task].readout == "frame" else manifest
