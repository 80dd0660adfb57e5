"""What is particular to CNNRNN; what every model must do is in tests/contract/test_models.py."""

import pytest
import torch

from unreel.errors import ConfigError
from unreel.models import CNNRNN, CNNRNNConfig, EncoderConfig
from unreel.nn import Normalize

SMALL = EncoderConfig(channels=(4, 6), features=8)
SHAPE = (2, 8, 8)
LENGTHS = torch.tensor([2, 5, 4])


def build(readout="clip", seed=0, shape=SHAPE, **fields):
    torch.manual_seed(seed)
    fields.setdefault("encoder", SMALL)
    if fields.get("recurrence") != "none":
        fields.setdefault("hidden_size", 6)
    return CNNRNN(CNNRNNConfig(**fields), shape, 3, readout).eval()


def pixels(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, 5, *SHAPE), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("kind", ["frames", "difference", "both"])
@pytest.mark.parametrize("recurrence", ["gru", "none"])
@pytest.mark.parametrize("readout", ["clip", "frame"])
def test_decode_of_encode_is_forward(kind, recurrence, readout):
    model = build(readout, input=kind, recurrence=recurrence, pool="mean")
    features = model.encode(pixels(), LENGTHS)
    assert features.shape == (3, 5, model.features)
    assert (features[0, 2:] == 0).all()
    outputs, _ = model.decode(features, LENGTHS)
    torch.testing.assert_close(outputs, model(pixels(), LENGTHS)[0], rtol=0, atol=0)


def test_parts_are_put_together_as_written():
    model = build(input="both", pool="mean")
    x = (pixels() / 255).flatten(0, 1)
    x = ((x - model.normalize.mean.view(-1, 1, 1)) / model.normalize.std.view(-1, 1, 1)).unflatten(0, (3, 5))
    x = torch.cat([x, torch.cat([torch.zeros_like(x[:, :1]), x.diff(dim=1)], 1)], 2)
    features = torch.stack([model.encoder.module(frames) for frames in x.unbind(1)], 1)
    out, _ = model.recurrence(features)
    torch.testing.assert_close(model(pixels())[0], model.head(out.mean(1)))


def test_without_recurrence_frames_are_judged_apart_and_judgements_averaged():
    clip, frame = build(recurrence="none", pool="mean"), build("frame", recurrence="none", pool="mean")
    frame.load_state_dict(clip.state_dict())
    judged, _ = frame(pixels(), LENGTHS)
    alone, _ = frame(pixels()[:, 1:2])
    torch.testing.assert_close(judged[:, 1:2], alone)
    assert (judged[0, 2:] == 0).all()
    wanted = torch.stack([row[:length].mean(0) for row, length in zip(judged, LENGTHS, strict=True)])
    torch.testing.assert_close(clip(pixels(), LENGTHS)[0], wanted)


def test_the_control_sees_no_time():
    config = CNNRNNConfig(encoder=SMALL, input="both", hidden_size=7, bidirectional=True, dropout=0.1, micro_batch=2)
    control = CNNRNN(config.control(), SHAPE, 3).eval()
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(control(pixels())[0], control(pixels()[:, order])[0])
    assert control.config.encoder == SMALL
    assert control.config.micro_batch == 2
    assert config.control().control() == config.control()


def test_last_of_a_bidirectional_model_has_seen_the_whole_clip_in_both_directions():
    model = build(bidirectional=True, num_layers=2)
    out, _ = model.recurrence(model.encode(pixels(), LENGTHS), LENGTHS)
    forwards = torch.stack([row[length - 1, :6] for row, length in zip(out, LENGTHS, strict=True)])
    torch.testing.assert_close(model(pixels(), LENGTHS)[0], model.head(torch.cat([forwards, out[:, 0, 6:]], 1)))


def test_features_as_frames():
    model = build(encoder=EncoderConfig("identity"), shape=(4,), input="both", readout="frame")
    outputs, _ = model(torch.randn(2, 3, 4))
    assert outputs.shape == (2, 3, 3)
    assert model.recurrence.input_size == 8


@pytest.mark.parametrize("recompute", [False, True])
def test_micro_batches_and_recompute_change_no_gradient(recompute):
    plain, pieces = build(), build(micro_batch=4, recompute=recompute)
    assert list(plain.state_dict()) == list(pieces.state_dict())
    gradients = [
        torch.autograd.grad(model(pixels(), LENGTHS)[0].sin().sum(), list(model.parameters()))
        for model in (plain, pieces)
    ]
    torch.testing.assert_close(*gradients)


def test_normalize_comes_from_the_weights_where_there_are_any(tmp_path):
    import timm
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), path)
    encoder = EncoderConfig("test_resnet", weights=str(path), frozen=True)
    model = build(encoder=encoder, shape=(3, 32, 32))
    assert not model.measures_statistics
    assert model.has_frozen_encoder
    assert model.normalize.mean.tolist() == pytest.approx(timm.get_pretrained_cfg("test_resnet").mean)
    plain = build()
    assert plain.measures_statistics
    assert not plain.has_frozen_encoder
    assert isinstance(plain.normalize, Normalize)


def test_bfloat16_autocast_runs_forwards_and_backwards():
    model = build(pool="attention", input="both").train()
    with torch.autocast("cpu", torch.bfloat16):
        outputs, _ = model(pixels(), LENGTHS)
        loss = outputs.float().square().sum()
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    torch.testing.assert_close(outputs.float(), model(pixels(), LENGTHS)[0], rtol=0.1, atol=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        _, state = model(pixels()[:, :3])
        streamed, _ = model.step(pixels()[:, 3], state)
    torch.testing.assert_close(streamed.float(), model(pixels()[:, :4])[0], rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": "flow"}, "frames, difference, both, got 'flow'"),
        ({"recurrence": "sru"}, "lstm, gru, rnn, none"),
        ({"pool": "sum"}, "last, mean, max, attention"),
        ({"micro_batch": 0}, "micro_batch"),
        ({"recurrence": "none", "pool": "mean", "hidden_size": 5}, "hidden_size does not apply"),
        ({"recurrence": "none"}, "set pool='mean'"),
    ],
)
def test_configs_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        CNNRNNConfig(**fields)


def test_calls_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="bidirectional model cannot run as a stream"):
        build(bidirectional=True).step(pixels()[:, 0])
    with pytest.raises(ConfigError, match="readout"):
        build("word")
    with pytest.raises(ValueError, match=r"frames must be \(N, T, \(2, 8, 8\)\)"):
        build()(torch.zeros(1, 2, 3, 8, 8))
