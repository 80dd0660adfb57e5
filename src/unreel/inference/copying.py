"""Copies: what a captioner is held against, the caption of the training clip that looks most like the one at hand.

Alike is what the run's own encoder finds alike: the mean of its features over places and frames, less the mean of the
training clips, by the angle between two of them. Of the captions of that clip the most central is copied (Devlin et al.
2015, arXiv 1505.04467, with one neighbour): the one that is on average most like the others, by CIDEr-D. What this file
is not: it learns nothing, and knows no form of the model.

Shape letters: N clips, T frames, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from unreel.clip import ClipBatch, stacked
from unreel.data import Example
from unreel.devices import best_device
from unreel.errors import ConfigError
from unreel.inference.evaluate import Evaluation, judge
from unreel.inference.outputs import build_loader, nothing
from unreel.nn import SeesWords
from unreel.ops import valid
from unreel.runs import Run
from unreel.tasks.captioning.measures import to_bytes
from unreel.tasks.captioning.rewards import Rewards

_AT_ONCE = 256
"""Clips whose likeness to all training clips is held at once: to 100,000 of them 100 MB."""


def evaluate_nearest(
    run: Run, trained_on: Sequence[Example], examples: Sequence[Example], measured: Evaluation
) -> Evaluation:
    """The control that copies, on what `measured` was measured on.

    Args:
        run: of a captioner.
        trained_on: the training examples, to copy from.
        examples: what was measured on.
        measured: an evaluation of them, whose truth is taken over.

    Raises:
        ConfigError: no training clip can be read any more, or other clips than were measured.
    """
    task = run.trained_task()
    model = cast(SeesWords, task.model)
    known, sources = _features(run, model, trained_on)
    asked, clips = _features(run, model, examples)
    if not sources or len(clips) != len(measured.truth):
        raise ConfigError(
            f"expected the clips that were learned from and measured on, {len(trained_on)} and {len(measured.truth)}, "
            f"could read {len(sources)} and {len(clips)}"
        )
    mean = known.mean(0)
    directions = functional.normalize(known - mean).T
    likeness = (functional.normalize(some - mean) @ directions for some in asked.split(_AT_ONCE))
    nearest = torch.cat([some.argmax(1) for some in likeness]).tolist()
    by_key = {example.key: example for example in trained_on}
    rewards = Rewards([example.labels for example in trained_on])
    copied = {place: rewards.most_central(by_key[sources[place]].labels) for place in set(nearest)}
    scores = stacked([to_bytes(copied[place]) for place in nearest])
    return judge(task, scores, measured.truth, measured.groups, measured.clips, [], {})


@torch.inference_mode()
def _features(run: Run, model: SeesWords, examples: Sequence[Example]) -> tuple[Tensor, list[str]]:
    """Mean features (N, D) of those that can be read, and their keys."""
    device = best_device(run.config.training.accelerator)
    model = model.to(device).eval()
    found: list[Tensor] = []
    keys: list[str] = []
    loader = build_loader(run, examples, run.root, nothing)
    with closing(loader):
        for batch in loader:
            if not isinstance(batch, ClipBatch):
                continue
            lengths = batch.lengths.to(device)
            features = model.encode(batch.frames.to(device), lengths)
            features = features.flatten(2, -2).mean(2) if features.ndim > 3 else features
            found.append(valid.mean(features.float(), lengths).cpu())
            keys += batch.keys
    model.cpu()
    return torch.cat(found) if found else torch.zeros(0, 0), keys
