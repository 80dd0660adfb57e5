"""The autoencoder: what comes out has the frame's size, its error is what it says, and it learns."""

import pytest
import torch
from torch import nn

from unreel.errors import ConfigError
from unreel.models import Autoencoder, AutoencoderConfig, FrameCopy
from unreel.nn import Normalize

LENGTHS = torch.tensor([6, 4])


def film(shape=(2, 6, 3, 9, 13), seed=0):
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    frames[1, 4:] = 0
    return frames


@pytest.mark.parametrize("bottleneck", ["map", "vector"])
@pytest.mark.parametrize(
    ("downsample", "upsample", "layers"),
    [
        ("stride", "nearest", {nn.Upsample: 3}),
        ("max", "bilinear", {nn.MaxPool2d: 3, nn.Upsample: 3}),
        ("mean", "transposed", {nn.AvgPool2d: 3, nn.ConvTranspose2d: 3}),
    ],
)
@pytest.mark.parametrize("size", [(9, 13), (8, 16), (1, 2)])
def test_whatever_the_size_it_comes_back(bottleneck, downsample, upsample, layers, size):
    config = AutoencoderConfig(
        channels=(4, 5, 6), kernel_size=5, downsample=downsample, upsample=upsample, bottleneck=bottleneck, hidden=3
    )
    model = Autoencoder(config, (3, *size))
    made, _ = model.reconstruct(film((2, 6, 3, *size)), LENGTHS)
    assert made.shape == (2, 6, 3, *size)
    assert (made[1, 4:] == 0).all()
    for kind, count in layers.items():
        assert sum(isinstance(layer, kind) for layer in model.modules()) == count
    strided = [layer for layer in model.encoder.modules() if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2)]
    assert len(strided) == (3 if downsample == "stride" else 0)


@pytest.mark.parametrize("bottleneck", ["map", "vector"])
def test_what_it_says_is_the_error_of_what_it_makes(bottleneck):
    model = Autoencoder(AutoencoderConfig(channels=(4,), bottleneck=bottleneck, hidden=3), (3, 9, 13))
    model.normalize.set_([0.3, 0.4, 0.5], [0.2, 0.5, 0.1])
    frames = film()
    errors, _ = model(frames, LENGTHS)
    made, _ = model.reconstruct(frames, LENGTHS)
    wanted = (made - frames / 255).square().flatten(2).mean(2)
    wanted[1, 4:] = 0
    torch.testing.assert_close(errors[..., 0], wanted)
    clip = Autoencoder(model.config, (3, 9, 13), readout="clip")
    clip.load_state_dict(model.state_dict())
    mean = torch.stack([wanted[0].mean(), wanted[1, :4].mean()])
    torch.testing.assert_close(clip(frames, LENGTHS)[0][:, 0], mean)
    assert float(model.variance) == pytest.approx((0.04 + 0.25 + 0.01) / 3)


@pytest.mark.parametrize("bottleneck", ["map", "vector"])
def test_pictures_are_made_chunk_by_chunk_as_at_once(bottleneck):
    model = Autoencoder(AutoencoderConfig(channels=(4,), bottleneck=bottleneck, hidden=3), (3, 9, 13))
    whole, _ = model.reconstruct(film())
    first, state = model.reconstruct(film()[:, :2])
    second, _ = model.reconstruct(film()[:, 2:], None, state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)


def test_the_mean_error_of_a_clip_goes_on_from_chunk_to_chunk():
    model = Autoencoder(AutoencoderConfig(channels=(4,), hidden=3), (3, 9, 13), readout="clip")
    _, state = model(film()[:, :2])
    torch.testing.assert_close(model(film()[:, 2:], None, state)[0], model(film())[0])


