"""ConvRNN, ConvLSTM and ConvGRU against loops written apart from them, and against the layers over vectors."""

import pytest
import torch
from torch.nn import functional

from unreel import nn
from unreel.errors import ConfigError

KINDS = ["ConvRNN", "ConvLSTM", "ConvGRU"]
SPACE = {1: (6,), 2: (5, 4), 3: (3, 4, 2)}
C, F, T = 2, 3, 5
LENGTHS = torch.tensor([2, 5, 1])


def build(kind, rank=2, **options):
    torch.manual_seed(0)
    layer = getattr(nn, f"{kind}{rank}d")(C, F, 3, **options).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(0, 0.5)
    return layer


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def one_convolution(layer, x):
    """ConvLSTM as most write it: one convolution of input and state side by side, then four gates."""
    (direction,) = layer.layers
    weight = torch.cat([direction.kernel, direction.recurrent_kernel], 1)
    h = c = x.new_zeros(len(x), F, *x.shape[3:])
    outs = []
    for frame in x.unbind(1):
        z = functional.conv2d(torch.cat([frame, h], 1), weight, direction.bias, padding=1)
        i, f, g, o = z.split(F, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outs.append(h)
    return torch.stack(outs, 1), (h.unsqueeze(1), c.unsqueeze(1))


@pytest.mark.parametrize("impl", ["fast", "reference"])
def test_conv_lstm_is_the_loop_that_people_write(impl):
    layer = build("ConvLSTM", impl=impl)
    x = draw(3, T, C, *SPACE[2])
    torch.testing.assert_close(layer(x), one_convolution(layer, x))
    ours = torch.autograd.grad(layer(x)[0].sin().sum(), list(layer.parameters()))
    theirs = torch.autograd.grad(one_convolution(layer, x)[0].sin().sum(), list(layer.parameters()))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("impl", ["fast", "reference"])
def test_peepholes_are_those_of_shi(impl):
    layer = build("ConvLSTM", peephole=True, impl=impl)
    (weights,) = layer.layers
    x, state = draw(2, 1, C, *SPACE[2]), (draw(2, 1, F, *SPACE[2]), draw(2, 1, F, *SPACE[2]))
    h, c = state[0][:, 0], state[1][:, 0]
    z = functional.conv2d(x[:, 0], weights.kernel, weights.bias, padding=1)
    z = z + functional.conv2d(h, weights.recurrent_kernel, padding=1)
    i, f, g, o = z.split(F, 1)
    pi, pf, po = weights.peephole[:, :, None, None]
    i, f = (i + pi * c).sigmoid(), (f + pf * c).sigmoid()
    after = f * c + i * g.tanh()
    expected = (o + po * after).sigmoid() * after.tanh()
    out, end = layer(x, state=state)
    torch.testing.assert_close((out[:, 0], end[1][:, 0]), (expected, after))


@pytest.mark.parametrize(("kind", "dense"), [("ConvRNN", nn.RNN), ("ConvLSTM", nn.LSTM), ("ConvGRU", nn.GRU)])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_on_one_pixel_a_layer_is_that_over_vectors(kind, dense, rank):
    conv = build(kind, rank, num_layers=2, bidirectional=True)
    vector = dense(C, F, num_layers=2, bidirectional=True).double()
    middle = (slice(None), slice(None), *(1,) * rank)
    with torch.no_grad():
        for ours, theirs in zip(conv.layers, vector.layers, strict=True):
            theirs.kernel.copy_(ours.kernel[middle].t())
            theirs.recurrent_kernel.copy_(ours.recurrent_kernel[middle].t())
            theirs.bias.copy_(ours.bias)
            if theirs.recurrent_bias is not None:
                theirs.recurrent_bias.copy_(ours.recurrent_bias)
    x = draw(3, T, C)
    out, end = conv(x.reshape(3, T, C, *(1,) * rank), LENGTHS)
    expected, expected_end = vector(x, LENGTHS)
    torch.testing.assert_close(out.flatten(2), expected)
    torch.testing.assert_close([member.flatten(2) for member in end], list(expected_end))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"padding": "valid"}, {"norm": "layer"}])
