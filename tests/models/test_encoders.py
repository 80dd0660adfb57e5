import dataclasses
import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from unreel.errors import ConfigError
from unreel.models.encoders import EncoderConfig, build_encoder, pretrained_statistics

TIMM = "test_resnet"
OPTIONS = [
    EncoderConfig(channels=(4, 6), features=None),
    EncoderConfig(channels=(4, 6), norm="batch", head="average", features=7, dropout=0.5),
    EncoderConfig(channels=(4,), norm="none", kernel_size=5),
    EncoderConfig(TIMM),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Weights of a timm CNN with its classifier, for three channels, as a stranger would have them."""
    import timm

    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    torch.manual_seed(3)
    net = timm.create_model(TIMM, pretrained=False)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
    save_file(net.state_dict(), path)
    return path


@pytest.mark.parametrize("config", OPTIONS)
def test_features_are_as_announced(config):
    encoder = build_encoder(config, (2, 33, 38))
    assert encoder(torch.randn(3, 2, 33, 38)).shape == (3, encoder.features)
    assert encoder.training
    assert EncoderConfig(**dataclasses.asdict(config)) == config


def test_small_is_the_stack_of_the_tutorials():
    encoder = build_encoder(EncoderConfig(channels=(4, 6), norm="none", features=5), (3, 16, 16))
    kinds = [type(layer).__name__ for layer in encoder.net]
    assert kinds == ["Conv2d", "ReLU", "MaxPool2d"] * 2 + ["Flatten", "Linear", "ReLU"]
    assert encoder.net[7].in_features == 6 * 4 * 4


def test_identity_hands_vectors_on():
    encoder = build_encoder(EncoderConfig("identity"), (5,))
    x = torch.randn(3, 5)
    assert torch.equal(encoder(x), x)
    assert encoder.features == 5


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_local_weights_are_loaded_for_any_number_of_channels(saved, channels):
    import timm

    encoder = build_encoder(EncoderConfig(TIMM, weights=str(saved)), (channels, 32, 32)).eval()
    peer = timm.create_model(
        TIMM, pretrained=True, pretrained_cfg_overlay={"file": str(saved)}, num_classes=0, in_chans=channels
    ).eval()
    x = torch.randn(2, channels, 32, 32)
    torch.testing.assert_close(encoder(x), peer(x), rtol=0, atol=0)


def test_files_that_are_not_these_weights_are_refused(saved, tmp_path):
    def build(path):
        return build_encoder(EncoderConfig(TIMM, weights=str(path)), (3, 32, 32))

    state = load_file(saved)
    del state["conv1.0.weight"]
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(ConfigError, match=r"1 of .* tensors are missing or of another shape"):
        build(tmp_path / "less.safetensors")
    with pytest.raises(ConfigError, match=r"readable .safetensors file, got .*nowhere"):
        build(tmp_path / "nowhere.safetensors")
    torch.save(load_file(saved), tmp_path / "pickled.pth")
    with pytest.raises(ConfigError, match=r"readable .safetensors file, got .*pickled"):
        build(tmp_path / "pickled.pth")


def test_pretrained_without_internet_says_in_one_line_what_to_do(monkeypatch, tmp_path):
    # These are read once at import, so they are set in the library and not in the environment.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", os.fspath(tmp_path))
    with pytest.raises(ConfigError, match=r"cannot be downloaded from timm/resnet18.*weights=") as caught:
        build_encoder(EncoderConfig("resnet18", pretrained=True), (3, 32, 32))
    assert "\n" not in str(caught.value)


def test_pretrained_takes_the_download(monkeypatch, saved):
    asked = []

    def download(repository, name):
        asked.append((repository, name))
        return str(saved)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    encoder = build_encoder(EncoderConfig(TIMM, pretrained=True), (3, 32, 32))
    assert asked == [("timm/test_resnet.r160_in1k", "model.safetensors")]
    state = load_file(saved)
    assert all(torch.equal(value, state[key]) for key, value in encoder.net.state_dict().items())


def test_statistics_of_pretrained_weights():
    assert pretrained_statistics(EncoderConfig(), 3) is None
    assert pretrained_statistics(EncoderConfig("resnet18"), 3) is None
    mean, std = pretrained_statistics(EncoderConfig("resnet18", pretrained=True), 3) or ([], [])
    assert (mean, std) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    mean, std = pretrained_statistics(EncoderConfig("resnet18", pretrained=True), 1) or ([], [])
    assert (mean, std) == (pytest.approx([0.449]), pytest.approx([0.226]))


@pytest.mark.parametrize("stage", [None, "layer3", "layer3.0.conv2"])
def test_what_is_frozen_stays(stage):
    torch.manual_seed(0)
    encoder = build_encoder(EncoderConfig(TIMM, frozen=True, unfreeze_from=stage), (3, 32, 32)).train()
    names = [name for name, _ in encoder.net.named_parameters()]
    first = len(names) if stage is None else next(i for i, name in enumerate(names) if name.startswith(stage))
    assert [p.requires_grad for p in encoder.net.parameters()] == [i >= first for i in range(len(names))]

    with torch.no_grad():  # residual branches start at zero, where they pass no gradient on
        for parameter in encoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    before = {key: value.clone() for key, value in encoder.net.state_dict().items()}
    out = encoder(torch.randn(4, 3, 32, 32))
    if stage is not None:
        out.sum().backward()
        torch.optim.SGD(encoder.parameters(), lr=0.1).step()
    order = list(before)
    frozen_end = len(order) if stage is None else next(i for i, k in enumerate(order) if k.startswith(stage))
    changed = [not torch.equal(before[key], value) for key, value in encoder.net.state_dict().items()]
    assert not any(changed[:frozen_end])
    assert all(changed[frozen_end:]) or stage is None


def test_a_frozen_encoder_says_the_same_in_train_mode():
    encoder = build_encoder(EncoderConfig(TIMM, frozen=True), (3, 32, 32))
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(encoder.train()(x), encoder.eval()(x), rtol=0, atol=0)
    assert not encoder.train()(x).requires_grad


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "resnet18", "kernel_size": 5}, "kernel_size=5 does not apply to the encoder 'resnet18'"),
        ({"frozen": True}, "frozen=True does not apply to the encoder 'small'"),
        ({"name": "identity", "features": 3}, "which takes no options"),
        ({"channels": ()}, "channels must be"),
        ({"kernel_size": 4}, "odd"),
        ({"norm": "layer"}, "none, batch, group, got 'layer'"),
        ({"head": "max"}, "flatten, average"),
        ({"features": 0}, "features must be"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"name": "resnet18", "pretrained": True, "weights": "a"}, "one of the two"),
        ({"name": "resnet18", "unfreeze_from": "layer4"}, "needs frozen=True"),
    ],
)
def test_configs_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        EncoderConfig(**fields)


@pytest.mark.parametrize(
    ("config", "frame_shape", "message"),
    [
        (EncoderConfig("resnet181"), (3, 32, 32), "got 'resnet181' - did you mean resnet18?"),
        (EncoderConfig(TIMM, frozen=True, unfreeze_from="layer9"), (3, 32, 32), "no stage 'layer9' - did you mean"),
        (EncoderConfig(), (3, 4, 32), "at least 8 pixels a side"),
        (EncoderConfig(), (5,), "to 'identity'"),
        (EncoderConfig("identity"), (3, 8, 8), r"takes frames \(D,\)"),
    ],
)
def test_builds_that_cannot_be_are_refused(config, frame_shape, message):
    with pytest.raises(ConfigError, match=message):
        build_encoder(config, frame_shape)


@pytest.mark.parametrize(
    ("config", "size", "name", "shape"),
    [
        (EncoderConfig(channels=(4, 6)), 16, "6", (6, 8, 8)),  # the ReLU before the last pooling
        (EncoderConfig(channels=(4, 6), norm="none", downsample="stride"), 16, "3", (6, 4, 4)),
        (EncoderConfig("test_resnet"), 64, "layer4", (96, 2, 2)),
        (EncoderConfig("test_resnet"), 16, "layer2", (48, 2, 2)),  # behind it there is one place only
        (EncoderConfig("test_efficientnet"), 64, "blocks.4", (64, 2, 2)),
        (EncoderConfig("test_vit"), 160, "patch_embed.proj", (64, 10, 10)),
    ],
)
def test_the_last_map_is_the_last_that_has_places(config, size, name, shape):
    encoder = build_encoder(config, (3, size, size)).eval()
    seen = []
    handle = encoder.last_map.register_forward_hook(lambda part, inputs, output: seen.append(output))
    with torch.no_grad():
        encoder(torch.rand(2, 3, size, size))
    handle.remove()
    assert encoder._last_map == name
    assert [tuple(found.shape[1:]) for found in seen] == [shape]


def test_features_are_the_last_map_where_there_is_no_other():
    encoder = build_encoder(EncoderConfig("identity"), (5,))
    assert encoder.last_map is encoder.net
