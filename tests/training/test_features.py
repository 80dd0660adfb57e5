"""Features of frozen encoders on disk. That a run with them equals one without is in tests/end_to_end/test_tasks.py."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from unreel.config import DataConfig, RunConfig
from unreel.data import ClipDataset, ManifestConfig, PreprocessConfig, SamplingConfig, load
from unreel.models import CNNRNN, Captioner, CaptionerConfig, CNNRNNConfig, EncoderConfig
from unreel.training.features import FeatureCache, features_stay

FROZEN = EncoderConfig("test_resnet", frozen=True)
SHAPE = (3, 32, 32)
MODELS = {
    "vectors": CaptionerConfig(encoder=FROZEN),
    "places": CaptionerConfig(encoder=FROZEN, form="attention"),
    "cnn_rnn": CNNRNNConfig(encoder=FROZEN),
}


def build(name):
    torch.manual_seed(0)
    config = MODELS[name]
    return Captioner(config, SHAPE, 5) if isinstance(config, CaptionerConfig) else CNNRNN(config, SHAPE, 5)


@pytest.fixture
def dataset(tmp_path):
    """Two clips, of three frames and of two."""
    generator = np.random.default_rng(0)
    for name, length in (("a", 3), ("b", 2)):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        np.save(folder / "clip.npy", generator.integers(0, 256, (length, 32, 32, 3), dtype=np.uint8))
    manifest = load(tmp_path / "data", ManifestConfig())
    return ClipDataset(
        manifest.examples, manifest.root, SamplingConfig("all"), PreprocessConfig(size=(32, 32)), frame_shape=SHAPE
    )


@pytest.mark.parametrize("name", MODELS)
def test_what_is_kept_is_what_the_model_decodes(name, dataset, tmp_path):
    model = build(name)
    cache = FeatureCache(tmp_path / "features", model, 0, 2, torch.device("cpu"), Console(quiet=True))
    kept = cache.of(dataset)
    for index in range(2):
        clip, frames = kept[0, index], dataset[0, index]
        assert clip.frames.shape == (len(frames.frames), *model.feature_shape)
        with torch.no_grad():
            wanted = model.eval()(frames.frames[None])[0]
            torch.testing.assert_close(model.decode(clip.frames[None])[0], wanted, rtol=1e-4, atol=1e-5)


def test_a_vector_and_its_places_do_not_share_a_file(dataset, tmp_path):
    for name in ("vectors", "places"):
        FeatureCache(tmp_path, build(name), 0, 2, torch.device("cpu"), Console(quiet=True)).of(dataset)
    assert len({folder.name for folder in tmp_path.iterdir() if folder.is_dir()} - {"data"}) == 2


def test_features_stay_where_the_encoder_is_frozen_and_the_frames_are_the_same():
    config = RunConfig(task="caption", model=MODELS["places"], data=DataConfig(sampling=SamplingConfig("uniform")))
    assert features_stay(config)
    assert features_stay(replace(config, data=DataConfig(sampling=SamplingConfig("window"))))
    thawed = EncoderConfig("test_resnet", frozen=True, unfreeze_from="layer4")
    for encoder in (EncoderConfig(), EncoderConfig("test_resnet"), thawed):
        assert not features_stay(replace(config, model=CaptionerConfig(encoder=encoder)))
