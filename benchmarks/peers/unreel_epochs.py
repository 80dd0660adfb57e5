"""Unreel's side of `cifar_epoch.py`: epochs of its image models as a job of `serve.py`.

    python -m peers.unreel_epochs THREADS

An epoch is what `unreel train` does in one: clips from an .npz through the loader, frames in memory from the second
epoch on, the task under Lightning with gradient clipping and the schedule. Validation and checkpoints are left out.
"""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch
from lightning.pytorch import Trainer

from peers.serve import Arrays, Job, serve
from unreel.data import ClipDataset, ClipLoader, PreprocessConfig, SamplingConfig, load
from unreel.models import ImageRNN, ImageRNNConfig
from unreel.tasks import Classify, OptimConfig
from unreel.training.statistics import fit_normalize


def build(name: str, arrays: Arrays, mode: str) -> Job:
    path = Path(mkdtemp()) / "images.npz"
    np.savez(path, x_train=arrays["x"], y_train=arrays["y"], x_test=arrays["x_test"], y_test=arrays["y_test"])
    manifest = load(path)
    labels = Classify.label_names(manifest.examples)
    model = ImageRNN(ImageRNNConfig(form=name), (3, 32, 32), len(labels))  # type: ignore[arg-type]
    task = Classify(model, labels, OptimConfig(lr=float(arrays["lr"]), schedule="constant", weight_decay=0.0))
    sides = {}
    for side in ("train", "test"):
        examples = [example for example in manifest.examples if example.split == side]
        settings = SamplingConfig(frames=1), PreprocessConfig((32, 32))
        training = side == "train"
        data = ClipDataset(
            examples, path.parent, *settings, encode_targets=task.encode, training=training, memory=training
        )
        sides[side] = ClipLoader(data, int(arrays["batch"]), shuffle=training)
    fit_normalize(model, sides["train"].dataset)
    for index in range(len(sides["train"].dataset)):  # the frames of a first epoch, which is not what is timed
        sides["train"].dataset[0, index]

    def epoch() -> None:
        trainer = Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            gradient_clip_val=1.0,
        )
        trainer.fit(task, sides["train"])

    def results() -> Arrays:
        task.eval()
        with torch.inference_mode():
            right = [task(batch).argmax(1) == batch.targets["label"] for batch in sides["test"]]
        task.train()
        parameters = sum(parameter.numel() for parameter in model.parameters())
        return {"accuracy": torch.cat(right).float().mean().numpy(), "parameters": np.asarray(parameters)}

    return Job({"epoch": epoch}, results)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    serve(build, {"torch": torch.__version__})
