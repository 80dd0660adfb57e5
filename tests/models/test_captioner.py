"""What is particular to Captioner; what every model must do is in tests/contract/test_models.py."""

import numpy as np
import pytest
import torch

from unreel.errors import ConfigError
from unreel.models import Captioner, CaptionerConfig, EncoderConfig, summarize
from unreel.nn import SeesWords
from unreel.nn.positions import positions

SMALL = EncoderConfig(channels=(4, 6), features=8)
SHAPE, V = (2, 8, 8), 7
FORMS = ("show_and_tell", "attention", "encoder_decoder")
LENGTHS = torch.tensor([4, 2])
every_form = pytest.mark.parametrize("form", FORMS)
every_recurrence = pytest.mark.parametrize("recurrence", ["lstm", "gru"])


def build(form, seed=0, **fields):
    torch.manual_seed(seed)
    fields = {"embedding_size": 5, "hidden_size": 6, "dropout": 0.0, "encoder": SMALL, **fields}
    return Captioner(CaptionerConfig(form=form, **fields), SHAPE, V).eval()


def given(seed=0):
    """Two clips of 4 and 2 frames, and three captions of five words of each."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (2, 4, *SHAPE), dtype=torch.uint8, generator=generator)
    frames[1, 2:] = 0
    return frames, torch.randint(0, V, (2, 3, 5), generator=generator)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(weights, x, h, c):
    """One step of torch.nn.LSTM's equations on one vector, by weights in the form of Keras."""
    z = x @ weights["kernel"] + weights["bias"] + h @ weights["recurrent_kernel"]
    gates = dict(zip(weights["gates"], np.split(z, 4), strict=True))
    c = sigmoid(gates["forget"]) * c + sigmoid(gates["enter"]) * np.tanh(gates["candidate"])
    return sigmoid(gates["leave"]) * np.tanh(c), c


def weights_of(recurrence):
    layer = recurrence.layers[0]
    found = {name: parameter.detach().double().numpy() for name, parameter in layer.named_parameters()}
    return {**found, "gates": recurrence.cell.gates}


def numbers(module):
    return {name: value.detach().double().numpy() for name, value in module.state_dict().items()}


def linear(module, x):
    found = numbers(module)
    return found["weight"] @ x + found.get("bias", 0)


def picture(module, x):
    """In eval mode."""
    norm = numbers(module.norm)
    normal = (linear(module.linear, x) - norm["running_mean"]) / np.sqrt(norm["running_var"] + module.norm.eps)
    return normal * norm["weight"] + norm["bias"]


