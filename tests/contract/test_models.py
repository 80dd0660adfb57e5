"""What every model in MODELS must do, whatever it is. A new model adds its configs to CASES."""

import dataclasses
import typing

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.export import Dim, export

from unreel.clip import ClipBatch
from unreel.inference.heat import find_heat
from unreel.models import (
    MODELS,
    AutoencoderConfig,
    CaptionerConfig,
    CNNRNNConfig,
    ConvLSTMTaggerConfig,
    CRDNNConfig,
    EncoderConfig,
    ImageRNNConfig,
    ScanRNNConfig,
    SequenceRNNConfig,
    TextRNNConfig,
)
from unreel.nn import SeesViews, SeesWords

SMALL = EncoderConfig(channels=(4, 6), features=8)
IMAGE, VECTOR, TOKEN = (2, 8, 8), (5,), ()
WORDS = TextRNNConfig(vocabulary=9, embedding_size=6, channels=5, hidden_size=6, dropout=0.0, embedding_dropout=0.0)
T, K = 5, 3
CAPTIONS = CaptionerConfig(encoder=SMALL, embedding_size=16, hidden_size=16, dropout=0.0)
TOLD = ((0, 1), (0, 2))  # what models that see words are told of each clip: the first words of two captions

# name: (model, config, frame shape)
CASES = {
    "lstm": ("cnn_rnn", CNNRNNConfig(encoder=SMALL, hidden_size=6), IMAGE),
    "gru_both_mean": (
        "cnn_rnn",
        CNNRNNConfig(
            encoder=SMALL, input="both", recurrence="gru", hidden_size=6, num_layers=2, dropout=0.1, pool="mean"
        ),
        IMAGE,
    ),
    "rnn_difference_max": (
        "cnn_rnn",
        CNNRNNConfig(encoder=SMALL, input="difference", recurrence="rnn", hidden_size=6, pool="max"),
        IMAGE,
    ),
    "attention_micro_batch": (
        "cnn_rnn",
        CNNRNNConfig(encoder=SMALL, hidden_size=6, pool="attention", micro_batch=3, recompute=True),
        IMAGE,
    ),
    "bidirectional": (
        "cnn_rnn",
        CNNRNNConfig(encoder=SMALL, hidden_size=6, num_layers=2, bidirectional=True),
        IMAGE,
    ),
    "control": ("cnn_rnn", CNNRNNConfig(encoder=SMALL).control(), IMAGE),
    "timm": ("cnn_rnn", CNNRNNConfig(encoder=EncoderConfig("test_resnet"), hidden_size=6), (3, 16, 16)),
    "tagger": (
        "conv_lstm_tagger",
        ConvLSTMTaggerConfig(channels=(4, 3), head_channels=3, dense=(6, 4), norm_frames=2),
        IMAGE,
    ),
    "tagger_joint": (
        "conv_lstm_tagger",
        ConvLSTMTaggerConfig(
            channels=(5,),
            pools=(3,),
            head_channels=3,
            dense=(8,),
            kernel_size=5,
            recurrent_activation="hard_sigmoid",
            dropout=0.1,
            norm_frames=8,
            heads="joint",
        ),
        IMAGE,
    ),
    "image_rnn": (
        "image_rnn",
        ImageRNNConfig(channels=4, hidden_size=5, bidirectional=True, order="both", pool="mean"),
        IMAGE,
    ),
    "image_rnn_parallel": (
        "image_rnn",
        ImageRNNConfig("image_rnn", "parallel", channels=4, recurrence="gru", hidden_size=5, order="snake", dense=6),
        IMAGE,
    ),
    "image_rnn_plain": ("image_rnn", ImageRNNConfig(channels=4, hidden_size=5).control(), IMAGE),
    "vectors": ("cnn_rnn", CNNRNNConfig(encoder=EncoderConfig("identity"), input="both", hidden_size=6), VECTOR),
    "c_lstm": ("text_rnn", dataclasses.replace(WORDS, widths=(3, 2), pool="last"), TOKEN),
    "c_lstm_causal": (
        "text_rnn",
        dataclasses.replace(WORDS, widths=(3, 2), padding="causal", recurrence="gru", pool="attention"),
        TOKEN,
    ),
    "text_lstm_both_ways": ("text_rnn", dataclasses.replace(WORDS, widths=(), bidirectional=True, pool="last"), TOKEN),
    "text_cnn": ("text_rnn", dataclasses.replace(WORDS, widths=(3, 4, 5), recurrence="none"), TOKEN),
    "text_dropout": (
        "text_rnn",
        dataclasses.replace(WORDS, num_layers=2, dropout=0.1, embedding_dropout=0.1, word_dropout=0.1),
        TOKEN,
    ),
    "bag_of_words": ("text_rnn", WORDS.control(), TOKEN),
    "crdnn": (
        "crdnn",
        CRDNNConfig(channels=(4, 3), pools=(2, 2), hidden_size=6, dense=(8,), norm_frames=3, pool="last"),
        VECTOR,
    ),
    "crdnn_causal": (
        "crdnn",
        CRDNNConfig(
            channels=(4,), pools=(2,), kernel_size=(2, 3), recurrence="lstm", hidden_size=6, num_layers=2, causal=True
        ),
        VECTOR,
    ),
    "crdnn_time_pool": (
        "crdnn",
        CRDNNConfig(channels=(4,), pools=(3,), time_pool=2, hidden_size=6, dense=(), pool="attention", dropout=0.0),
        VECTOR,
    ),
    "crdnn_control": ("crdnn", CRDNNConfig(channels=(4, 3), pools=(2, 2), dense=(8,)).control(), VECTOR),
    "scan": ("scan_rnn", ScanRNNConfig(encoder=SMALL, hidden_size=6), IMAGE),
    "scan_separate_bidirectional": (
        "scan_rnn",
        ScanRNNConfig(encoder=SMALL, encoders="separate", hidden_size=6, bidirectional=True, micro_batch=2),
        IMAGE,
    ),
    "scan_control": ("scan_rnn", ScanRNNConfig(encoder=SMALL, encoders="separate").control(), IMAGE),
    "autoencoder_maps": ("autoencoder", AutoencoderConfig(channels=(4, 5), hidden=3), IMAGE),
    "autoencoder_odd": (
        "autoencoder",
        AutoencoderConfig(
            channels=(4, 6),
            kernel_size=5,
            downsample="max",
            upsample="bilinear",
            recurrence="gru",
            hidden=3,
            num_layers=2,
        ),
        (2, 7, 10),
    ),
    "autoencoder_vector": (
        "autoencoder",
        AutoencoderConfig(channels=(4, 6), downsample="mean", upsample="transposed", bottleneck="vector", hidden=6),
        (2, 7, 10),
    ),
    "autoencoder_both_ways": ("autoencoder", AutoencoderConfig(channels=(4,), hidden=3, bidirectional=True), IMAGE),
    "autoencoder_control": ("autoencoder", AutoencoderConfig(channels=(4,), hidden=3).control(), IMAGE),
    "rnn": ("rnn", SequenceRNNConfig(recurrence="rnn", hidden_size=6, num_layers=2), VECTOR),
    "rnn_both_ways": ("rnn", SequenceRNNConfig(hidden_size=6, num_layers=2, bidirectional=True), VECTOR),
    "rnn_mean": ("rnn", SequenceRNNConfig(recurrence="gru", hidden_size=6, pool="mean", dropout=0.1), VECTOR),
    "rnn_decoder": ("rnn", SequenceRNNConfig(hidden_size=6, num_layers=2, output_length=4), VECTOR),
    "rnn_decoder_both_ways": (
        "rnn",
        SequenceRNNConfig(recurrence="gru", hidden_size=6, bidirectional=True, output_length=4),
        VECTOR,
    ),
    "rnn_control": ("rnn", SequenceRNNConfig(hidden_size=6).control(), VECTOR),
    "rnn_decoder_control": ("rnn", SequenceRNNConfig(hidden_size=6, output_length=4).control(), VECTOR),
    "show_and_tell": ("captioner", CAPTIONS, IMAGE),
    "show_and_tell_dropout": (
        "captioner",
        dataclasses.replace(CAPTIONS, recurrence="gru", num_layers=2, dropout=0.1),
        IMAGE,
    ),
    "captions_attention": (
        "captioner",
        dataclasses.replace(CAPTIONS, form="attention", attention_size=4, micro_batch=3, recompute=True),
        IMAGE,
    ),
    "captions_attention_deep": (
        "captioner",
        dataclasses.replace(CAPTIONS, form="attention", recurrence="gru", num_layers=2, attention_size=4),
        IMAGE,
    ),
    "captions_attention_positions": (
        "captioner",
        dataclasses.replace(CAPTIONS, form="attention", positions=True, attention_size=4),
        IMAGE,
    ),
    "captions_attention_timm": (
        "captioner",
        dataclasses.replace(CAPTIONS, form="attention", encoder=EncoderConfig("test_resnet"), attention_size=4),
        (3, 16, 16),
    ),
    "captions_attention_vectors": (
        "captioner",
        dataclasses.replace(CAPTIONS, form="attention", encoder=EncoderConfig("identity"), attention_size=4),
        VECTOR,
    ),
    "captions_encoder_decoder": ("captioner", dataclasses.replace(CAPTIONS, form="encoder_decoder"), IMAGE),
    "captions_encoder_decoder_deep": (
        "captioner",
        dataclasses.replace(CAPTIONS, form="encoder_decoder", recurrence="gru", num_layers=2, dropout=0.1),
        IMAGE,
    ),
    "captions_control": ("captioner", dataclasses.replace(CAPTIONS, form="encoder_decoder").control(), IMAGE),
}
# BatchNorm looks at the whole batch in train mode, which is what it is for; dropout draws anew.
CRDNNS = {"crdnn", "crdnn_causal", "crdnn_time_pool", "crdnn_control"}
DIFFERS_IN_TRAIN_MODE = {"timm", "gru_both_mean", "tagger", "tagger_joint", "text_dropout", "rnn_mean", *CRDNNS}
DIFFERS_IN_TRAIN_MODE |= {"captions_attention_timm"} | {
    case for case, (name, config, _) in CASES.items() if name == "captioner" and config.form != "attention"
}
# An autoencoder has one output, its error.
ONE_OUTPUT = {case for case, (name, _, _) in CASES.items() if name == "autoencoder"}
# A decoder answers a whole clip, with so many steps; a captioner with as many as there are words it is told.
STEPS = {
    case: config.output_length for case, (name, config, _) in CASES.items() if name == "rnn" and config.output_length
} | {case: sum(map(len, TOLD)) for case, (name, _, _) in CASES.items() if name == "captioner"}
# Dropout that is drawn for each frame is drawn for padding too.
DRAWS_FOR_EACH_FRAME = {"gru_both_mean", "text_dropout", "crdnn_causal", "rnn_mean", "captions_encoder_decoder_deep"}

