"""Sequences of vectors: the tutorial's toy against the limit of its parameters, decoders against loops by hand."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from unreel.errors import ConfigError
from unreel.models import SequenceRNN, SequenceRNNConfig

X = np.array([[1, 1], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0]], dtype=np.float64)
Y = np.array([1, 0.8, 0.6, 0, 0, 0])
TOY = SequenceRNNConfig(recurrence="rnn", hidden_size=1)
LIMIT = 8.22e-4
"""The least MSE of Y, given X, of a SimpleRNN(1) with a Dense(1) each step: `test_the_limit_of_the_toy`."""


def toy_error(parameters: np.ndarray) -> float:
    """MSE by h_t = tanh(w·x_t + b + u·h_{t-1}), y_t = a·h_t + c; x_t are (1, 1) and then zeros, so w is one number."""
    w, b, u, a, c = parameters
    h, total = 0.0, 0.0
    for x, y in zip(X[:, 0], Y, strict=True):
        h = np.tanh(w * x + b + u * h)
        total += (a * h + c - y) ** 2
    return total / len(Y)


def test_the_limit_of_the_toy():
    """Many starts of two unlike optimisers, all five numbers or the three that are not linear, agree on the best."""
    generator = np.random.default_rng(0)

    def best_line(parameters: np.ndarray) -> float:
        w, b, u = parameters
        states = np.empty(len(Y))
        h = 0.0
        for time, x in enumerate(X[:, 0]):
            h = states[time] = np.tanh(w * x + b + u * h)
        columns = np.stack([states, np.ones(len(Y))], 1)
        line = np.linalg.lstsq(columns, Y, rcond=None)[0]
        return float(((columns @ line - Y) ** 2).mean())

    starts = [generator.normal(size=5) * scale for scale in (1, 3) for _ in range(12)]
    one = min(minimize(toy_error, start, method="L-BFGS-B", options={"maxiter": 2000}).fun for start in starts)
    other = min(minimize(best_line, start[:3], method="Nelder-Mead", options={"maxiter": 1000}).fun for start in starts)
    assert one == pytest.approx(LIMIT, rel=2e-3)
    assert other == pytest.approx(LIMIT, rel=2e-3)


def test_the_toy_is_learned_to_its_limit():
    frames, wanted = torch.tensor(X[None], dtype=torch.float32), torch.tensor(Y[None, :, None], dtype=torch.float32)
    errors = []
    for seed in range(3):
        torch.manual_seed(seed)
        model = SequenceRNN(TOY, (2,), 1, "frame")
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=500, line_search_fn="strong_wolfe")

        def closure(model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (model(frames)[0] - wanted).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)
        errors.append(closure().item())
    assert min(errors) == pytest.approx(LIMIT, rel=0.02)
    assert min(errors) > 0.999 * LIMIT


def test_the_parameters_of_the_toy():
    """SimpleRNN(1) has 2 + 1 + 1, Dense(1) has 1 + 1, as Keras counts them."""
    model = SequenceRNN(TOY, (2,), 1, "frame")
    assert sum(parameter.numel() for parameter in model.parameters()) == 6


def test_a_decoder_is_fed_its_own_answers():
    torch.manual_seed(0)
    model = SequenceRNN(SequenceRNNConfig(recurrence="rnn", hidden_size=4, output_length=5), (3,), 2)
    model.normalize.set_([0.1, 0.2, 0.3], [1.0, 2.0, 0.5])
    weights = {name: value.detach().double().numpy() for name, value in model.state_dict().items()}
    frames = torch.randn(2, 3, 3)
    said, _ = model(frames, torch.tensor([3, 1]))
    for clip, length in enumerate((3, 1)):  # many to many, and one to many
        h = np.zeros(4)
        for frame in frames[clip, :length].double().numpy():
            x = (frame - weights["normalize.mean"]) / weights["normalize.std"]
            kernel, recurrent = weights["recurrence.layers.0.kernel"], weights["recurrence.layers.0.recurrent_kernel"]
            h = np.tanh(x @ kernel + weights["recurrence.layers.0.bias"] + h @ recurrent)
        answer = np.zeros(2)
        for step in range(5):
            kernel, recurrent = (
                weights["decoder.recurrence.layers.0.kernel"],
                weights["decoder.recurrence.layers.0.recurrent_kernel"],
            )
            h = np.tanh(answer @ kernel + weights["decoder.recurrence.layers.0.bias"] + h @ recurrent)
            answer = h @ weights["decoder.head.weight"].T + weights["decoder.head.bias"]
            np.testing.assert_allclose(said[clip, step].detach().numpy(), answer, rtol=1e-4, atol=1e-5)


def test_stacked_in_both_directions_as_torch_has_it():
    """The same numbers as nn.LSTM, whose gates stand in the order input, forget, cell, output."""
    model = SequenceRNN(SequenceRNNConfig(hidden_size=4, num_layers=2, bidirectional=True), (3,), 2, "frame")
    peer = nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True)
    layers = model.recurrence.layers
    order = [layers[0].cell.gates.index(name) for name in ("enter", "forget", "candidate", "leave")]
    with torch.no_grad():
        for index, layer in enumerate(layers):
            suffix = f"l{index // 2}{'_reverse' if index % 2 else ''}"
            for ours, name in ((layer.kernel, "weight_ih"), (layer.recurrent_kernel, "weight_hh")):
                parts = ours.T.chunk(4)
                getattr(peer, f"{name}_{suffix}").copy_(torch.cat([parts[place] for place in order]))
            parts = layer.bias.chunk(4)
            getattr(peer, f"bias_ih_{suffix}").copy_(torch.cat([parts[place] for place in order]))
            getattr(peer, f"bias_hh_{suffix}").zero_()
        frames = torch.randn(2, 5, 3)
        torch.testing.assert_close(model(frames)[0], model.head(peer(frames)[0]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_last_state_of_both_directions_is_that_of_the_last_layer():
    model = SequenceRNN(SequenceRNNConfig(hidden_size=4, num_layers=2, bidirectional=True), (3,), 2)
    frames = torch.randn(2, 5, 3)
    out, _ = model.recurrence(frames)
    last = torch.cat([out[:, -1, :4], out[:, 0, 4:]], 1)  # each direction where it ends
    torch.testing.assert_close(model(frames)[0], model.head(last))


@torch.no_grad()
def test_a_decoder_begins_with_both_directions_of_each_layer():
    config = SequenceRNNConfig(hidden_size=4, num_layers=2, bidirectional=True, output_length=3)
    model = SequenceRNN(config, (3,), 2)
    frames = torch.randn(2, 5, 3)
    _, states = model.recurrence(frames)
    state = tuple(
        torch.stack([bridge(member[:, layer : layer + 2].flatten(1)) for layer in (0, 2)], 1)
        for bridge, member in zip(model.decoder.bridges, states, strict=True)
    )
    answer, answers = torch.zeros(2, 2), []
    for _ in range(3):
        out, state = model.decoder.recurrence.step(answer, state)
        answer = model.decoder.head(out)
        answers.append(answer)
    torch.testing.assert_close(model(frames)[0], torch.stack(answers, 1))


@torch.no_grad()
def test_the_control_is_a_perceptron_on_single_frames():
    control = SequenceRNNConfig(hidden_size=4, num_layers=2, bidirectional=True, output_length=3).control()
    model = SequenceRNN(control, (3,), 2)
    model.normalize.set_([0.1, 0.2, 0.3], [1.0, 2.0, 0.5])
    frames = torch.randn(2, 5, 3)
    x = (frames - model.normalize.mean) / model.normalize.std
    hidden = (x @ model.perceptron[0].weight.T + model.perceptron[0].bias).clamp(min=0)
    for lengths, counts in ((None, (5, 5)), (torch.tensor([5, 2]), (5, 2))):
        means = torch.stack([clip[:count].mean(0) for clip, count in zip(hidden, counts, strict=True)])
        torch.testing.assert_close(model(frames, lengths)[0], model.head(means).unflatten(1, (3, 2)))


@pytest.mark.parametrize("pool", ["mean", "max"])
@torch.no_grad()
def test_frames_are_pooled_as_asked(pool):
    model = SequenceRNN(SequenceRNNConfig(recurrence="gru", hidden_size=4, pool=pool), (3,), 2)
    frames = torch.randn(2, 5, 3)
    out, _ = model.recurrence(frames)
    wanted = out.mean(1) if pool == "mean" else out.amax(1)
    torch.testing.assert_close(model(frames)[0], model.head(wanted))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"recurrence": "esn"}, "lstm, gru, rnn, none"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"dropout": 1.0}, "dropout"),
        ({"output_length": 0}, "output_length"),
        ({"output_length": 3, "pool": "mean"}, "last state"),
        ({"recurrence": "none"}, "pool='mean'"),
        ({"recurrence": "none", "pool": "mean", "num_layers": 2}, "do not apply"),
    ],
)
def test_what_cannot_be_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        SequenceRNNConfig(**wrong)


def test_it_takes_vectors_and_decodes_whole_clips():
    with pytest.raises(ConfigError, match="cnn_rnn"):
        SequenceRNN(SequenceRNNConfig(), (3, 8, 8), 2)
    with pytest.raises(ConfigError, match="leave it out"):
        SequenceRNN(SequenceRNNConfig(output_length=3), (3,), 2, "frame")
    with pytest.raises(ValueError, match="frames must be"):
        SequenceRNN(SequenceRNNConfig(), (3,), 2)(torch.zeros(1, 2, 4))
