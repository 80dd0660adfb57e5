"""What is particular to ConvLSTMTagger; what every model must do is in tests/contract/test_models.py."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from unreel.errors import ConfigError
from unreel.models import MODELS, ConvLSTMTagger, ConvLSTMTaggerConfig, summarize
from unreel.nn import recompute, stream

CONFIG = ConvLSTMTaggerConfig(channels=(4, 3), head_channels=2, dense=(6, 5), norm_frames=4)
SHAPE = (2, 14, 16)


def build(config=CONFIG, readout="frame", outputs=3):
    torch.manual_seed(0)
    return ConvLSTMTagger(config, SHAPE, outputs, readout).double()


def film(t=10, n=1):
    return torch.randn(n, t, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def by_hand(x, layer):
    """A ConvLSTM, frame by frame, with torch's own convolution: x (N, T, C, H, W)."""
    weights = layer.layers[0]
    hidden = weights.recurrent_kernel.shape[1]
    h = c = x.new_zeros(len(x), hidden, *x.shape[-2:])
    out = []
    for frame in x.unbind(1):
        z = functional.conv2d(frame, weights.kernel, weights.bias, padding=1)
        enter, forget, candidate, leave = (z + functional.conv2d(h, weights.recurrent_kernel, padding=1)).chunk(4, 1)
        c = forget.sigmoid() * c + enter.sigmoid() * candidate.tanh()
        h = leave.sigmoid() * c.tanh()
        out.append(h)
    return torch.stack(out, 1)


def test_it_is_the_network_of_the_tutorial():
    model = build(dataclasses.replace(CONFIG, norm_frames=16))
    x = frames = film(n=2)
    for block, pool in zip(model.blocks, (2, 3), strict=True):
        x = by_hand(x, block.recurrence).flatten(0, 1)
        norm = nn.BatchNorm2d(x.shape[1]).double()
        x = functional.max_pool2d(norm(x), pool, ceil_mode=True).unflatten(0, frames.shape[:2])
    answers = []
    for head in model.heads:
        y = functional.max_pool2d(by_hand(x, head.recurrence).flatten(0, 1), 2, ceil_mode=True).flatten(1)
        first, second, last = (layer for layer in head.dense.module if isinstance(layer, nn.Linear))
        answers.append(last(second(first(y).relu()).relu()).unflatten(0, frames.shape[:2]))
    assert (len(answers), first.in_features) == (3, 2 * 2 * 2)
    torch.testing.assert_close(model(frames)[0], torch.cat(answers, 2), rtol=0, atol=1e-10)


def test_at_full_size_it_has_the_layers_of_the_tutorial():
    model = ConvLSTMTagger(ConvLSTMTaggerConfig(), (3, 400, 400), 2)
    sizes = [[layer.in_features for layer in head.dense.module if isinstance(layer, nn.Linear)] for head in model.heads]
    assert sizes == [[5 * 34 * 34, 512, 32]] * 2
    assert [block.recurrence.hidden_channels for block in model.blocks] == [20, 10]


@pytest.mark.parametrize("chunk", [4, 8])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_recompute_in_chunks_of_whole_blocks_equals_the_whole_film(chunk, dropout):
    config = dataclasses.replace(CONFIG, dropout=dropout)
    whole, chunked, frames = build(config), build(config), film()
    pieces = frames.split(chunk, 1)
    results = []
    for model in (whole, chunked):
        torch.manual_seed(2)
        outputs = model(frames)[0] if model is whole else recompute(model, pieces.__getitem__, len(pieces))
        outputs.sin().sum().backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        results.append((outputs, gradients, dict(model.named_buffers())))
    (wanted, gradients, statistics), (outputs, found, running) = results
    torch.testing.assert_close(outputs, wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(found, gradients, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(running, statistics, rtol=0, atol=1e-12)
    whole.eval()
    streamed = torch.cat(list(stream(whole, frames.split(3, 1).__getitem__, 4)), 1)
    torch.testing.assert_close(streamed, whole(frames)[0], rtol=0, atol=1e-12)


def test_separate_heads_share_nothing_but_the_blocks():
    model, frames = build().eval(), film()
    before = model(frames)[0]
    with torch.no_grad():
        for parameter in model.heads[1].parameters():
            parameter.mul_(2)
    changed = (model(frames)[0] != before).any(1)[0]
    assert changed.tolist() == [False, True, False]


def test_joint_is_one_head_with_all_outputs():
    joint = build(dataclasses.replace(CONFIG, heads="joint"))
    assert len(joint.heads) == 1
    assert joint(film())[0].shape == (1, 10, 3)


def test_the_answer_for_a_clip_is_the_mean_over_its_frames():
    frames, lengths = film(n=2), torch.tensor([10, 4])
    clip, frame = build(readout="clip").eval(), build().eval()
    frame.load_state_dict(clip.state_dict())
    answers = frame(frames, lengths)[0]
    wanted = torch.stack([answers[0].mean(0), answers[1, :4].mean(0)])
    torch.testing.assert_close(clip(frames, lengths)[0], wanted, rtol=0, atol=1e-12)


def test_its_control_sees_single_frames():
    control = CONFIG.control()
    model = MODELS[control.name](control, SHAPE, 3, "frame").double().eval()
    frames = film()
    torch.testing.assert_close(model(frames.flip(1))[0].flip(1), model(frames)[0], rtol=0, atol=1e-12)
    assert control.control() == control
    assert control.encoder.channels == CONFIG.channels


def test_its_summary_shows_every_layer():
    table = summarize(build().float(), SHAPE)
    for name in ("ConvLSTM2d", "BlockNorm", "MaxPool2d", "Linear"):
        assert name in table


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"channels": ()}, "channels must be one or more positive numbers"),
        ({"pools": (2,)}, "pools must be a number for each of channels"),
        ({"dense": (0,)}, "dense must be"),
        ({"head_pool": 0}, "head_pool must be at least 1"),
        ({"norm_frames": 0}, "norm_frames must be at least 1"),
        ({"kernel_size": 4}, "kernel_size must be odd"),
        ({"recurrent_activation": "sigmiod"}, "an activation must be one of"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"heads": "many"}, "heads must be one of separate, joint"),
    ],
)
def test_what_cannot_be_is_refused(fields, said):
    with pytest.raises(ConfigError, match=said):
        ConvLSTMTaggerConfig(**fields)


def test_what_a_model_cannot_be_is_refused():
    for shape, outputs, readout in (((3, 4), 2, "frame"), (SHAPE, 0, "frame"), (SHAPE, 2, "film")):
        with pytest.raises(ConfigError):
            ConvLSTMTagger(CONFIG, shape, outputs, readout)
    with pytest.raises(ValueError, match=r"frames must be \(N, T, \(2, 14, 16\)\)"):
        build()(film()[:, :, :1])
