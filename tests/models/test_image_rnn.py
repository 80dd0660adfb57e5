"""What is particular to ImageRNN; what every model must do is in tests/contract/test_models.py."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from unreel.errors import ConfigError
from unreel.models import ImageRNN, ImageRNNConfig, summarize
from unreel.models.image_rnn import walk

SHAPE = (3, 8, 6)
SMALL = ImageRNNConfig(channels=4, hidden_size=5)
PARALLEL = ImageRNNConfig(form="parallel", channels=4, hidden_size=5, dense=7)


def build(config, shape=SHAPE, outputs=3, readout="clip"):
    torch.manual_seed(0)
    return ImageRNN(config, shape, outputs, readout)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def images(n=2, t=1, shape=SHAPE):
    return torch.randn(n, t, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("form", "parameters", "control"), [("sequential", 22_110, 22_155), ("parallel", 1_299_410, 1_295_321)]
)
def test_it_has_the_parameters_of_the_tutorial_and_so_about_has_its_control(form, parameters, control):
    config = ImageRNNConfig(form=form)
    assert count(build(config, (3, 32, 32), 10)) == parameters
    plain = build(config.control(), (3, 32, 32), 10)
    assert count(plain) == control
    assert not any("recurren" in name for name, _ in plain.named_modules())
    assert config.control().control() == config.control()


@pytest.mark.parametrize("form", ["sequential", "parallel"])
@pytest.mark.parametrize(
    "change", [{}, {"recurrence": "gru", "num_layers": 2}, {"order": "both", "hidden_size": 9}, {"bidirectional": True}]
)
def test_a_control_has_about_as_many_parameters(form, change):
    config = ImageRNNConfig(form=form, channels=20, **change)
    ours, plain = (count(build(each, (3, 24, 20), 7)) for each in (config, config.control()))
    assert abs(plain / ours - 1) < 0.03


def by_torch(layer, x):
    """The last hidden state of torch's own LSTM with the weights of one of ours."""
    weights = layer.layers[0]
    theirs = nn.LSTM(x.shape[-1], weights.recurrent_kernel.shape[0], batch_first=True)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(weights.kernel.T)
        theirs.weight_hh_l0.copy_(weights.recurrent_kernel.T)
        theirs.bias_ih_l0.copy_(weights.bias)
        theirs.bias_hh_l0.zero_()
    return theirs(x)[0][:, -1]


def test_sequential_is_the_network_of_the_tutorial():
    model, frames = build(SMALL), images()
    net = model.net.module
    conv = net.convolution[0]
    grid = functional.max_pool2d(functional.conv2d(frames[:, 0], conv.weight, conv.bias, padding=1).relu(), 2)
    steps = torch.stack([grid[:, :, row, column] for row in range(4) for column in range(3)], 1)
    wanted = net.head(by_torch(net.read.walks[0].recurrence, steps))
    torch.testing.assert_close(model(frames)[0], wanted, rtol=1e-5, atol=1e-6)


def test_parallel_is_the_network_of_the_tutorial():
    model, frames = build(PARALLEL), images()
    net = model.net.module
    conv = net.convolution[0]
    grid = functional.max_pool2d(functional.conv2d(frames[:, 0], conv.weight, conv.bias, padding=1).relu(), 2)
    steps = torch.stack([frames[:, 0, :, row, column] for row in range(8) for column in range(6)], 1)
    told = by_torch(net.read.walks[0].recurrence, steps)
    wanted = net.head(torch.cat([net.dense_cnn(grid.flatten(1)), net.dense_rnn(told)], 1))
    torch.testing.assert_close(model(frames)[0], wanted, rtol=1e-5, atol=1e-6)


def test_orders():
    grid = torch.arange(6).reshape(1, 1, 2, 3)
    found = {order: walk(grid, order).flatten().tolist() for order in ("rows", "columns", "snake")}
    assert found == {"rows": [0, 1, 2, 3, 4, 5], "columns": [0, 3, 1, 4, 2, 5], "snake": [0, 1, 2, 5, 4, 3]}


def test_both_reads_rows_and_columns_with_weights_of_their_own():
    model, frames = build(dataclasses.replace(SMALL, order="both")), images()
    read = model.net.module.read
    grid = model.net.module.convolution(frames[:, 0])
    parts = [by_torch(each.recurrence, walk(grid, each.order)) for each in read.walks]
    assert [each.order for each in read.walks] == ["rows", "columns"]
    torch.testing.assert_close(read(grid), torch.cat(parts, 1), rtol=1e-5, atol=1e-6)
    assert not torch.equal(read.walks[0].recurrence.layers[0].kernel, read.walks[1].recurrence.layers[0].kernel)


