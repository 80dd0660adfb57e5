"""How good a trained run is on clips whose truth is known: values with intervals, confusion, classes, rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from unreel.clip import widened
from unreel.data import Example, ManifestConfig, frame_times
from unreel.data.manifest import labels_of
from unreel.devices import best_device
from unreel.errors import ConfigError, ManifestError
from unreel.inference.intervals import Interval, measure, wilson
from unreel.inference.outputs import build_loader, described, outputs_of
from unreel.runs import Run, load_manifest
from unreel.tasks import Task


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Args:
        measures: each value with its 95 % interval.
        n: measured items: clips, or frames of known class.
        confusion: (K, K) counts, rows truth, columns prediction; None for tasks without one class each.
        per_class: precision, recall, F1 and what else is measured of each label; None for regression.
        rows: what was said and what is true, a dict a clip.
        left_out: files that could not be read, with the reason.
        scores: (n, K), what the measures were computed from.
        truth: (n, ...), the same.
        groups: the group of each item.
        clips: (n,) the number of the clip of each item.
        caution: what must be told beside the numbers, one line; empty where there is nothing.
    """

    measures: Mapping[str, Interval]
    n: int
    confusion: list[list[int]] | None
    per_class: list[dict[str, Any]] | None
    rows: list[dict[str, Any]] = field(repr=False)
    left_out: Mapping[str, str]
    scores: Tensor = field(repr=False)
    truth: Tensor = field(repr=False)
    groups: list[str] = field(repr=False)
    clips: Tensor = field(repr=False)
    caution: str = ""

    def __str__(self) -> str:
        values = ", ".join(f"{name} {value}" for name, value in self.measures.items())
        return f"{values} (n = {self.n})"

    def to_json(self) -> dict[str, Any]:
        """The numbers, ready for JSON."""
        numbers: dict[str, Any] = {
            "test": {name: value.to_json() for name, value in self.measures.items()},
            "n_test": self.n,
        }
        if self.confusion is not None:
            numbers["confusion"] = self.confusion
        if self.per_class is not None:
            numbers["per_class"] = self.per_class
        if self.caution:
            numbers["caution"] = self.caution
        return numbers


def evaluate(run: Run, data: str | Path | None = None, manifest: ManifestConfig | None = None) -> Evaluation:
    """Measure a run on labelled clips.

    Args:
        run: a trained run.
        data: a folder, zip or table of clips with labels that the run knows; None takes the run's own test side.
        manifest: how `data` is read; by default as the run's own data was.

    Raises:
        ConfigError: there is nothing to measure on.
        ManifestError: a label that the run does not know.
    """
    if data is None:
        return evaluate_examples(run, run.splits().test, run.root)
    config = run.config
    if manifest is not None:
        config = replace(config, data=replace(config.data, manifest=manifest))
    loaded = load_manifest(config, data)
    measured = evaluate_examples(run, loaded.examples, loaded.root)
    return replace(measured, left_out={**loaded.broken, **measured.left_out})


def evaluate_examples(run: Run, examples: Sequence[Example], root: Path) -> Evaluation:
    """Measure a run on examples whose paths are relative to `root`."""
    if run.task_type.has_classes:
        said = {label for example in examples for label in labels_of(example)}
        if unknown := sorted(said - set(run.labels)):
            raise ManifestError(f"expected labels that the run knows, {list(run.labels)}; the data also has {unknown}")
    return evaluate_task(run, run.trained_task(), examples, root)


