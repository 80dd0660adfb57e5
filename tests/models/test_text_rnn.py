"""TextRNN against the same model put together from torch's own layers, in float64."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from unreel.errors import ConfigError
from unreel.models import TextRNN, TextRNNConfig, summarize

V, K, T = 11, 3, 7
SMALL = TextRNNConfig(
    vocabulary=V, embedding_size=5, channels=4, hidden_size=6, widths=(2, 3), dropout=0.0, embedding_dropout=0.0
)
LENGTHS = torch.tensor([7, 1, 4])


def build(readout="clip", **fields):
    torch.manual_seed(0)
    return TextRNN(dataclasses.replace(SMALL, **fields), (), K, readout).double()


def tokens(n=3):
    return torch.randint(1, V, (n, T), generator=torch.Generator().manual_seed(1))


def seen(model, text):
    """(T, features) of one text: torch's embedding and convolutions, side by side."""
    x = functional.embedding(text, model.embedding.weight).t()
    if not model.convolutions:
        return x.t()
    found = []
    for layer in model.convolutions:
        k = layer.conv.kernel_size[0]
        ahead = k - 1 if layer.padding == "causal" else (k - 1) // 2
        padded = functional.pad(x, (ahead, k - 1 - ahead))
        found.append(functional.conv1d(padded, layer.conv.weight, layer.conv.bias).t())
    return torch.cat(found, 1).relu()


def lstm_of(layer, features):
    """torch.nn.LSTM with the weights of the first layer of ours."""
    ours = layer.layers[0]
    theirs = nn.LSTM(features, ours.recurrent_kernel.shape[0], batch_first=True).double()
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(ours.kernel.t())
        theirs.weight_hh_l0.copy_(ours.recurrent_kernel.t())
        theirs.bias_ih_l0.copy_(ours.bias)
        theirs.bias_hh_l0.zero_()
    return theirs


@pytest.mark.parametrize("padding", ["same", "causal"])
@pytest.mark.parametrize("widths", [(2, 3), (3,), ()])
@pytest.mark.parametrize("pool", ["last", "max"])
def test_c_lstm_and_lstm(padding, widths, pool):
    model, texts = build(padding=padding, widths=widths, pool=pool), tokens()
    found = model(texts, LENGTHS)[0]
    for row, text, length in zip(found, texts, LENGTHS, strict=True):
        x = seen(model, text[:length])
        out = lstm_of(model.recurrence, x.shape[1])(x.unsqueeze(0))[0][0]
        read = out[-1] if pool == "last" else out.amax(0)
        torch.testing.assert_close(row, model.head(read))


def test_cnn_is_the_maximum_over_time_of_every_feature():
    model, texts = build(recurrence="none", widths=(3, 4, 5)), tokens()
    found = model(texts, LENGTHS)[0]
    wanted = [model.head(seen(model, text[:length]).amax(0)) for text, length in zip(texts, LENGTHS, strict=True)]
    torch.testing.assert_close(found, torch.stack(wanted))


def test_its_control_is_a_bag_of_words():
    control = SMALL.control()
    assert control.control() == control
    assert (control.vocabulary, control.embedding_size) == (V, 5)
    torch.manual_seed(0)
    model, texts = TextRNN(control, (), K).double(), tokens()
    torch.testing.assert_close(model(texts.flip(1))[0], model(texts)[0])
    torch.testing.assert_close(model(texts)[0], model.head(model.embedding(texts).mean(1)))
    assert not torch.allclose(build()(texts.flip(1))[0], build()(texts)[0])


def test_labels_of_words_have_an_answer_each():
    model, texts = build("frame"), tokens()
    found = model(texts, LENGTHS)[0]
    x = seen(model, texts[2, :4])
    wanted = model.head(lstm_of(model.recurrence, x.shape[1])(x.unsqueeze(0))[0][0])
    torch.testing.assert_close(found[2, :4], wanted)
    assert (found[2, 4:] == 0).all()


def test_what_makes_a_model_causal():
    settings = {
        (): False,
        (("padding", "causal"),): True,
        (("widths", ()),): True,
        (("widths", ()), ("bidirectional", True)): False,
        (("padding", "causal"), ("bidirectional", True)): False,
        (("padding", "causal"), ("bidirectional", True), ("recurrence", "none")): True,
    }
    for fields, causal in settings.items():
        config = dataclasses.replace(SMALL, **dict(fields))
        assert config.causal == causal
        if not causal:
            with pytest.raises(ConfigError, match="cannot run as a stream"):
                TextRNN(config, (), K).step(tokens()[:, 0])


def test_hidden_words_are_unknown_words_in_training_only():
    model, texts = build(word_dropout=0.999999), tokens()
    unknown = model.eval()(torch.ones_like(texts))[0]
    assert not torch.allclose(model(texts)[0], unknown)
    torch.testing.assert_close(model.train()(texts)[0], unknown)


def test_padding_is_a_vector_of_zeros_that_is_not_learned():
    model, texts = build(), tokens()
    assert (model.embedding.weight[0] == 0).all()
    assert model.embedding.weight.abs().max() <= 0.25
    texts[0, 3:] = 0  # inside of a text that is not padded
    model(texts)[0].sum().backward()
    assert (model.embedding.weight.grad[0] == 0).all()


def test_its_summary_shows_every_layer():
    table = summarize(build().float(), ())
    for name in ("Embedding", "TimeConv1d", "LSTM", "Linear"):
        assert name in table


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"widths": (3, 0)}, "widths must be numbers of words"),
        ({"channels": 0}, "channels must be at least 1"),
        ({"padding": "valid"}, "padding must be one of same, causal"),
        ({"recurrence": "lstn"}, "recurrence must be one of lstm"),
        ({"pool": "sum"}, "pool must be one of last"),
        ({"word_dropout": 1.0}, r"word_dropout must be in \[0, 1\)"),
        ({"recurrence": "none", "pool": "last"}, "pool 'last' needs a recurrence"),
    ],
)
def test_what_cannot_be_is_refused(fields, said):
    with pytest.raises(ConfigError, match=said):
        dataclasses.replace(SMALL, **fields)


def test_what_a_model_cannot_be_is_refused():
    for config, shape, outputs, readout in (
        (SMALL, (3, 8, 8), 2, "clip"),
        (TextRNNConfig(), (), 2, "clip"),
        (SMALL, (), 0, "clip"),
        (SMALL, (), 2, "film"),
    ):
        with pytest.raises(ConfigError):
            TextRNN(config, shape, outputs, readout)
    with pytest.raises(ValueError, match="frames must be tokens"):
        build()(torch.zeros(2, T))
