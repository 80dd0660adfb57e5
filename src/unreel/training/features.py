"""Features of a frozen encoder, computed once and kept on disk: later epochs cost the recurrence alone.

They are named after the encoder's weights, the statistics of its input, the preprocessing, the frames taken and the
content of the file: whatever changes one of these makes new ones, and runs that share them share the files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from unreel.config import RunConfig
from unreel.data import AugmentConfig, ClipDataset, ClipLoader, Example, FrameCache, SamplingConfig
from unreel.models import CNNRNN, Captioner, CaptionerConfig, CNNRNNConfig

GivesFeatures = CNNRNN | Captioner
"""Models whose task may be handed what `encode` gives, for `decode`, instead of frames."""


def features_stay(config: RunConfig) -> bool:
    """Whether the encoder says the same of a clip in every epoch.

    It does if it is frozen, no frame is augmented, and either the frames are always the same ones or what is said of
    a frame does not depend on the frame before it. Clips that are read a chunk at a time are never seen as a whole.
    """
    model = config.model
    if not isinstance(model, CNNRNNConfig | CaptionerConfig):  # of no other model are features kept
        return False
    frozen = model.encoder.frozen and model.encoder.unfreeze_from is None
    alone = isinstance(model, CaptionerConfig) or model.input == "frames" or not config.data.sampling.draws
    held = config.training.through_time == "whole"
    return frozen and alone and held and config.data.augment == AugmentConfig()


class FeatureCache:
    """Features of clips in a folder.

    Args:
        folder: where they are kept.
        model: has the frozen encoder.
        workers: processes that read clips.
        batch_size: clips that go through the encoder at a time.
        device: where the encoder runs.
        console: where progress is drawn.
    """

    def __init__(
        self, folder: Path, model: GivesFeatures, workers: int, batch_size: int, device: torch.device, console: Console
    ) -> None:
        self.folder, self.model, self.workers, self.batch_size = folder, model, workers, batch_size
        self.device, self.console = device, console

    def of(self, dataset: ClipDataset) -> ClipDataset:
        """The dataset whose frames are features (T, D), or (T, P, D), from disk or computed now and written there.

        Files that cannot be read stay broken in it.
        """
        always_same = not dataset.sampling.draws
        taken = dataset.sampling if always_same else SamplingConfig("all")
        cache = FrameCache(self.folder / self._name(taken), dataset.reading)
        missing = [
            example
            for example in dataset.examples
            if not cache.holds(dataset.root / example.path, example, dataset.preprocess)
        ]
        if missing:
            self._fill(cache, dataset, taken, missing)
        return ClipDataset(
            dataset.examples,
            dataset.root,
            sampling=SamplingConfig("all") if always_same else dataset.sampling,
            preprocess=dataset.preprocess,
            encode_targets=dataset.encode_targets,
            seed=dataset.seed,
            training=dataset.training,
            cache=cache,
            memory=True,
            frame_shape=self.model.feature_shape,
            frame_dtype=torch.float32,
            reading=dataset.reading,
        )

    @torch.inference_mode()
    def _fill(self, cache: FrameCache, dataset: ClipDataset, taken: SamplingConfig, missing: Sequence[Example]) -> None:
        frames = ClipDataset(
            missing,
            dataset.root,
            taken,
            dataset.preprocess,
            frame_shape=dataset.frame_shape,
            reading=dataset.reading,
        )
        loader = ClipLoader(frames, self.batch_size, self.workers)
        by_key = {example.key: example for example in missing}
        model = self.model.to(self.device).eval()
        batches = track(loader, "features", len(loader), console=self.console, disable=not self.console.is_terminal)
        for batch in batches:
            features = model.encode(batch.frames.to(self.device), batch.lengths.to(self.device)).float().cpu()
            for row, (key, length) in enumerate(zip(batch.keys, batch.lengths, strict=True)):
                path = dataset.root / by_key[key].path
                views = None if batch.views is None else batch.views[row, :length].clone()
                feature, times = features[row, :length].clone(), batch.times[row, :length].clone()
                cache.put(path, by_key[key], dataset.preprocess, feature, times, views)
        loader.close()

    def _name(self, taken: SamplingConfig) -> str:
        digest = hashlib.blake2b(
            json.dumps([asdict(taken), self.model.feature_kind, self.model.feature_shape]).encode(), digest_size=16
        )
        for part in (self.model.normalize, self.model.encoder):
            for name, tensor in part.state_dict().items():
                digest.update(name.encode())
                digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()