def evaluate_task(run: Run, task: Task, examples: Sequence[Example], root: Path) -> Evaluation:
    """Measure a task, whatever its model is, on examples that are read as the run reads its own."""
    loader = build_loader(run, examples, root, task.encode)
    by_key = {example.key: example for example in examples}
    scores, truth, groups, clips, rows = [], [], [], [], []
    for batch, outputs in outputs_of(task, loader, best_device(run.config.training.accelerator)):
        batch_scores, batch_truth = task.pairs(outputs, batch)
        scores.append(batch_scores)
        truth.append(batch_truth)
        clips.append(task.clips(batch))
        groups += [_group(by_key[batch.keys[owner]]) for owner in task.owners(batch).tolist()]
        for key, said, true in zip(batch.keys, task.rows(outputs, batch), task.truths(batch), strict=True):
            rows.append(described(run, root, by_key[key]) | true | said)
    if not groups:
        raise ConfigError(f"nothing to measure on: {len(examples)} clips, {len(loader.left_out)} of them unreadable")
    all_scores, all_truth = torch.cat(widened(scores)), torch.cat(widened(truth))
    for name, marks in task.marks(all_scores, all_truth).items():
        rows = [row | {name: mark} for row, mark in zip(rows, marks, strict=True)]
    return judge(task, all_scores, all_truth, groups, torch.cat(clips), rows, loader.left_out)


def evaluate_constant(run: Run, trained_on: Sequence[Example], measured: Evaluation) -> Evaluation:
    """The control that looks at no frame, on what `measured` was measured on.

    Args:
        run: names task and labels.
        trained_on: the training examples, from which the constant answer is learned.
        measured: an evaluation whose truth is taken over.

    Raises:
        ConfigError: the task knows no such answer.
    """
    task = run.trained_task()
    targets = [task.encode(example, _times(run, task, example)) for example in trained_on]
    constant = task.constant(targets)
    if constant is None:
        raise ConfigError(f"the task {run.config.task} has no answer that looks at no frame")
    if constant.dtype != torch.uint8:  # the bytes of a text
        constant = constant.float()
    scores = constant.expand(len(measured.truth), -1).contiguous()
    return judge(task, scores, measured.truth, measured.groups, measured.clips, [], {})


def judge(
    task: Task,
    scores: Tensor,
    truth: Tensor,
    groups: list[str],
    clips: Tensor,
    rows: list[dict[str, Any]],
    left_out: Mapping[str, str],
) -> Evaluation:
    """Compute all numbers of an evaluation from scores (n, K) and truth (n, ...)."""
    measures = measure(task.make_measures(sync=False), scores, truth, groups, clips)
    confusion, per_class = None, None
    if task.has_classes:
        predicted = torch.nn.functional.one_hot(scores.argmax(-1), len(task.labels))
        actual = torch.nn.functional.one_hot(truth, len(task.labels)) if truth.ndim == 1 else truth
        if truth.ndim == 1:
            confusion = multiclass_confusion_matrix(scores, truth, len(task.labels)).tolist()
        else:
            predicted = (scores >= 0.5).long()
        per_class = [
            _class_row(*column) | _of_label(column[0], measures)
            for column in zip(task.labels, predicted.T, actual.T, strict=True)
        ]
    whole = {name: value for name, value in measures.items() if "/" not in name}
    caution = task.caution(scores, truth)
    return Evaluation(whole, len(truth), confusion, per_class, rows, left_out, scores, truth, groups, clips, caution)


def _of_label(label: str, measures: Mapping[str, Interval]) -> dict[str, dict[str, float | None]]:
    """The measures of one label alone, called `MEASURE/LABEL`, by the name of the measure; none that is no number."""
    found = {name.partition("/")[0]: value for name, value in measures.items() if name.partition("/")[2] == label}
    return {name: value.to_json() for name, value in found.items() if math.isfinite(value.value)}


def _class_row(label: str, predicted: Tensor, actual: Tensor) -> dict[str, Any]:
    hits, said, true = int((predicted * actual).sum()), int(predicted.sum()), int(actual.sum())
    f1 = 2 * hits / (said + true) if said + true else 0.0
    return {
        "label": label,
        "precision": wilson(hits, said).to_json() if said else None,
        "recall": wilson(hits, true).to_json() if true else None,
        "f1": {"value": f1},
        "n": true,
    }


def _group(example: Example) -> str:
    return example.group or example.path


def _times(run: Run, task: Task, example: Example) -> Tensor:
    if task.readout == "clip":
        return torch.zeros(1, dtype=torch.float64)
    return frame_times(run.root / example.path, example, run.reading)
