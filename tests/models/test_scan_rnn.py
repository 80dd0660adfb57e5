"""What is particular to ScanRNN; what every model must do is in tests/contract/test_models.py."""

import pytest
import torch
from torch.export import Dim, export

from unreel.errors import ConfigError
from unreel.models import EncoderConfig, ScanRNN, ScanRNNConfig, summarize

SMALL = EncoderConfig(channels=(4, 6), features=8, norm="batch")
SHAPE = (1, 8, 8)
VIEWS = torch.tensor([[0, 0, 1, 2], [2, 1, 0, 0]])
LENGTHS = torch.tensor([4, 2])


def build(seed=0, **fields):
    torch.manual_seed(seed)
    if fields.get("recurrence") != "none":
        fields.setdefault("hidden_size", 6)
    return ScanRNN(ScanRNNConfig(encoder=SMALL, **fields), SHAPE, 3).eval()


def slices(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (2, 4, *SHAPE), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("encoders", ["shared", "separate"])
@pytest.mark.parametrize("recurrence", ["gru", "none"])
def test_parts_are_put_together_as_written(encoders, recurrence):
    model = build(encoders=encoders, recurrence=recurrence, pool="mean")
    x = slices() / 255
    answers = []
    for n, length in enumerate(LENGTHS.tolist()):
        features = []
        for t in range(length):
            view = int(VIEWS[n, t])
            encoder = model.encoders[view if encoders == "separate" else 0].module
            features.append(encoder(x[n, t : t + 1])[0] + model.embedding.vectors.weight[view])
        behind = model.over_features
        out = torch.stack(features)[None]
        if recurrence == "none":
            answers.append(behind.head(out)[0].mean(0))
        else:
            answers.append(behind.head(behind.recurrence(out)[0].mean(1))[0])
    torch.testing.assert_close(model(slices(), LENGTHS, views=VIEWS)[0], torch.stack(answers))


def test_a_model_that_is_told_no_views_sees_the_first():
    model = build()
    assert torch.equal(model(slices())[0], model(slices(), views=torch.zeros(2, 4, dtype=torch.int64))[0])
    assert not torch.allclose(model(slices())[0], model(slices(), views=VIEWS)[0], atol=1e-6)
    step, _ = model.step(slices()[:, 0], view=VIEWS[:, 0])
    torch.testing.assert_close(step, model(slices()[:, :1], views=VIEWS[:, :1])[0])


@torch.no_grad()
def test_an_exported_program_shows_each_slice_to_the_encoder_of_its_view():
    model = build(encoders="separate")
    few, count = Dim("few"), Dim("count")
    shapes = {"frames": {0: few, 1: count}, "views": {0: few, 1: count}}
    given = {"frames": slices(), "views": VIEWS}
    program = export(model, (), given, dynamic_shapes=shapes).module()
    for more in (given, {name: torch.cat([x, x.flip(1)], 1)[:, :7] for name, x in given.items()}):
        torch.testing.assert_close(program(**more)[0], model(**more)[0])


def test_separate_encoders_keep_statistics_of_their_own_plane_alone():
    model = build(encoders="separate").train()
    before = [encoder.module.net[1].running_mean.clone() for encoder in model.encoders]
    frames = slices()
    frames[0, 2] = 255
    model(frames, LENGTHS, views=torch.tensor([[0, 0, 0, 0], [1, 1, 2, 2]]))  # of view 2 there is padding only
    after = [encoder.module.net[1].running_mean for encoder in model.encoders]
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [False, False, True]


def test_three_encoders_have_three_times_the_parameters():
    def count(model):
        return sum(p.numel() for p in model.parameters())

    shared, separate = build(), build(encoders="separate")
    assert count(separate) - count(shared) == 2 * count(shared.encoders)
    assert f"{count(separate):,}" in summarize(separate, SHAPE, T=1)


def test_the_control_keeps_encoders_and_views():
    config = ScanRNNConfig(encoder=SMALL, encoders="separate", recurrence="lstm", dropout=0.1, bidirectional=True)
    control = config.control()
    assert (control.recurrence, control.pool, control.encoders) == ("none", "mean", "separate")
    assert control.control() == control
    model = ScanRNN(control, SHAPE, 3).eval()
    turned, views = slices()[:, [2, 0, 3, 1]], VIEWS[:, [2, 0, 3, 1]]
    torch.testing.assert_close(model(slices(), views=VIEWS)[0], model(turned, views=views)[0])


def test_what_cannot_be():
    for fields in ({"encoders": "several"}, {"views": 0}, {"pool": "sum"}, {"recurrence": "none", "pool": "last"}):
        with pytest.raises(ConfigError):
            ScanRNNConfig(encoder=SMALL, **fields)
    model = build()
    with pytest.raises(ValueError, match="views must be"):
        model(slices(), views=VIEWS[:, :2])
    with pytest.raises(ValueError, match="frames must be"):
        model(torch.zeros(2, 4, 1, 9, 8))
