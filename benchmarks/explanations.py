"""Does the heat follow what the model can only have looked at? Measured on the demo's moving digits.

    unreel demo --out demo
    python benchmarks/explanations.py demo/run [--clips 150]

The digit of a clip stands in a box of a quarter of the frame, and noise around it: heat that means something lies in
the box. And frames that the heat finds important are frames that cost something when they are covered: Spearman's rank
correlation within each clip. Both methods, on the trained model, and as a control on the same model with the weights of
before training (Adebayo et al. 2018), which has the same digits before it. Of clips that the model gets right; the
untrained model is asked about the same label. In brackets 95 % intervals, by a bootstrap over images of digits.
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from unreel.clip import Clip, collate
from unreel.demo_data import boxes, clip_seed
from unreel.inference.heat import Method, find_heat, over_frames
from unreel.inference.occlusion import occlude, rank_correlation
from unreel.inference.outputs import build_loader
from unreel.runs import Run

METHODS: tuple[Method, ...] = ("hires_cam", "grad_cam")
COLUMNS = ("share of the heat in the box", "elsewhere", "rank correlation with occlusion", "clips below 0.2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("RUN", type=Path)
    parser.add_argument("--clips", type=int, default=150, help="test clips at most")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    run = Run.load(asked.RUN)
    task, fresh = run.trained_task(), run.fresh_task().eval()
    dataset = build_loader(run, run.splits().test[: asked.clips], run.root, task.encode).dataset
    rows: dict[str, list[tuple[float, float, float | None]]] = {}
    images: list[int] = []
    started = time.monotonic()
    for index, example in enumerate(dataset.examples):
        clip = dataset[0, index]
        assert isinstance(clip, Clip)
        batch = collate([clip])
        label = batch.targets["label"]
        with torch.inference_mode():
            if int(task(batch).argmax()) != int(label):
                continue
        image = int(re.findall(r"image(\d+)", example.path)[-1])
        images.append(image)
        size = clip.frames.shape[-1]
        box = torch.from_numpy(boxes(example.labels[0], size, len(clip), clip_seed(0, image, example.labels[0])))
        elsewhere = box.roll((size // 2, size // 2), (1, 2))
        for name, model in (("trained", task), ("untrained", fresh)):
            lost = occlude(model, batch, int(label), with_patches=False).frames
            assert lost is not None
            for method in METHODS:
                heat = find_heat(model, model.model.sites(), batch, label, method)
                spread = over_frames(heat.places[0], (size, size))
                assert spread is not None
                total = float(spread.sum())
                inside, outside = (
                    float((spread * where).sum()) / total if total else 0.25 for where in (box, elsewhere)
                )
                ranks = rank_correlation(heat.importance[0], lost)
                rows.setdefault(f"{method}, {name}", []).append((inside, outside, ranks))
    seconds = time.monotonic() - started
    print(f"{len(images)} clips of {len(set(images))} images, {seconds:.0f} s; the box has 25 % of the area\n")
    print("| |", " | ".join(COLUMNS), "|\n|--|--|--|--|--|")
    for name, found in rows.items():
        inside, outside, ranks = zip(*found, strict=True)
        weak = sum(rank is None or rank < 0.2 for rank in ranks)
        known = [0.0 if rank is None else rank for rank in ranks]
        print(f"| {name} | {_mean(inside, images)} | {_mean(outside, images)} | {_mean(known, images)} | {weak} |")


def _mean(values: list[float] | tuple[float, ...], images: list[int]) -> str:
    """Mean with its interval; clips of one image are drawn together."""
    by_image: dict[int, list[float]] = {}
    for value, image in zip(values, images, strict=True):
        by_image.setdefault(image, []).append(value)
    groups = list(by_image.values())
    rng = np.random.default_rng(0)
    drawn = (rng.integers(len(groups), size=len(groups)) for _ in range(1000))
    means = [fmean(value for number in numbers for value in groups[number]) for numbers in drawn]
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{fmean(values):.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