every_case = pytest.mark.parametrize("case", CASES)
every_case_and_readout = pytest.mark.parametrize(
    ("case", "readout"),
    [(case, readout) for case in CASES for readout in ("clip", "frame") if readout == "clip" or case not in STEPS],
)
# Each case is exported once, since that takes seconds: some with lengths and one answer a clip, the others without.
EXPORTED_WITH_LENGTHS = {
    *("lstm", "attention_micro_batch", "bidirectional", "timm", "tagger_joint"),
    *("autoencoder_odd", "autoencoder_both_ways", "rnn_both_ways", "rnn_mean", *STEPS),
}

# torch looks at .grad of what it traces, and hides its own warning of that, but not from pytest
tracing = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


def build(case, readout, seed=0):
    name, config, frame_shape = CASES[case]
    torch.manual_seed(seed)
    model = MODELS[name](config, frame_shape, outputs_of(case), readout)
    if isinstance(model, SeesWords):
        return OfWords(model)
    return OfViews(model) if isinstance(model, SeesViews) else model


def outputs_of(case):
    return 1 if case in ONE_OUTPUT else K


class OfViews(torch.nn.Module):
    """A model that sees views, told one for each frame by what is in the frame."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, frames, lengths=None, state=None):
        return self.model(frames, lengths, state, self.views(frames))

    def step(self, frame, state=None):
        return self.model.step(frame, state, self.views(frame[:, None])[:, 0])

    def sites(self):
        return self.model.sites()

    def views(self, frames):
        return frames.flatten(2)[:, :, 0].long() % self.model.views


class OfWords(torch.nn.Module):
    """A model that sees words, told the same of every clip; its captions one behind the other."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, frames, lengths=None, state=None):
        words = torch.tensor(TOLD).expand(frames.shape[0], -1, -1)
        outputs, after = self.model(frames, lengths, state, words)
        return outputs.flatten(1, 2), after

    def step(self, frame, state=None):
        return self.model.step(frame, state)

    def sites(self):
        return self.model.sites()


