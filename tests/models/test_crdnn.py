"""What is particular to CRDNN; what every model must do is in tests/contract/test_models.py."""

import pytest
import torch
from torch.nn import functional

from unreel.errors import ConfigError
from unreel.models import CRDNN, CRDNNConfig

F, K = 11, 3
LENGTHS = torch.tensor([4, 9, 7])


def build(readout="clip", **fields):
    torch.manual_seed(0)
    settings = {"channels": (4, 6), "pools": (2, 3), "hidden_size": 5, "dense": (7,), "dropout": 0.0} | fields
    if settings.get("recurrence") == "none":
        del settings["hidden_size"]
    return CRDNN(CRDNNConfig(**settings), (F,), K, readout).eval()


def spectrograms(t=9, seed=0):
    return torch.randn(3, t, F, generator=torch.Generator().manual_seed(seed))


def test_parts_are_put_together_as_written():
    """Against torch.nn.functional, on one clip."""
    model = build(bidirectional=False, pool="mean")
    model.normalize.set_(torch.linspace(-1, 1, F), torch.linspace(1, 2, F))
    frames = spectrograms()[:1]
    x = ((frames - model.normalize.mean) / model.normalize.std).unsqueeze(1)  # (1, 1, T, F)
    for block, pool in zip(model.blocks, (2, 3), strict=True):
        x = functional.conv2d(x, block.conv.conv.weight, padding=1)
        x = functional.batch_norm(
            x, block.norm.running_mean, block.norm.running_var, block.norm.weight, block.norm.bias
        )
        x = functional.max_pool2d(x.relu(), (1, pool), ceil_mode=True)
    out, _ = model.recurrence(x.transpose(1, 2).flatten(2))
    hidden = functional.linear(out.mean(1), model.head[0].weight, model.head[0].bias).relu()
    expected = functional.linear(hidden, model.head[-1].weight, model.head[-1].bias)
    torch.testing.assert_close(model(frames)[0], expected)


def test_the_last_state_of_both_directions_is_read():
    model = build(pool="last")
    found, _ = model(spectrograms(), LENGTHS)
    seen = []
    model.recurrence.register_forward_hook(lambda _, __, result: seen.append(result[0]))
    for row, length in enumerate(LENGTHS):
        model(spectrograms()[row : row + 1, :length])
        out = seen[-1]
        ends = torch.cat([out[:, -1, :5], out[:, 0, 5:]], 1)
        torch.testing.assert_close(found[row : row + 1], model.head(ends))


def test_pooling_in_time_gives_one_step_for_several_frames():
    model = build("frame", time_pool=4)
    steps = []
    model.recurrence.register_forward_hook(lambda _, inputs, __: steps.append(inputs[0].shape[1]))
    outputs, _ = model(spectrograms(10), torch.tensor([10, 9, 5]))
    assert steps == [3]
    assert outputs.shape == (3, 10, K)
    torch.testing.assert_close(outputs[0, 0], outputs[0, 3])
    assert not torch.allclose(outputs[0, 3], outputs[0, 4])
    assert (outputs[2, 5:] == 0).all()
    clip, _ = build("clip", time_pool=4)(spectrograms(10), torch.tensor([10, 9, 5]))
    assert clip.shape == (3, K)


def test_a_causal_model_does_not_look_ahead():
    model = build("frame", causal=True)
    frames = spectrograms()
    changed = frames.clone()
    changed[:, 5:] += 1
    before, after = model(frames)[0], model(changed)[0]
    torch.testing.assert_close(before[:, :5], after[:, :5], rtol=0, atol=0)
    assert not torch.allclose(before[:, 5], after[:, 5])
    blind = build("frame", bidirectional=False)
    before, after = blind(frames)[0], blind(changed)[0]
    assert not torch.allclose(before[:, 4], after[:, 4]), "convolutions look ahead"


def test_directions_follow_from_causal():
    assert build().recurrence.directions == 2
    assert build(causal=True).recurrence.directions == 1
    assert build(bidirectional=False).recurrence.directions == 1


def test_the_control_knows_nothing_of_time():
    config = CRDNNConfig(channels=(4, 6), pools=(2, 3), kernel_size=(5, 3), dense=(7,), dropout=0.0, time_pool=2)
    control = config.control()
    assert control == control.control()
    torch.manual_seed(0)
    model = CRDNN(control, (F,), K).eval()
    frames = spectrograms()
    torch.testing.assert_close(model(frames)[0], model(frames.flip(1))[0])
    mixed = frames[:, torch.randperm(9)]
    torch.testing.assert_close(model(frames)[0], model(mixed)[0])
    assert control.kernel_size == (1, 3)


def test_a_chunk_and_the_whole_in_training_have_the_same_statistics():
    """With blocks of frames as batch normalisation takes them."""
    models = [build("frame", causal=True, norm_frames=4).train() for _ in range(2)]
    frames = spectrograms(8)
    whole, _ = models[0](frames)
    first, state = models[1](frames[:, :4])
    second, _ = models[1](frames[:, 4:], None, state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    for one, other in zip(models[0].buffers(), models[1].buffers(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"channels": ()}, "channels must be one or more"),
        ({"channels": (4, 0)}, "channels must be one or more"),
        ({"pools": (2,)}, "pools must be a number for each"),
        ({"kernel_size": (3,)}, r"kernel_size must be \(frames, mels\)"),
        ({"time_pool": 0}, "time_pool must be at least 1"),
        ({"recurrence": "gr"}, "recurrence must be one of lstm, gru, rnn, none"),
        ({"pool": "middle"}, "pool must be one of"),
        ({"dropout": 1.0}, "dropout"),
        ({"causal": True, "bidirectional": True}, "looks neither backwards in time nor ahead"),
        ({"causal": True, "time_pool": 2}, "time_pool 1"),
        ({"recurrence": "none", "num_layers": 2}, "num_layers does not apply"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields, said):
    with pytest.raises(ConfigError, match=said):
        CRDNNConfig(**({"channels": (4, 6), "pools": (2, 2)} | fields))


def test_other_frames_are_refused():
    with pytest.raises(ConfigError, match="go to cnn_rnn"):
        CRDNN(CRDNNConfig(), (3, 8, 8), K)
    with pytest.raises(ValueError, match="frames must be"):
        build()(torch.zeros(1, 4, F + 1))
    model = build()
    _, state = model(spectrograms())
    with pytest.raises(ConfigError, match="cannot run as a stream"):
        model(spectrograms(), None, state)