def test_the_last_position_of_a_backward_reading_is_the_first_of_the_image():
    model = build(dataclasses.replace(SMALL, bidirectional=True, pool="last"))
    read = model.net.module.read
    grid = torch.randn(2, 4, 3, 3)
    out = read.walks[0].recurrence(walk(grid, "rows"))[0]
    torch.testing.assert_close(read(grid), torch.cat([out[:, -1, :5], out[:, 0, 5:]], 1))


def test_pools():
    grid = torch.randn(2, 4, 3, 3)
    for pool, join in (("mean", lambda out: out.mean(1)), ("max", lambda out: out.amax(1))):
        read = build(dataclasses.replace(SMALL, pool=pool)).net.module.read
        torch.testing.assert_close(read(grid), join(read.walks[0].recurrence(walk(grid, "rows"))[0]))


def test_activations_reach_the_cell_and_the_dense_layers():
    config = dataclasses.replace(
        PARALLEL, activation="relu", recurrent_activation="hard_sigmoid", dense_activation="relu"
    )
    net = build(config).net.module
    cell = net.read.walks[0].recurrence.cell
    assert (cell.activation, cell.recurrent_activation) == ("relu", "hard_sigmoid")
    plain, frames = build(PARALLEL), images()
    net = plain.net.module
    joined = torch.cat(
        [net.dense_cnn(net.convolution(frames[:, 0]).flatten(1)), net.dense_rnn(net.read(frames[:, 0]))], 1
    )
    torch.testing.assert_close(
        build(dataclasses.replace(PARALLEL, dense_activation="relu"))(frames)[0], net.head(joined.relu())
    )
    rnn = build(dataclasses.replace(SMALL, recurrence="rnn", activation="relu")).net.module.read.walks[0].recurrence
    assert (rnn.cell.kind, rnn.cell.activation) == ("rnn", "relu")


def test_the_answer_for_a_clip_is_the_mean_over_its_frames():
    frames, lengths = images(2, 4), torch.tensor([4, 2])
    clip, frame = build(SMALL).eval(), build(SMALL, readout="frame").eval()
    answers = frame(frames, lengths)[0]
    alone = torch.stack([clip(frames[:1, t : t + 1])[0][0] for t in range(4)])
    torch.testing.assert_close(answers[0], alone)
    torch.testing.assert_close(clip(frames, lengths)[0], torch.stack([answers[0].mean(0), answers[1, :2].mean(0)]))


def test_its_summary_shows_every_layer():
    table = summarize(build(PARALLEL), SHAPE, T=1)
    for name in ("Conv2d", "MaxPool2d", "LSTM", "Linear"):
        assert name in table


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"form": "serial"}, "form must be one of sequential, parallel"),
        ({"recurrence": "none"}, "recurrence must be one of lstm, gru, rnn"),
        ({"order": "spiral"}, "order must be one of rows, columns, both, snake"),
        ({"pool": "min"}, "pool must be one of"),
        ({"channels": 0}, "channels must be at least 1"),
        ({"pool_size": 0}, "pool_size must be at least 1"),
        ({"hidden_size": 0}, "hidden_size must be at least 1"),
        ({"num_layers": 0}, "num_layers must be at least 1"),
        ({"kernel_size": 4}, "kernel_size must be odd"),
        ({"activation": "thanh"}, "an activation must be one of"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"dense": 5}, "dense does not apply with form='sequential'"),
        ({"dense_activation": "relu"}, "dense_activation does not apply with form='sequential'"),
        (
            {"recurrence": "rnn", "recurrent_activation": "relu"},
            "recurrent_activation does not apply with recurrence='rnn'",
        ),
    ],
)
def test_what_cannot_be_is_refused(fields, said):
    with pytest.raises(ConfigError, match=said):
        ImageRNNConfig(**fields)


def test_what_a_model_cannot_be_is_refused():
    for shape, outputs, readout in (
        ((3, 4), 2, "clip"),
        ((3, 1, 8), 2, "clip"),
        (SHAPE, 0, "clip"),
        (SHAPE, 2, "film"),
    ):
        with pytest.raises(ConfigError):
            ImageRNN(SMALL, shape, outputs, readout)
    with pytest.raises(ValueError, match=r"frames must be \(N, T, \(3, 8, 6\)\)"):
        build(SMALL)(images()[:, :, :1])