def clips(case, lengths, seed=0):
    """Random clips, zero after each length: uint8 for images, float for vectors, int64 for tokens."""
    frame_shape = CASES[case][2]
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), T, *frame_shape)
    if len(frame_shape) == 3:
        frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    elif frame_shape == TOKEN:
        frames = torch.randint(1, WORDS.vocabulary, shape, generator=generator)
    else:
        frames = torch.randn(shape, generator=generator)
    for clip, length in zip(frames, lengths, strict=True):
        clip[length:] = 0
    return frames, torch.tensor(lengths)


def rebuild(kind, values):
    """A config from the plain dict that dataclasses.asdict makes, by its annotated types."""
    types = typing.get_type_hints(kind)
    return kind(
        **{
            name: rebuild(types[name], value) if dataclasses.is_dataclass(types[name]) else value
            for name, value in values.items()
        }
    )


def test_every_model_has_a_case():
    assert {name for name, _, _ in CASES.values()} == set(MODELS)


@every_case
def test_config_comes_back_from_a_dict(case):
    name, config, _ = CASES[case]
    assert rebuild(MODELS[name].Config, dataclasses.asdict(config)) == config
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.encoder = None


@every_case_and_readout
def test_every_parameter_gets_a_gradient(case, readout):
    model = build(case, readout)
    with torch.no_grad():  # residual branches may start at zero, where they pass no gradient on
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    outputs, _ = model(*clips(case, [5, 3]))
    between = {"clip": (STEPS[case],) if case in STEPS else (), "frame": (T,)}[readout]
    assert outputs.shape == (2, *between, outputs_of(case))
    outputs.sin().sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@every_case_and_readout