@pytest.mark.parametrize("bottleneck", ["map", "vector"])
def test_the_control_knows_nothing_of_other_frames(bottleneck):
    config = AutoencoderConfig(channels=(4,), bottleneck=bottleneck, hidden=3, num_layers=2, bidirectional=True)
    control = config.control()
    assert (control.channels, control.bottleneck, control.hidden) == (config.channels, bottleneck, 3)
    for one, seen in ((config, range(6)), (control, [2])):
        frames = torch.randn(1, 6, 3, 9, 13, requires_grad=True)
        errors, _ = Autoencoder(one, (3, 9, 13))(frames)
        [slope] = torch.autograd.grad(errors[0, 2, 0], frames)
        assert slope[0].flatten(1).any(1).nonzero()[:, 0].tolist() == list(seen)


@pytest.mark.parametrize(("bottleneck", "recurrence"), [("map", "lstm"), ("vector", "gru"), ("map", "none")])
def test_it_learns_to_make_frames_again(bottleneck, recurrence):
    torch.manual_seed(0)
    frames = torch.zeros(2, 6, 1, 8, 8, dtype=torch.uint8)
    for time in range(6):
        frames[0, time, 0, time : time + 2] = 255
        frames[1, time, 0, :, time : time + 2] = 255
    config = AutoencoderConfig(channels=(8, 8), bottleneck=bottleneck, recurrence=recurrence, hidden=8)
    model = Autoencoder(config, (1, 8, 8))
    pixels = frames / 255
    model.normalize.set_([float(pixels.mean())], [float(pixels.std())])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(250):
        loss = model(frames)[0].mean() / model.variance
        if loss < 0.2:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.2


def test_copies_of_frames():
    frames = film()
    normalize = Normalize([0.3, 0.4, 0.5], [0.2, 0.5, 0.1])
    mean = torch.randn(3, 9, 13)
    pixels, mean_pixels = frames / 255, mean * normalize.std.reshape(3, 1, 1) + normalize.mean.reshape(3, 1, 1)
    before = torch.cat([mean_pixels.expand(2, 1, 3, 9, 13), pixels[:, :-1]], 1)
    for previous, made in ((False, mean_pixels), (True, before)):
        copies = FrameCopy(normalize, mean, previous)
        errors, _ = copies(frames, LENGTHS)
        wanted = (made - pixels).square().flatten(2).mean(2)
        wanted[1, 4:] = 0
        torch.testing.assert_close(errors[..., 0], wanted, rtol=1e-4, atol=1e-6)
        _, ended = copies(frames, LENGTHS)
        after, _ = copies(frames[:, :1], None, ended or None)
        last = torch.stack([pixels[0, 5], pixels[1, 3]]) if previous else mean_pixels
        wanted = (last - pixels[:, 0]).square().flatten(1).mean(1)
        torch.testing.assert_close(after[:, 0, 0], wanted, rtol=1e-4, atol=1e-6)
        first, state = copies(frames[:, :3])
        second, _ = copies(frames[:, 3:], None, state or None)
        torch.testing.assert_close(torch.cat([first, second], 1), copies(frames)[0])
        assert not list(copies.parameters())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": ()}, "channels"),
        ({"channels": (4, 0)}, "channels"),
        ({"kernel_size": 4}, "odd"),
        ({"hidden": 0}, "hidden"),
        ({"downsample": "median"}, "stride, max, mean"),
        ({"upsample": "cubic"}, "nearest, bilinear, transposed"),
        ({"bottleneck": "none"}, "map, vector"),
        ({"recurrence": "none", "num_layers": 2}, "do not apply"),
    ],
)
def test_what_cannot_be_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        AutoencoderConfig(**wrong)


def test_it_has_one_output_and_sees_pictures():
    for shape, outputs, message in (((5,), 1, "C, H, W"), ((3, 8, 8), 2, "one output")):
        with pytest.raises(ConfigError, match=message):
            Autoencoder(AutoencoderConfig(), shape, outputs)
    with pytest.raises(ValueError, match="frames must be"):
        Autoencoder(AutoencoderConfig(), (3, 8, 8))(torch.zeros(1, 2, 3, 8, 9))
