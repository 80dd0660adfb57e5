"""RNN, LSTM, GRU against torch.nn on packed sequences, in float64, with the same weights."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unreel.errors import ConfigError
from unreel.nn import GRU, LSTM, RNN

LAYERS = {
    "rnn": (RNN, nn.RNN, {}),
    "rnn_relu": (RNN, nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (LSTM, nn.LSTM, {}),
    "gru": (GRU, nn.GRU, {}),
}
D, H, T = 4, 3, 6
LENGTHS = torch.tensor([2, 6, 1, 5])


def names_of(ours):
    """Each of our directions and the suffix by which torch names its weights."""
    for index, direction in enumerate(ours.layers):
        layer, reverse = divmod(index, ours.directions)
        yield direction, f"_l{layer}{'_reverse' * reverse}"


def pair(name, **options):
    """One of our layers, and torch's with its weights."""
    ours_type, theirs_type, more = LAYERS[name]
    torch.manual_seed(0)
    ours = ours_type(D, H, **options, **more).double()
    theirs = theirs_type(D, H, batch_first=True, **options, **more).double()
    with torch.no_grad():
        for direction, suffix in names_of(ours):
            for parameter in direction.parameters():
                parameter.normal_()
            getattr(theirs, "weight_ih" + suffix).copy_(direction.kernel.t())
            getattr(theirs, "weight_hh" + suffix).copy_(direction.recurrent_kernel.t())
            if direction.bias is not None:
                getattr(theirs, "bias_ih" + suffix).copy_(direction.bias)
                getattr(theirs, "bias_hh" + suffix).zero_()
            if direction.recurrent_bias is not None:
                getattr(theirs, "bias_hh" + suffix)[-H:] = direction.recurrent_bias
    return ours, theirs


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("impl", ["fast", "reference"])
@pytest.mark.parametrize(("num_layers", "bidirectional", "bias"), [(1, False, True), (2, True, True), (2, True, False)])
@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize("lengths", [LENGTHS, None])
def test_agrees_with_torch(name, impl, num_layers, bidirectional, bias, with_state, lengths):
    ours, theirs = pair(name, num_layers=num_layers, bidirectional=bidirectional, bias=bias)
    for layer in ours.layers:
        layer.impl = impl
    x = draw(4, T, D)
    states = 2 if name == "lstm" else 1
    state = tuple(draw(4, len(ours.layers), H) for _ in range(states)) if with_state else None

    out, end = ours(x, lengths, state)
    start = None if state is None else tuple(member.transpose(0, 1).contiguous() for member in state)
    start = start[0] if start is not None and states == 1 else start
    given = pack_padded_sequence(x, torch.full((4,), T) if lengths is None else lengths, True, False)
    packed, expected_end = theirs(given, start)
    expected, _ = pad_packed_sequence(packed, batch_first=True)
    expected_end = [member.transpose(0, 1) for member in (expected_end if states > 1 else (expected_end,))]
    torch.testing.assert_close([out, *end], [expected, *expected_end])

    cotangents = [torch.randn_like(result) for result in (out, *end)]
    inputs = [x, *(state or ())]
    our_weights = list(ours.parameters())
    got = torch.autograd.grad([out, *end], [*inputs, *our_weights], cotangents)
    torch.testing.assert_close(
        got[: len(inputs)],
        torch.autograd.grad([expected, *expected_end], inputs, cotangents, retain_graph=True),
    )
    torch.autograd.backward([expected, *expected_end], cotangents)
    gradients = dict(zip((id(weight) for weight in our_weights), got[len(inputs) :], strict=True))
    for direction, suffix in names_of(ours):
        peer = {key: getattr(theirs, key + suffix).grad for key in ("weight_ih", "weight_hh")}
        torch.testing.assert_close(gradients[id(direction.kernel)], peer["weight_ih"].t())
        torch.testing.assert_close(gradients[id(direction.recurrent_kernel)], peer["weight_hh"].t())
        if direction.bias is not None:
            torch.testing.assert_close(gradients[id(direction.bias)], getattr(theirs, "bias_ih" + suffix).grad)
        if direction.recurrent_bias is not None:
            peer_bias = getattr(theirs, "bias_hh" + suffix).grad[-H:]
            torch.testing.assert_close(gradients[id(direction.recurrent_bias)], peer_bias)