@pytest.mark.parametrize("train", [False, True])
def test_a_clip_does_not_know_its_batch_mates_nor_its_padding(case, readout, train):
    if train and case in DIFFERS_IN_TRAIN_MODE:
        return
    model = build(case, readout).train(train)
    frames, lengths = clips(case, [5, 2, 3])
    together, states = model(frames, lengths)
    for row, length in enumerate(lengths):
        alone, state = model(frames[row : row + 1, :length])
        seen = together[row] if readout == "clip" else together[row, :length]
        torch.testing.assert_close(seen, alone[0], rtol=1e-4, atol=1e-5)
        for ours, theirs in zip(flat(states), flat(state), strict=True):
            torch.testing.assert_close(ours[row], theirs[0], rtol=1e-4, atol=1e-5)
    if readout == "frame":
        assert (together[1, 2:] == 0).all()


@every_case_and_readout
def test_what_stands_in_the_padding_is_seen_by_no_one(case, readout):
    """In train mode, whatever a model makes of batch mates."""
    frames, lengths = clips(case, [4, 2, 3])
    seen = []
    dirty = frames.clone()
    for clip, length in zip(dirty, lengths, strict=True):
        clip[length:] = 7
    for padded in (frames, dirty) if case in DRAWS_FOR_EACH_FRAME else (frames, dirty, frames[:, :4]):
        model = build(case, readout)
        torch.manual_seed(1)
        outputs, states = model(padded, lengths)
        grads = torch.autograd.grad(outputs.sin().sum(), list(model.parameters()), allow_unused=True)
        buffers = [buffer.double() for buffer in model.buffers()]
        if readout == "frame":
            outputs = outputs[:, :4]
        seen.append([outputs, *flat(states), *(grad for grad in grads if grad is not None), *buffers])
    for other in seen[1:]:
        torch.testing.assert_close(other, seen[0], rtol=1e-4, atol=1e-5)


def flat(state):
    return [tensor for part in state for tensor in part]


