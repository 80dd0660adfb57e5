import pytest
import torch
from torchvision.transforms.v2 import functional

from unreel.errors import ConfigError
from unreel.nn import Normalize

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def test_pixels_agree_with_torchvision():
    pixels = torch.randint(0, 256, (4, 3, 8, 9), dtype=torch.uint8)
    scaled = functional.to_dtype(pixels, torch.float32, scale=True)
    wanted = functional.normalize(scaled, MEAN, STD)
    ours = Normalize(MEAN, STD)
    torch.testing.assert_close(ours(pixels), wanted)
    torch.testing.assert_close(ours(scaled), wanted)
    assert ours(pixels).dtype == torch.float32


def test_vectors_and_gradients():
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    ours = Normalize(MEAN, STD).double()
    torch.testing.assert_close(ours(x), (x - torch.tensor(MEAN)) / torch.tensor(STD), check_dtype=False)
    assert torch.autograd.gradcheck(ours, x)


def test_statistics_travel_with_the_weights():
    ours, other = Normalize(MEAN, STD), Normalize([0] * 3, [1] * 3)
    other.load_state_dict(ours.state_dict())
    pixels = torch.randint(0, 256, (4, 3, 2, 2), dtype=torch.uint8)
    assert torch.equal(ours(pixels), other(pixels))
    assert not list(ours.parameters())


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="for each of 3 channels"):
        Normalize(MEAN, STD[:2])
    with pytest.raises(ConfigError, match="std positive"):
        Normalize([0.0], [0.0])
    with pytest.raises(ConfigError, match="finite"):
        Normalize([0.0], [1.0]).set_([float("nan")], [1.0])
    with pytest.raises(ValueError, match="3 channels"):
        Normalize(MEAN, STD)(torch.zeros(1, 4, 2, 2))
