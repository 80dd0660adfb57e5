import pytest
import torch

from unreel.errors import ConfigError
from unreel.models import EncoderConfig
from unreel.models.encoder_maps import build_map_encoder
from unreel.models.encoders import build_encoder
from unreel.nn import Site, Sites, Watch

CASES = [
    (EncoderConfig(channels=(4, 6)), 16, (8, 8), 6),
    (EncoderConfig("test_resnet"), 64, (2, 2), 96),
    (EncoderConfig("test_resnet"), 16, (2, 2), 48),  # what comes behind layer2 gives one place only
    (EncoderConfig("test_efficientnet"), 64, (2, 2), 64),
]


@pytest.mark.parametrize(("config", "size", "grid", "features"), CASES)
def test_places_are_those_of_the_last_map_row_after_row(config, size, grid, features):
    torch.manual_seed(0)
    whole = build_encoder(config, (3, size, size)).eval()
    torch.manual_seed(0)
    cut = build_map_encoder(config, (3, size, size), 14).eval()
    maps, frames = [], torch.rand(2, 3, size, size)
    whole.last_map.register_forward_hook(lambda part, inputs, output: maps.append(output))
    with torch.no_grad():
        whole(frames)
        places = cut(frames)
    assert (cut.grid, cut.features) == (grid, features)
    assert places.shape == (2, grid[0] * grid[1], features)
    for row in range(grid[0]):
        for column in range(grid[1]):
            assert torch.equal(places[:, row * grid[1] + column], maps[0][:, :, row, column])


@pytest.mark.parametrize(("config", "size", "grid", "features"), CASES)
def test_what_comes_behind_the_map_holds_no_weight(config, size, grid, features):
    whole, cut = build_encoder(config, (3, size, size)), build_map_encoder(config, (3, size, size), 14)
    assert all(part.training for part in cut.modules())
    cut(torch.rand(2, 3, size, size)).sin().sum().backward()
    assert all(parameter.grad is not None for parameter in cut.parameters())
    kept, all_of_it = cut.state_dict(), whole.state_dict()
    assert {key: value.shape for key, value in kept.items()}.items() <= {
        key: value.shape for key, value in all_of_it.items()
    }.items()
    if features != 96:  # behind the last stage of a ResNet there is no weight
        assert len(kept) < len(all_of_it)


def test_a_frozen_one_stays_frozen_and_in_eval_mode():
    config = EncoderConfig("test_efficientnet", frozen=True, unfreeze_from="blocks.4")
    whole, cut = build_encoder(config, (3, 64, 64)), build_map_encoder(config, (3, 64, 64), 14)
    asked = {name: parameter.requires_grad for name, parameter in whole.named_parameters()}
    assert {name: p.requires_grad for name, p in cut.named_parameters()}.items() <= asked.items()
    assert not cut.train().net.bn1.training
    assert cut.net.blocks[4].training


def test_a_map_finer_than_asked_for_is_averaged():
    torch.manual_seed(0)
    fine = build_map_encoder(EncoderConfig(channels=(4, 6)), (3, 32, 20), 16).eval()
    torch.manual_seed(0)
    coarse = build_map_encoder(EncoderConfig(channels=(4, 6)), (3, 32, 20), 4).eval()
    frames = torch.rand(2, 3, 32, 20)
    assert (fine.grid, coarse.grid) == ((16, 10), (4, 3)), "what is left at the edges is a block too"
    places = fine(frames).unflatten(1, (16, 10))
    blocks = [places[:, y : y + 4, x : x + 4].mean((1, 2)) for y in (0, 4, 8, 12) for x in (0, 4, 8)]
    torch.testing.assert_close(coarse(frames), torch.stack(blocks, 1))


def test_vectors_are_one_place():
    encoder = build_map_encoder(EncoderConfig("identity"), (5,), 14)
    frames = torch.rand(3, 5)
    assert encoder.grid == (1, 1)
    assert torch.equal(encoder(frames), frames[:, None])


def test_a_transformer_is_refused():
    with pytest.raises(ConfigError, match="'test_vit' gives none behind its first layers; choose a CNN"):
        build_map_encoder(EncoderConfig("test_vit"), (3, 160, 160), 14)


def test_whoever_watches_the_map_has_it_as_a_leaf():
    encoder = build_map_encoder(EncoderConfig("test_resnet"), (3, 64, 64), 14).eval()
    with Watch(Sites((Site(encoder.last_map),))) as watch:
        (gradient,) = watch.gradients(encoder(torch.rand(2, 3, 64, 64)).square().sum())
    torch.testing.assert_close(gradient, 2 * watch.leaves[0])
    assert gradient.any()