@every_case_and_readout
def test_step_equals_forward(case, readout):
    model = build(case, readout).eval()
    if not CASES[case][1].causal:
        with pytest.raises(Exception, match="stream"):
            model.step(clips(case, [5])[0][:, 0])
        return
    frames, _ = clips(case, [T, T])
    whole, end = model(frames)
    state = None
    for t in range(T):
        outputs, state = model.step(frames[:, t], state)
        wanted = model(frames[:, : t + 1])[0] if readout == "clip" else whole[:, t]
        torch.testing.assert_close(outputs, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(flat(state), flat(end), rtol=1e-4, atol=1e-5)
    _, state = model(frames[:, :2])
    chunked, _ = model(frames[:, 2:], None, state)
    torch.testing.assert_close(chunked, whole if readout == "clip" else whole[:, 2:], rtol=1e-4, atol=1e-5)


@every_case_and_readout
def test_what_counted_in_a_clip_does_not_know_its_batch_mates(case, readout):
    model = build(case, readout).eval()
    if not model.sites().maps:
        pytest.skip("it has nothing to be explained by")
    with torch.no_grad():  # as above
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    frames, lengths = clips(case, [5, 2, 3])
    targets = torch.tensor([0, 2, 1])

    def explained(place, t):
        seen, times = frames[place, :t], torch.zeros(len(lengths[place]), t).double()
        views = model.views(seen) if isinstance(model, OfViews) else None
        batch = ClipBatch(seen, lengths[place], times, ("a", "b", "c")[place], views)
        return find_heat(
            lambda clips: model(clips.frames, clips.lengths)[0], model.sites(), batch, targets[place], "hires_cam"
        )

    together = explained(slice(0, 3), T)
    assert together.importance.shape == (3, T)
    assert together.importance.any()
    for row, length in enumerate(lengths.tolist()):
        alone = explained(slice(row, row + 1), length)
        torch.testing.assert_close(together.places[row, :length], alone.places[0], rtol=1e-4, atol=1e-6)
        assert not together.places[row, length:].any()
        assert float(together.importance[row].sum()) in (0, pytest.approx(1))


@every_case
def test_two_clips_are_learnt_by_heart(case):
    if case in ONE_OUTPUT:
        pytest.skip("it learns to make frames again: tests/models/test_autoencoder.py")
    model = build(case, "clip")
    frames, lengths = clips(case, [5, 3])
    labels = torch.tensor([0, 2])
    if case in STEPS:
        labels = torch.stack([labels, 2 - labels, labels, labels]).T
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(300 if case in STEPS else 100):
        outputs = model(frames, lengths)[0]
        loss = torch.nn.functional.cross_entropy(outputs.movedim(-1, 1), labels)
        if loss < 0.05:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05


@every_case_and_readout
def test_saved_and_loaded_weights_give_the_same_bits(case, readout, tmp_path):
    model, other = build(case, readout), build(case, readout, seed=1)
    frames, lengths = clips(case, [5, 3])
    model(frames, lengths)[0].sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    for net in (model, other):
        net.eval()
    assert torch.equal(model(frames, lengths)[0], other(frames, lengths)[0])


@every_case
@torch.no_grad()
def test_exported_equals_eager_at_any_number_of_clips_and_frames(case):
    torch.compiler.reset()
    readout = "clip" if case in EXPORTED_WITH_LENGTHS else "frame"
    model = build(case, readout).eval()
    whole, lengths = clips(case, [5, 2, 3])
    small = whole[:2, :4].contiguous()  # a program asks whether its input lies in memory as the example did
    any_of_both, any_n = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}, {0: Dim.DYNAMIC}
    if readout == "frame":
        program = export(model, (small,), dynamic_shapes=(any_of_both,)).module()
        for frames in (small, torch.cat([whole, whole], 1), whole[:1, :1].contiguous()):
            torch.testing.assert_close(program(frames), model(frames), rtol=1e-4, atol=1e-5)
        return
    given = (small, lengths[:2].clamp(max=4))
    program = export(model, given, dynamic_shapes=(any_of_both, any_n)).module()
    for frames, ends in (given, (whole, lengths), (whole, torch.tensor([5, 5, 5])), (whole[:1], lengths[:1])):
        torch.testing.assert_close(program(frames, ends), model(frames, ends), rtol=1e-4, atol=1e-5)


@tracing
@pytest.mark.parametrize(("case", "readout"), [("lstm", "clip"), ("gru_both_mean", "frame"), ("tagger", "frame")])
def test_compiled_equals_eager(case, readout):
    torch._dynamo.reset()
    frames = clips(case, [5, 5])[0]
    found = []
    for compiled in (True, False):
        model = build(case, readout)
        run = torch.compile(model, backend="aot_eager", fullgraph=True) if compiled else model
        torch.manual_seed(1)
        outputs, state = run(frames)
        grads = torch.autograd.grad(outputs.sin().sum(), list(model.parameters()), allow_unused=True)
        found.append([outputs, *flat(state), *(grad for grad in grads if grad is not None), *model.buffers()])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()