def test_step_by_step_and_chunk_by_chunk_equal_the_whole(kind, rank, options):
    if rank == 3 and options.get("padding"):
        options = {"padding": (1, 0, 1)}
    layer = build(kind, rank, num_layers=2, **options)
    x = draw(2, T, C, *SPACE[rank])
    whole, end = layer(x)
    outs, state = [], None
    for frame in x.unbind(1):
        out, state = layer.step(frame, state)
        outs.append(out)
    torch.testing.assert_close((torch.stack(outs, 1), state), (whole, end))
    first, state = layer(x[:, :3])
    second, state = layer(x[:, 3:], state=state)
    torch.testing.assert_close((torch.cat([first, second], 1), state), (whole, end))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_is_invisible(kind, bidirectional):
    layer = build(kind, num_layers=2, bidirectional=bidirectional)
    x = draw(3, T, C, *SPACE[2])
    garbage = x.clone()
    garbage[0, 2:] = float("nan")
    out, end = layer(garbage, LENGTHS)
    alone, end_alone = layer(x[:1, :2])
    torch.testing.assert_close(out[0, :2], alone[0])
    assert (out[0, 2:] == 0).all()
    torch.testing.assert_close([member[:1] for member in end], list(end_alone))


@pytest.mark.parametrize("kind", KINDS)
def test_memory_order_of_the_input_changes_nothing(kind):
    layer = build(kind)
    first = draw(2, T, C, *SPACE[2])
    last = first.movedim(2, -1).contiguous().movedim(-1, 2)
    assert not last.is_contiguous()
    torch.testing.assert_close(layer(first), layer(last), rtol=0, atol=0)


def test_frames_of_one_layer_may_be_of_any_size():
    layer = build("ConvLSTM")
    small, large = draw(1, T, C, 4, 4), draw(1, T, C, 9, 7)
    assert layer(small)[0].shape == (1, T, F, 4, 4)
    assert layer(large)[0].shape == (1, T, F, 9, 7)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"stride": 2}, (4, 3)),
        ({"stride": (3, 1)}, (3, 6)),
        ({"padding": "valid"}, (5, 4)),
        ({"padding": "valid", "dilation": 2}, (3, 2)),
        ({"padding": (2, 0)}, (9, 4)),
    ],
)
def test_size_of_the_output(options, size):
    layer = build("ConvLSTM", **options)
    out, end = layer(draw(2, T, C, 7, 6))
    assert out.shape == (2, T, F, *size)
    assert end[0].shape == (2, 1, F, *size)
    assert layer(draw(2, T, C, 7, 6), state=end)[0].shape == out.shape


def test_normalised_gates_do_not_know_the_scale_of_the_input():
    layer = build("ConvLSTM", norm="layer")
    x = draw(2, T, C, *SPACE[2])
    torch.testing.assert_close(layer(x)[0], layer(100 * x)[0], rtol=1e-3, atol=1e-3)
    assert layer.layers[0].gains.shape == (2, 4 * F)


def test_dropout_holds_its_maps_through_time_and_only_in_train_mode():
    torch.manual_seed(0)
    layer = nn.ConvRNN2d(C, 64, 1, num_layers=2, dropout=0.5, activation="linear")
    with torch.no_grad():
        layer.layers[1].kernel.copy_(torch.eye(64)[:, :, None, None])
        layer.layers[1].recurrent_kernel.zero_()
    out, _ = layer(torch.rand(1, 6, C, 3, 3) + 1)
    silent = (out == 0).all(dim=(3, 4))[0]
    assert 10 < silent[0].sum() < 54
    assert (silent == silent[0]).all()
    layer.eval()
    x = torch.randn(1, 2, C, 3, 3)
    torch.testing.assert_close(layer(x), layer(x), rtol=0, atol=0)


