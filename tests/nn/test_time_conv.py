"""Convolution over time against torch.nn, clip by clip, in float64 with the same weights."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from unreel.errors import ConfigError
from unreel.nn import TimeConv1d, TimeConv2d, TimeMaxPool

D, OUT, C, F, T = 3, 4, 2, 6, 9
LENGTHS = torch.tensor([9, 1, 4, 7, 2])

GEOMETRIES = [(1, 1, 1), (3, 1, 1), (4, 1, 1), (3, 2, 1), (2, 3, 1), (3, 1, 2), (4, 2, 3), (7, 1, 1)]
every_geometry = pytest.mark.parametrize(("kernel", "stride", "dilation"), GEOMETRIES)
every_padding = pytest.mark.parametrize("padding", ["same", "valid", "causal"])


def clips(*frame, dirty=True):
    """Random clips (5, 9, *frame), with what must not be seen in their padding."""
    torch.manual_seed(1)
    x = torch.randn(len(LENGTHS), T, *frame, dtype=torch.float64)
    for clip, length in zip(x, LENGTHS, strict=True):
        clip[length:] = torch.nan if dirty else 0
    return x.requires_grad_()


def borders(kernel, dilation, padding, length):
    """Zeros ahead of and behind a clip, by the definitions of torch ('same') and of causality."""
    context = (kernel - 1) * dilation
    if padding == "causal":
        return context, 0
    if padding == "same":
        return context // 2, context - context // 2
    return 0, max(0, context + 1 - length)


def make(kind, kernel, stride, dilation, padding):
    torch.manual_seed(0)
    if kind is TimeConv1d:
        return TimeConv1d(D, OUT, kernel, stride, dilation, padding).double()
    return TimeConv2d(C, OUT, (kernel, 3), (stride, 2), dilation, padding).double()


@pytest.mark.parametrize("kind", [TimeConv1d, TimeConv2d])
@every_geometry
@every_padding
def test_each_clip_is_what_torch_makes_of_it_alone(kind, kernel, stride, dilation, padding):
    layer = make(kind, kernel, stride, dilation, padding)
    x = clips(D) if kind is TimeConv1d else clips(C, F)
    out, lengths, _ = layer(x, LENGTHS)
    cotangent = torch.randn_like(out)
    wanted, loss = [], torch.zeros((), dtype=torch.float64)
    for clip, length, seeds in zip(x, LENGTHS.tolist(), cotangent, strict=True):
        ahead, behind = borders(kernel, dilation, padding, length)
        alone = clip[:length]
        if kind is TimeConv1d:
            given = functional.pad(alone.t(), (ahead, behind))
            peer = nn.Conv1d(D, OUT, kernel, stride, dilation=dilation).double()
            peer.load_state_dict(layer.conv.state_dict())
            result = functional.conv1d(given, layer.conv.weight, layer.conv.bias, stride, 0, dilation).t()
            torch.testing.assert_close(peer(given).t(), result)
        else:
            over = 0 if padding == "valid" else 1
            given = functional.pad(alone.transpose(0, 1), (over, over, ahead, behind))
            result = functional.conv2d(
                given, layer.conv.weight, layer.conv.bias, (stride, 2), 0, (dilation, 1)
            ).transpose(0, 1)
        wanted.append(result)
        loss = loss + (result * seeds[: len(result)]).sum()
    assert lengths.tolist() == [len(result) for result in wanted]
    assert out.shape[1] == max(lengths)
    for row, result in zip(out, wanted, strict=True):
        torch.testing.assert_close(row[: len(result)], result)
        assert (row[len(result) :] == 0).all()
    inputs = [x, *layer.parameters()]
    ours = torch.autograd.grad(out, inputs, cotangent)
    torch.testing.assert_close(ours, torch.autograd.grad(loss, inputs))


@every_geometry
@every_padding
def test_without_lengths_every_frame_is_valid(kernel, stride, dilation, padding):
    layer = make(TimeConv1d, kernel, stride, dilation, padding)
    x = torch.randn(2, T, D, dtype=torch.float64)
    out, lengths, _ = layer(x)
    assert lengths is None
    filled, after, _ = layer(x, torch.full((2,), T))
    torch.testing.assert_close(out, filled)
    assert after.tolist() == [out.shape[1]] * 2


def test_same_with_stride_one_is_that_of_torch():
    for kernel in (1, 2, 3, 6):
        layer = make(TimeConv1d, kernel, 1, 2, "same")
        peer = nn.Conv1d(D, OUT, kernel, dilation=2, padding="same").double()
        peer.load_state_dict(layer.conv.state_dict())
        x = torch.randn(2, T, D, dtype=torch.float64)
        torch.testing.assert_close(layer(x)[0], peer(x.transpose(1, 2)).transpose(1, 2))


@pytest.mark.parametrize("kind", [TimeConv1d, TimeConv2d])
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 3)])
def test_steps_and_chunks_equal_the_whole(kind, kernel, dilation):
    layer = make(kind, kernel, 1, dilation, "causal")
    x = torch.randn(2, T, *((D,) if kind is TimeConv1d else (C, F)), dtype=torch.float64)
    whole, _, end = layer(x)
    assert end[0].shape == (2, (kernel - 1) * dilation, *x.shape[2:])
    state, steps = None, []
    for t in range(T):
        out, state = layer.step(x[:, t], state)
        steps.append(out)
    torch.testing.assert_close((torch.stack(steps, 1), state), (whole, end))
    # streams whose chunks differ in length go on from their own last frame
    _, _, state = layer(x[:, :5], torch.tensor([5, 2]))
    second = torch.stack([x[0, 5:9], x[1, 2:6]])
    out, lengths, _ = layer(second, torch.tensor([4, 3]), state)
    assert lengths.tolist() == [4, 3]
    torch.testing.assert_close(out[0], whole[0, 5:])
    torch.testing.assert_close(out[1, :3], whole[1, 2:5])


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (2, 2), (3, 1), (3, 2), (5, 5), (9, 4)])
@pytest.mark.parametrize("frame", [(), (D,), (C, F)])
def test_pooling_is_that_of_each_clip_alone(kernel, stride, frame):
    x = clips(*frame)
    out, lengths = TimeMaxPool(kernel, stride)(x, LENGTHS)
    for row, clip, length, after in zip(out, x, LENGTHS.tolist(), lengths.tolist(), strict=True):
        windows = [clip[:length][t : t + kernel].amax(0) for t in range(0, length, stride)]
        kept = [t for t in range(len(windows)) if t == 0 or (t - 1) * stride + kernel < length]
        torch.testing.assert_close(row[:after], torch.stack([windows[t] for t in kept]))
        assert (row[after:] == 0).all()
    gradient = torch.autograd.grad(out.sum(), x)[0]
    assert not gradient.isnan().any()
    assert gradient.sum() == out[0].numel() / out.shape[1] * lengths.sum()
    alone = x[:1].detach()
    torch.testing.assert_close(TimeMaxPool(kernel, stride)(alone)[0], out[:1])


def test_pooling_agrees_with_torch_where_nothing_is_padded():
    x = torch.randn(2, T, D)
    wanted = nn.MaxPool1d(4, 3, ceil_mode=True)(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(TimeMaxPool(4, 3)(x)[0], wanted)


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="padding must be one of same, valid, causal, got 'full'"):
        TimeConv1d(D, OUT, 3, padding="full")
    for sizes in ({"kernel_size": 0}, {"kernel_size": 3, "stride": 0}, {"kernel_size": 3, "dilation": 0}):
        with pytest.raises(ConfigError, match="must be at least 1, got 0"):
            TimeConv1d(D, OUT, **sizes)
    with pytest.raises(ConfigError, match="kernel_size must be at least 1, got 0"):
        TimeConv2d(C, OUT, (3, 0))
    with pytest.raises(ConfigError, match="frames would be lost"):
        TimeMaxPool(2, 3)
    with pytest.raises(ConfigError, match="padding 'causal' and stride 1 only"):
        TimeConv1d(D, OUT, 3).step(torch.zeros(1, D))
    with pytest.raises(ConfigError, match="stride 2"):
        TimeConv1d(D, OUT, 3, 2, padding="causal").step(torch.zeros(1, D))
    with pytest.raises(ConfigError, match="padding 'valid'"):
        TimeConv1d(D, OUT, 1, padding="valid")(torch.zeros(1, 2, D), None, (torch.zeros(1, 0, D),))
    with pytest.raises(ValueError, match=r"x must be \(N, T, 3\), got \(1, 2, 4\)"):
        TimeConv1d(D, OUT, 3)(torch.zeros(1, 2, 4))
    with pytest.raises(ValueError, match=r"x must be \(N, T, 2, F\), got \(1, 2, 2\)"):
        TimeConv2d(C, OUT, 3)(torch.zeros(1, 2, 2))