@pytest.mark.parametrize("form", ["show_and_tell", "encoder_decoder"])
def test_forms_without_attention_are_those_of_the_papers(form):
    """In float64, word by word, against equations written down a second time."""
    model = build(form).double()
    decoder = model.decoder
    frames, words = given()
    with torch.no_grad():
        model.picture.norm.running_mean.uniform_(-1, 1)
        model.picture.norm.running_var.uniform_(0.5, 2)
        features = model.encode(frames.double() / 255, LENGTHS)
        logits = model.decode(features, LENGTHS, words=words)[0]
    for n, length in enumerate(LENGTHS.tolist()):
        seen = features[n, :length].numpy()
        h = c = np.zeros(6)
        if form == "show_and_tell":
            h, c = lstm(weights_of(decoder.recurrence), picture(model.picture, seen.mean(0)), h, c)
        else:
            for frame in seen:
                h, c = lstm(weights_of(model.reader), picture(model.picture, frame), h, c)
        for row in range(3):
            now = h, c
            for t, word in enumerate(words[n, row].tolist()):
                x = decoder.embedding.weight[word].detach().numpy()
                now = lstm(weights_of(decoder.recurrence), x, *now)
                np.testing.assert_allclose(logits[n, row, t], linear(decoder.head, now[0]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("told", [False, True])
def test_attention_is_that_of_xu_et_al(told):
    """In float64, against equations 4 to 6, 7, 9 and 13, section 4.2.1 and the two of the first state.

    Positions, where they are told, stand behind the features of each place.
    """
    model = build("attention", attention_size=4, positions=told).double()
    decoder, attention = model.decoder, model.decoder.attention
    frames, words = given()
    with torch.no_grad():
        features = model.encode(frames.double() / 255, LENGTHS)
        logits, _, looks = model.write(words, model.read(features, LENGTHS))
    assert features.shape == (2, 4, 16, 6)
    assert model.grid == (4, 4)
    for n, length in enumerate(LENGTHS.tolist()):
        places = features[n, :length].flatten(0, 1).numpy()
        if told:
            when_and_where = positions(LENGTHS[n : n + 1], length, (4, 4))[0].flatten(0, 1).numpy()
            places = np.concatenate([places, when_and_where], 1)
        mean = places.mean(0)
        for row in range(3):
            h, c = (np.tanh(linear(layer, mean)) for layer in decoder.begin)
            for t, word in enumerate(words[n, row].tolist()):
                x = decoder.embedding.weight[word].detach().numpy()
                asked = linear(attention.query, h)
                scores = np.array([linear(attention.score, np.tanh(asked + linear(attention.key, a))) for a in places])
                weights = np.exp(scores[:, 0]) / np.exp(scores).sum()
                context = sigmoid(linear(decoder.gate, h)) * (weights @ places)
                h, c = lstm(weights_of(decoder.recurrence), np.concatenate([x, context]), h, c)
                deep = np.tanh(x + linear(decoder.from_state, h) + linear(decoder.from_context, context))
                np.testing.assert_allclose(logits[n, row, t], linear(decoder.head, deep), rtol=1e-9, atol=1e-12)
                np.testing.assert_allclose(looks[n, row, t, : len(places)], weights, rtol=1e-9, atol=1e-12)
                assert not looks[n, row, t, len(places) :].any()


@every_form
@every_recurrence
@torch.no_grad()
def test_many_words_at_once_are_one_after_the_other(form, recurrence):
    model = build(form, recurrence=recurrence, num_layers=2)
    frames, words = given()
    memory = model.read(model.encode(frames, LENGTHS), LENGTHS)
    whole, end, looks = model.write(words, memory)
    state = model.start(memory, 3)
    for t in range(5):
        logits, state, look = model.next(words[:, :, t], memory, state)
        torch.testing.assert_close(logits, whole[:, :, t])
        assert (look is None) == (looks is None) == (form != "attention")
        if look is not None:
            torch.testing.assert_close(look, looks[:, :, t])
            torch.testing.assert_close(look.sum(2), torch.ones(2, 3))
    torch.testing.assert_close(state, end)
    assert all(member.shape == (2, 3, 2, 6) for member in end[0])
    first, halfway, _ = model.write(words[:, :, :2], memory)
    rest, _, _ = model.write(words[:, :, 2:], memory, halfway)
    torch.testing.assert_close(torch.cat([first, rest], 2), whole)


@every_form
@pytest.mark.parametrize("seed", range(3))
def test_what_is_taught_is_what_is_written_behind_the_words_that_are_asked_for(form, seed):
    model = build(form).double()
    frames, _ = given()
    torch.manual_seed(seed)
    words = torch.randint(0, V, (2, 4, 9))
    ends = torch.randint(0, 10, (2, 4, 1))  # some rows are asked for nothing, some to their last word
    asked = (torch.arange(9) < ends) & (torch.rand(2, 4, 9) < 0.7)
    found = []
    for alone in (True, False):
        model.zero_grad()
        memory = model.read(model.encode(frames.double(), LENGTHS), LENGTHS)
        logits = model.teach(words, memory, asked) if alone else model.write(words, memory)[0][asked]
        logits.square().sum().backward()
        found.append([logits.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(found[0][0]) == asked.sum() > 5
    torch.testing.assert_close(*found)
    with torch.no_grad():
        assert model.teach(words, memory, torch.zeros_like(asked)).shape == (0, V)


@pytest.mark.parametrize(("form", "wanted"), [("show_and_tell", 6 + 4 + 3 + 9), ("attention", 6 + 6 + 4 + 9)])
@torch.no_grad()
def test_nothing_is_read_far_behind_the_words_that_are_asked_for(form, wanted):
    model = build(form)
    memory = model.read(model.encode(given()[0], LENGTHS), LENGTHS)
    read = []
    model.decoder.recurrence.register_forward_hook(lambda part, given, out: read.append(given[0].shape[:2].numel()))
    ends = torch.tensor([[1, 12, 1], [3, 2, 3]])
    model.teach(torch.ones(2, 3, 12, dtype=torch.int64), memory, torch.arange(12) < ends.unsqueeze(2))
    assert sum(read) == wanted, "of 72 words"


@every_form
@torch.no_grad()
def test_hidden_words_are_unknown_ones_in_training_alone(form):
    model = build(form, word_dropout=0.5)
    frames, words = given()
    memory = model.read(model.encode(frames, LENGTHS), LENGTHS)
    whole = model.eval().write(words, memory)[0]
    torch.testing.assert_close(model.write(words, memory)[0], whole)
    torch.manual_seed(3)
    hidden = torch.rand(words.shape) < 0.5
    assert 0 < hidden[words != 0].sum() < hidden.numel()
    wanted = model.write(torch.where(hidden & (words != 0), 1, words), memory)[0]
    torch.manual_seed(3)
    torch.testing.assert_close(model.train().write(words, memory)[0], wanted)


@every_form
@torch.no_grad()
def test_a_caption_does_not_know_the_others_nor_what_follows(form):
    model = build(form)
    frames, words = given()
    memory = model.read(model.encode(frames, LENGTHS), LENGTHS)
    whole = model.write(words, memory)[0]
    for row in range(3):
        torch.testing.assert_close(model.write(words[:, row : row + 1], memory)[0], whole[:, row : row + 1])
    changed = words.clone()
    changed[:, :, 3:] = 0
    torch.testing.assert_close(model.write(changed, memory)[0][:, :, :3], whole[:, :, :3])
    other = words.clone()
    other[:, :, 0] = (other[:, :, 0] + 1) % V
    assert not torch.allclose(model.write(other, memory)[0][:, :, 1], whole[:, :, 1])


@every_form
@torch.no_grad()
def test_without_words_it_is_at_the_begin(form):
    model = build(form)
    frames, _ = given()
    outputs, state = model(frames, LENGTHS)
    assert outputs.shape == (2, 1, 1, V)
    begin = torch.zeros(2, 1, 1, dtype=torch.int64)
    torch.testing.assert_close(outputs, model(frames, LENGTHS, words=begin)[0])
    following = torch.full((2, 1, 1), 3)
    both = model(frames, LENGTHS, words=torch.cat([begin, following], 2))[0]
    torch.testing.assert_close(model(frames, LENGTHS, state, following)[0], both[:, :, 1:])


@every_form
@torch.no_grad()
def test_what_stands_in_the_padding_of_features_is_not_read(form):
    """Features come from a cache, too."""
    model = build(form)
    frames, words = given()
    features = model.encode(frames, LENGTHS)
    dirty = features.clone()
    dirty[1, 2:] = torch.nan
    torch.testing.assert_close(
        model.decode(dirty, LENGTHS, words=words)[0], model.decode(features, LENGTHS, words=words)[0]
    )


@pytest.mark.parametrize(
    ("form", "told", "control"),
    [
        ("show_and_tell", False, "show_and_tell"),
        ("attention", False, "attention"),
        ("attention", True, "attention"),
        ("encoder_decoder", False, "show_and_tell"),
    ],
)
def test_the_order_of_frames_is_known_to_the_encoder_decoder_and_to_positions_and_to_no_control(form, told, control):
    frames, words = given()
    model = build(form, positions=told)
    config = model.config.control()
    assert config.form == control
    assert config.encoder == model.config.encoder
    assert (config == model.config) == (form != "encoder_decoder" and not told)
    torch.manual_seed(0)
    for one, knows in ((model, config != model.config), (Captioner(config, SHAPE, V).eval(), False)):
        with torch.no_grad():
            same = torch.allclose(one(frames, words=words)[0], one(frames.flip(1), words=words)[0], atol=1e-6)
        assert same != knows


@torch.no_grad()
def test_where_a_place_lies_is_known_to_positions_alone():
    """Places of one frame in another order."""
    words = given()[1]
    for told in (False, True):
        model = build("attention", positions=told)
        features = torch.rand(2, 1, *model.feature_shape, generator=torch.Generator().manual_seed(0))
        both = (model.decode(x, words=words)[0] for x in (features, features.flip(2)))
        assert torch.allclose(*both, atol=1e-6) != told


@every_form
def test_dropout_is_drawn_in_training_alone(form):
    model = build(form, dropout=0.5)
    frames, words = given()
    assert torch.equal(model(frames, LENGTHS, words=words)[0], model(frames, LENGTHS, words=words)[0])
    model.train()
    assert not torch.equal(model(frames, LENGTHS, words=words)[0], model(frames, LENGTHS, words=words)[0])


@every_form
def test_its_table_holds_every_parameter(form):
    model = build(form)
    assert f"Total params: {sum(p.numel() for p in model.parameters()):,}\n" in summarize(model, SHAPE, T=3)


def test_features_of_a_frozen_encoder_have_a_shape_and_a_name():
    frozen = EncoderConfig("test_resnet", frozen=True)
    kinds = set()
    for form, shape in (("show_and_tell", (96,)), ("attention", (4, 96))):
        model = Captioner(CaptionerConfig(encoder=frozen, form=form), (3, 64, 64), V)
        assert isinstance(model, SeesWords)
        assert model.has_frozen_encoder
        assert model.feature_shape == shape
        assert model.encode(torch.rand(1, 2, 3, 64, 64)).shape == (1, 2, *shape)
        kinds.add(model.feature_kind)
        trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
        assert "encoder" not in trained
        assert "decoder" in trained
    assert len(kinds) == 2
    assert not build("attention").has_frozen_encoder


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"form": "tell"}, "show_and_tell, attention, encoder_decoder, got 'tell'"),
        ({"recurrence": "none"}, "lstm, gru, got 'none'"),
        ({"embedding_size": 0}, "embedding_size must be at least 1"),
        ({"dropout": 1.0}, r"\[0, 1\)"),
        ({"word_dropout": -0.1}, r"\[0, 1\)"),
        ({"micro_batch": 0}, "micro_batch"),
        ({"attention_size": 3}, "does not apply to the form 'show_and_tell'"),
        ({"positions": True}, "positions does not apply to the form 'show_and_tell'"),
        ({"grid_size": 5}, "grid_size does not apply to the form 'show_and_tell'"),
        ({"grid_size": 0}, "grid_size must be at least 1"),
    ],
)
def test_configs_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        CaptionerConfig(**fields)


@pytest.mark.parametrize(
    ("outputs", "readout", "message"), [(1, "clip", "the end and a word"), (V, "frame", "must be 'clip'")]
)
def test_builds_that_cannot_be_are_refused(outputs, readout, message):
    with pytest.raises(ConfigError, match=message):
        Captioner(CaptionerConfig(encoder=SMALL), SHAPE, outputs, readout)


def test_what_is_no_word_no_frame_and_no_feature_is_refused():
    model = build("attention")
    frames, words = given()
    with pytest.raises(ValueError, match=r"words must be \(N, R, L\) int64 of 2 clips"):
        model(frames, LENGTHS, words=words.float())
    with pytest.raises(ValueError, match="words must be"):
        model(frames, LENGTHS, words=words[:1])
    with pytest.raises(ValueError, match="frames must be"):
        model(frames[..., 1:], LENGTHS)
    with pytest.raises(ValueError, match=r"features must be \(N, T, \(16, 6\)\)"):
        model.decode(torch.zeros(2, 4, 6))