def test_recurrent_dropout_holds_its_maps_through_time():
    torch.manual_seed(0)
    layer = nn.ConvRNN2d(C, 64, 1, recurrent_dropout=0.5, activation="linear")
    with torch.no_grad():
        layer.layers[0].kernel.zero_()
        layer.layers[0].bias.fill_(1.0)
        layer.layers[0].recurrent_kernel.copy_(torch.eye(64)[:, :, None, None])
    out, _ = layer(torch.zeros(1, 4, C, 2, 2))
    series = out[0, :, :, 0, 0]
    dropped = series[1] == 1
    assert 10 < dropped.sum() < 54
    torch.testing.assert_close(series[:, dropped], torch.ones(4, int(dropped.sum())))
    torch.testing.assert_close(series[3, ~dropped], torch.full((int((~dropped).sum()),), 15.0))


def test_initial_weights_are_those_of_keras():
    layer = nn.ConvLSTM2d(C, 8, 3).layers[0]
    assert torch.equal(layer.bias, torch.tensor([0.0, 1, 0, 0]).repeat_interleave(8))
    assert layer.kernel.abs().max() <= (6 / ((C + 32) * 9)) ** 0.5
    rows = layer.recurrent_kernel.flatten(1)
    torch.testing.assert_close(rows @ rows.t(), torch.eye(32), atol=1e-5, rtol=0)


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="cannot run frame by frame"):
        build("ConvLSTM", bidirectional=True).step(draw(1, C, 4, 4))
    with pytest.raises(ConfigError, match="hidden_channels must be at least 1"):
        nn.ConvGRU2d(C, 0, 3)
    with pytest.raises(ConfigError, match="kernel_size must be a number ≥ 1, or 2 of them"):
        nn.ConvGRU2d(C, F, (3, 3, 3))
    with pytest.raises(ConfigError, match="padding must be 'same', 'valid' or numbers, got 'full'"):
        nn.ConvGRU2d(C, F, 3, padding="full")
    with pytest.raises(ConfigError, match="norm must be None or 'layer'"):
        nn.ConvGRU2d(C, F, 3, norm="batch")
    with pytest.raises(ConfigError, match="an activation must be one of tanh"):
        nn.ConvLSTM2d(C, F, 3, recurrent_activation="sigmiod")
    with pytest.raises(ConfigError, match="recurrent_dropout must be in"):
        nn.ConvLSTM2d(C, F, 3, recurrent_dropout=1.0)
    with pytest.raises(ConfigError, match="does not exist for a recurrence that normalises inside the cell"):
        build("ConvLSTM", norm="layer", impl="fast")(draw(1, 1, C, 4, 4))
    with pytest.raises(ConfigError, match="a kernel of 3 with dilation 1 does not fit axis 0"):
        build("ConvLSTM", padding="valid")(draw(1, 1, C, 2, 4))
    with pytest.raises(ValueError, match=r"x must be \(N, T, 2, H, W\), got \(1, 3, 4, 4\)"):
        build("ConvLSTM")(draw(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"a state must be \(1, 1, 3, \*space\), got \(1, 3, 4, 4\)"):
        build("ConvLSTM")(draw(1, 1, C, 4, 4), state=(draw(1, 3, 4, 4),) * 2)
    with pytest.raises(ValueError, match="a state must be 2 tensors, got 1"):
        build("ConvLSTM")(draw(1, 1, C, 4, 4), state=(draw(1, 1, 3, 4, 4),))
    layer = build("ConvLSTM")
    with pytest.raises(ValueError, match=r"the state of frames like these is \(1, 6, 5, 3\)"):
        layer(draw(1, 1, C, 6, 5), state=layer(draw(1, 1, C, 4, 4))[1])