@pytest.mark.parametrize("name", LAYERS)
def test_step_by_step_and_chunk_by_chunk_equal_the_whole(name):
    ours, _ = pair(name, num_layers=2)
    x = draw(3, T, D)
    whole, end = ours(x)
    outs, state = [], None
    for t in range(T):
        out, state = ours.step(x[:, t], state)
        outs.append(out)
    torch.testing.assert_close((torch.stack(outs, 1), state), (whole, end))
    first, state = ours(x[:, :4])
    second, state = ours(x[:, 4:], None, state)
    torch.testing.assert_close((torch.cat([first, second], 1), state), (whole, end))


@pytest.mark.parametrize("name", LAYERS)
def test_streams_whose_chunks_differ_in_length_go_on_from_their_own_last_frame(name):
    ours, _ = pair(name)
    x = draw(2, T, D)
    whole, end = ours(x)
    first = torch.zeros(2, 4, D, dtype=torch.float64)
    first[0, :4], first[1, :1] = x[0, :4], x[1, :1]
    second = torch.zeros(2, 5, D, dtype=torch.float64)
    second[0, :2], second[1, :5] = x[0, 4:], x[1, 1:]
    _, state = ours(first, torch.tensor([4, 1]))
    out, state = ours(second, torch.tensor([2, 5]), state)
    torch.testing.assert_close(state, end)
    torch.testing.assert_close(out[1], whole[1, 1:])


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_is_invisible(name, bidirectional):
    ours, _ = pair(name, num_layers=2, bidirectional=bidirectional)
    x = draw(4, T, D)
    garbage = x.detach().clone()
    garbage[0, 2:] = float("nan")
    out, end = ours(garbage, LENGTHS)
    alone, end_alone = ours(x[:1, :2])
    torch.testing.assert_close(out[0, :2], alone[0])
    assert (out[0, 2:] == 0).all()
    torch.testing.assert_close([member[:1] for member in end], list(end_alone))


def test_dropout_falls_between_layers_only_and_in_train_mode_only():
    torch.manual_seed(0)
    x = torch.randn(2, 5, D)
    one, two = LSTM(D, H, 1, dropout=0.9), LSTM(D, H, 2, dropout=0.9)
    torch.testing.assert_close(one(x), one(x), rtol=0, atol=0)
    assert not torch.equal(two(x)[0], two(x)[0])
    two.eval()
    torch.testing.assert_close(two(x), two(x), rtol=0, atol=0)


def test_initial_weights_are_those_of_keras():
    layer = LSTM(D, 8).layers[0]
    assert torch.equal(layer.bias, torch.tensor([0.0, 1, 0, 0]).repeat_interleave(8))
    torch.testing.assert_close(layer.recurrent_kernel @ layer.recurrent_kernel.t(), torch.eye(8))
    assert layer.kernel.abs().max() <= (6 / (D + 32)) ** 0.5


def test_state_dict_does_not_know_the_implementation():
    fast, plain = GRU(D, H, 2, impl="fast"), GRU(D, H, 2, impl="reference")
    plain.load_state_dict(fast.state_dict())
    x = torch.randn(2, T, D)
    torch.testing.assert_close(fast(x), plain(x))


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="bidirectional recurrence cannot run frame by frame"):
        LSTM(D, H, bidirectional=True).step(torch.zeros(1, D))
    with pytest.raises(ConfigError, match="hidden_size must be at least 1"):
        GRU(D, 0)
    with pytest.raises(ConfigError, match="dropout"):
        GRU(D, H, dropout=1.0)
    with pytest.raises(ConfigError, match="an activation must be one of tanh"):
        RNN(D, H, nonlinearity="sine")
    with pytest.raises(ValueError, match=r"x must be \(N, T, 4\), got \(2, 4\)"):
        LSTM(D, H)(torch.zeros(2, D))
