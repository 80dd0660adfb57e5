"""A configuration that trains in a second."""

from dataclasses import replace
from pathlib import Path

from unreel.config import DataConfig, RunConfig, TrainingConfig
from unreel.data import AugmentConfig, PreprocessConfig, SamplingConfig, SplitConfig
from unreel.models import CNNRNNConfig, EncoderConfig
from unreel.tasks import OptimConfig


def tiny(path: Path, epochs: int = 2, **data: object) -> RunConfig:
    """Dropout, augmentation and random sampling are on: whatever draws at random takes part."""
    settings = DataConfig(
        path=str(path),
        split=SplitConfig(val=0.25, test=0.25),
        sampling=SamplingConfig("segment", frames=4),
        preprocess=PreprocessConfig(size=(8, 8), channels="grey"),
        augment=AugmentConfig(crop=0.8, brightness=0.2),
        batch_size=4,
        workers=0,
    )
    return RunConfig(
        data=replace(settings, **data),
        model=CNNRNNConfig(
            encoder=EncoderConfig(channels=(4,), features=8), recurrence="gru", hidden_size=8, dropout=0.2
        ),
        optim=OptimConfig(lr=1e-2),
        training=TrainingConfig(epochs=epochs, accelerator="cpu", control=False),
    )
