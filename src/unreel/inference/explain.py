"""Why a trained run says what it says of a clip: which frames and which places counted, checked by covering them.

What this file is not: it draws nothing (`reports/explanations.py`).

Shape letters: T frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from unreel.clip import Clip, ClipBatch, collate
from unreel.data import LONG_FRAMES, ClipDataset, Example
from unreel.data.dataset import Broken
from unreel.devices import best_device
from unreel.errors import ConfigError
from unreel.inference.explain_words import CaptionExplanation, asked_words, explain_caption
from unreel.inference.heat import Method, find_heat, over_frames, strongest
from unreel.inference.occlusion import Occlusion, agreement, occlude
from unreel.inference.outputs import build_loader, described, nothing
from unreel.inference.predict import find_examples
from unreel.models import Model
from unreel.nearest import nearest
from unreel.runs import SIDES, Run
from unreel.tasks import Caption, Regress, Task

SMALLER = 16
"""How many times longer clips may be whose frames are no pictures."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a run says what it says of one clip.

    Args:
        where: `file`, `start` and `end`, as rows of `predict` begin.
        target: name of the output that is explained.
        score: that output before softmax or sigmoid; of labels of frames its mean over the frames.
        said: what the task says of the clip, as `predict` does.
        truth: `truth` where it is known, else nothing.
        frames: (T, *frame) as the model saw them.
        times: (T,) seconds, or position.
        views: (T,), None where there is one view.
        importance: (T,) the share of each frame in the heat; 1 in all, or all 0 where nothing spoke for the target.
        heat: (T, H, W) or (T, F), 1 at most; None where the model's maps have no places.
        attention: (T,) weights of a readout by attention; None without one.
        occlusion: what the score lost where a part was covered.
        agreement: `frames` and `patches`, the rank correlation of heat and occlusion; None where there is none.
    """

    where: Mapping[str, Any]
    target: str
    score: float
    said: Mapping[str, Any]
    truth: Mapping[str, Any]
    frames: Tensor = field(repr=False)
    times: Tensor = field(repr=False)
    views: Tensor | None = field(repr=False)
    importance: Tensor = field(repr=False)
    heat: Tensor | None = field(repr=False)
    attention: Tensor | None = field(repr=False)
    occlusion: Occlusion = field(repr=False)
    agreement: Mapping[str, float | None]

    def row(self) -> dict[str, Any]:
        """All but the pictures, ready for JSON."""
        covered = self.occlusion.frames
        patches = self.occlusion.patches
        return {
            **self.where,
            "target": self.target,
            "output": self.score,
            **self.truth,
            "said": self.said,
            "times": self.times.tolist(),
            "views": None if self.views is None else self.views.tolist(),
            "importance": self.importance.tolist(),
            "attention": None if self.attention is None else self.attention.tolist(),
            "occlusion": {
                "parts": self.occlusion.parts.tolist(),
                "frames": None if covered is None else covered.tolist(),
                "patches": None if patches is None else patches.tolist(),
            },
            "agreement": dict(self.agreement),
        }


def explain(
    run: Run,
    paths: Sequence[str | Path] = (),
    side: str | None = None,
    target: str | None = None,
    method: Method = "hires_cam",
    most: int | None = None,
) -> Iterator[Explanation | CaptionExplanation | Broken]:
    """Explain clips one after another; one that cannot be read, or is too long, is Broken.

    Args:
        run: a trained run.
        paths: files, folders (searched for readable files) and glob patterns.
        side: "train", "val" or "test": the run's own clips, in place of paths.
        target: the label that is explained; by default the one that the model finds most likely, for regress the first
            number. Of a captioner the caption that is explained, by default the one that it writes.
        method: see `unreel.inference.heat.find_heat`.
        most: frames of the longest clip that is explained, since all of them are held, with all that the model makes of
            them. None for 256 pictures, or 4096 frames that are none.

    Raises:
        ConfigError: neither paths nor a side, or both; a label that the run does not know; a path that holds nothing
            readable; a model that has no maps; `most` below 1.
    """
    if bool(paths) == bool(side):
        raise ConfigError("explain needs either files or one of the run's own sides: give FILES, or --split test")
    if side is None:
        examples, broken = find_examples(run, paths)
        found = explain_examples(run, examples, Path(), target, method, labelled=False, most=most)
        return chain(found, (Broken(file, file, reason) for file, reason in broken.items()))
    if side not in SIDES:
        raise ConfigError(f"a side is one of {', '.join(SIDES)}, got {side!r}{nearest(side, SIDES)}")
    examples = getattr(run.splits(), side)
    if not examples:
        raise ConfigError(f"{run.folder}: the run has no clips on its {side} side; name files instead")
    return explain_examples(run, examples, run.root, target, method, most=most)


def explain_examples(
    run: Run,
    examples: Sequence[Example],
    root: Path,
    target: str | None = None,
    method: Method = "hires_cam",
    labelled: bool = True,
    with_patches: bool = True,
    most: int | None = None,
) -> Iterator[Explanation | CaptionExplanation | Broken]:
    """`explain`, of examples whose paths are relative to `root`.

    Args:
        run, target, method, most: see `explain`.
        examples: which clips.
        root: where their paths start.
        labelled: their labels are known to be true.
        with_patches: cover patches too, and not frames only.
    """
    task = run.trained_task()
    if target is not None and isinstance(task, Caption):
        asked_words(task, target)
    elif target is not None and target not in run.labels:
        raise ConfigError(
            f"target must be a label of the run, {', '.join(run.labels)}; got {target!r}{nearest(target, run.labels)}"
        )
    if most is None:
        most = LONG_FRAMES * (1 if len(run.frame_shape) == 3 else SMALLER)
    if most < 1:
        raise ConfigError(f"expected at least 1 frame of a clip that is explained, got {most}")
    if not cast(Model, task.model).sites().maps:
        raise ConfigError(f"the model {run.config.model.name!r} has no maps to explain it by")
    dataset = build_loader(run, examples, root, task.encode if labelled else nothing).dataset
    return _explained(run, root, task, dataset, _Asked(target, method, labelled, with_patches, most))


@dataclass(frozen=True)
class _Asked:
    """What is wanted of every clip, see `explain_examples`."""

    target: str | None
    method: Method
    labelled: bool
    with_patches: bool
    most: int


def _explained(
    run: Run, root: Path, task: Task, dataset: ClipDataset, asked: _Asked
) -> Iterator[Explanation | CaptionExplanation | Broken]:
    device = best_device(run.config.training.accelerator)
    task.to(device).eval()
    for index, example in enumerate(dataset.examples):
        count = dataset.count(index)
        if isinstance(count, int) and count > asked.most:
            reason = (
                f"{count} frames are more than the {asked.most} that are held at once: cut a piece of it, or, where "
                f"there is memory for all of them, say --most {count}"
            )
            yield Broken(example.key, example.path, reason)
            continue
        clip = dataset[0, index]
        if isinstance(clip, Broken):
            yield clip
            continue
        where = described(run, root, example)
        if isinstance(task, Caption):
            yield explain_caption(
                task, where, clip, device, asked.target, asked.method, asked.labelled, asked.with_patches
            )
        else:
            yield _explanation(run, task, where, clip, device, asked)


def _explanation(
    run: Run, task: Task, where: Mapping[str, Any], clip: Clip, device: torch.device, asked: _Asked
) -> Explanation:
    seen = collate([clip])
    batch = seen.to(device)
    with torch.inference_mode():
        outputs = task(batch)
    number = _number(run, outputs, batch, asked.target)
    heat = find_heat(task, cast(Model, task.model).sites(), batch, torch.tensor([number], device=device), asked.method)
    spread = over_frames(heat.places[0], _space(clip.frames))
    occlusion = occlude(task, batch, number, asked.with_patches and spread is not None)
    importance = heat.importance[0].cpu()
    return Explanation(
        where=where,
        target=run.labels[number],
        score=float(heat.scores[0]),
        said=task.rows(outputs.cpu(), seen)[0],
        truth=task.truths(seen)[0] if asked.labelled else {},
        frames=clip.frames,
        times=clip.times,
        views=clip.views,
        importance=importance,
        heat=None if spread is None else spread.cpu(),
        attention=None if heat.attention is None else heat.attention[0].cpu(),
        occlusion=occlusion,
        agreement=agreement(occlusion, importance, spread),
    )


def _number(run: Run, outputs: Tensor, batch: ClipBatch, target: str | None) -> int:
    if target is not None:
        return run.labels.index(target)
    return 0 if run.task_type is Regress else int(strongest(outputs, batch.lengths)[0])


def _space(frames: Tensor) -> tuple[int, ...]:
    """H and W of images (T, C, H, W), F of vectors (T, F), nothing of tokens (T,)."""
    return tuple(frames.shape[2:] if frames.ndim == 4 else frames.shape[1:])
