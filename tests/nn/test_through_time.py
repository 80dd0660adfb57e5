"""Chunk by chunk gives what the whole film gives: outputs, every gradient, running statistics; and less memory."""

import gc

import pytest
import torch
from torch import nn

from unreel.errors import ConfigError
from unreel.models import CNNRNN, CNNRNNConfig, EncoderConfig
from unreel.nn import GRU, LSTM, ConvLSTM2d, FrameDifference, TimePool, recompute, stream


class Tagger(nn.Module):
    """Differences of frames, a ConvLSTM, an LSTM, the mean so far: states of every kind, in nested tuples."""

    def __init__(self, dropout=0.0, batch_norm=False):
        super().__init__()
        self.difference = FrameDifference()
        self.conv = ConvLSTM2d(2, 3, 3, num_layers=2, dropout=dropout, recurrent_dropout=dropout)
        self.norm = nn.BatchNorm2d(3) if batch_norm else nn.Identity()
        self.dense = LSTM(12, 4)
        self.pool = TimePool("mean", 4)
        self.head = nn.Linear(8, 2)

    def forward(self, frames, lengths=None, state=None):
        seen, conv, dense, pooled = (None,) * 4 if state is None else state
        x, seen = self.difference(frames, lengths, seen)
        x, conv = self.conv(x + frames, lengths, conv)
        x = self.norm(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        x, dense = self.dense(x.flatten(2), lengths, dense)
        so_far = []
        for frame in x.unbind(1):
            mean, pooled = self.pool.step(frame, pooled)
            so_far.append(mean)
        return self.head(torch.cat([x, torch.stack(so_far, 1)], 2)), (seen, conv, dense, pooled)


def film(t=11, dtype=torch.float64):
    return torch.randn(2, t, 2, 2, 2, dtype=dtype, generator=torch.Generator().manual_seed(7))


def reader(frames, chunk):
    return frames.split(chunk, 1).__getitem__, -(-frames.shape[1] // chunk)


def build(seed=0, dtype=torch.float64, **settings):
    torch.manual_seed(seed)
    return Tagger(**settings).to(dtype)


def gradients(model, outputs):
    weights = torch.randn(outputs.shape, dtype=outputs.dtype, generator=torch.Generator().manual_seed(9))
    model.zero_grad()
    (outputs.sin() * weights).sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("chunk", [1, 4, 5, 11, 20])
def test_it_equals_the_whole_film(chunk):
    model, frames = build(), film()
    whole, _ = model(frames)
    wanted = gradients(model, whole)
    outputs = recompute(model, *reader(frames, chunk))
    torch.testing.assert_close(outputs, whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients(model, outputs), wanted, rtol=1e-10, atol=1e-10)
    assert all(gradient.any() for gradient in wanted.values())


def test_it_equals_the_whole_film_in_float32():
    model, frames = build(dtype=torch.float32), film(30, torch.float32)
    wanted = gradients(model, model(frames)[0])
    found = gradients(model, recompute(model, *reader(frames, 7)))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_dropout_that_holds_in_a_clip_holds_in_the_film():
    model, frames = build(dropout=0.4), film()
    torch.manual_seed(3)
    whole, _ = model(frames)
    wanted = gradients(model, whole)
    torch.manual_seed(3)
    outputs = recompute(model, *reader(frames, 4))
    torch.manual_seed(1000)  # the backward pass has its own memory of what was drawn
    found = gradients(model, outputs)
    torch.testing.assert_close(outputs, whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    assert torch.rand(()) == torch.rand((), generator=torch.Generator().manual_seed(1000))
    assert not torch.equal(recompute(model, *reader(frames, 4)), outputs)


def test_running_statistics_are_updated_once():
    model, plain, frames = build(batch_norm=True), build(batch_norm=True), film(12)
    state, outputs = None, []
    for chunk in frames.split(4, 1):
        out, state = plain(chunk, None, state)
        outputs.append(out)
    wanted = gradients(plain, torch.cat(outputs, 1))
    found = gradients(model, recompute(model, *reader(frames, 4)))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    assert int(model.norm.num_batches_tracked) == 3
    torch.testing.assert_close(dict(model.named_buffers()), dict(plain.named_buffers()), rtol=0, atol=0)


def test_frozen_parameters_get_nothing_and_cost_nothing():
    model, frames = build(), film()
    model.conv.requires_grad_(False)
    wanted = gradients(model, model(frames)[0])
    found = gradients(model, recompute(model, *reader(frames, 4)))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    assert found["conv.layers.0.kernel"] is None
    model.requires_grad_(False)
    assert not recompute(model, *reader(frames, 4)).requires_grad


def test_grad_of_some_parameters():
    model, frames = build(), film()
    (wanted,) = torch.autograd.grad(model(frames)[0].sum(), [model.head.weight])
    (found,) = torch.autograd.grad(recompute(model, *reader(frames, 4)).sum(), [model.head.weight])
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_several_films_before_one_backward():
    model, frames = build(), film()
    one, two = frames.split(1)
    wanted = gradients(model, torch.cat([model(one)[0], model(two)[0]]))
    found = gradients(model, torch.cat([recompute(model, *reader(one, 4)), recompute(model, *reader(two, 3))]))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_a_backward_pass_can_be_kept_for_another():
    model, frames = build(), film()
    loss = recompute(model, *reader(frames, 4)).sum()
    first = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(loss, list(model.parameters())), first, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_second_derivatives_are_refused():
    model, frames = build(), film()
    loss = recompute(model, *reader(frames, 4)).square().sum()
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(loss, list(model.parameters()), create_graph=True)


def test_parameters_changed_before_the_backward_pass_are_refused():
    model, frames = build(), film()
    loss = recompute(model, *reader(frames, 4)).square().sum()
    with torch.no_grad():
        model.head.weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_autocast_holds_in_the_second_run():
    model, frames = build(dtype=torch.float32), film(dtype=torch.float32)
    pieces, state = [], None
    with torch.autocast("cpu", torch.bfloat16):
        outputs = recompute(model, *reader(frames, 4))
        for chunk in frames.split(4, 1):
            out, state = model(chunk, None, state)
            pieces.append(out)
        wanted = torch.cat(pieces, 1)
        after = model(frames)[0]
    assert outputs.dtype == torch.bfloat16
    assert torch.equal(outputs, wanted)
    expected = gradients(model, wanted)
    seen = []
    hook = model.head.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    torch.testing.assert_close(gradients(model, outputs), expected, rtol=1e-2, atol=1e-3)
    hook.remove()
    assert seen == [torch.bfloat16] * 3
    assert all(gradient.any() for gradient in gradients(model, after).values())  # no cast without a gradient is left


def test_stream_equals_the_whole_film_without_gradients():
    model, frames = build().eval(), film()
    read, chunks = reader(frames, 4)
    pieces = list(stream(model, read, chunks))
    assert [piece.shape[1] for piece in pieces] == [4, 4, 3]
    assert not any(piece.requires_grad for piece in pieces)
    torch.testing.assert_close(torch.cat(pieces, 1), model(frames)[0], rtol=0, atol=1e-12)
    with torch.no_grad():
        assert torch.equal(recompute(model, read, chunks), torch.cat(pieces, 1))


def test_stream_reads_a_chunk_when_it_is_asked_for_and_leaves_grad_mode_alone():
    model, frames = build().eval(), film()
    asked = []
    outputs = stream(model, lambda index: asked.append(index) or frames[:, index : index + 1], 11)
    next(outputs)
    assert asked == [0]
    assert torch.is_grad_enabled()
    next(outputs)
    assert asked == [0, 1]


def test_chunks_are_read_twice_and_backwards():
    model, frames = build(), film()
    read, chunks = reader(frames, 4)
    asked = []
    recompute(model, lambda index: asked.append(index) or read(index), chunks).sum().backward()
    assert asked == [0, 1, 2, 2, 1, 0]


def test_a_cnn_rnn_of_the_house():
    torch.manual_seed(0)
    config = CNNRNNConfig(encoder=EncoderConfig(channels=(4,), features=6), input="both", hidden_size=5)
    model = CNNRNN(config, (2, 4, 4), 3, "frame").double()
    frames = torch.rand(1, 9, 2, 4, 4, dtype=torch.float64)
    wanted = gradients(model, model(frames)[0])
    found = gradients(model, recompute(model, *reader(frames, 4)))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_what_cannot_be_is_refused():
    frames = torch.randn(1, 4, 3)
    for run in (recompute, lambda *arguments: list(stream(*arguments))):
        with pytest.raises(ConfigError, match="bidirectional=False"):
            run(GRU(3, 2, bidirectional=True), *reader(frames, 2))
        with pytest.raises(ValueError, match="at least one chunk"):
            run(GRU(3, 2), *reader(frames, 2)[:1], 0)
        config = CNNRNNConfig(encoder=EncoderConfig("identity"), hidden_size=2)
        with pytest.raises(ValueError, match="readout='frame'"):
            run(CNNRNN(config, (3,), 2, "clip"), *reader(frames, 2))


class Kept:
    """Counts the bytes that autograd keeps, and their peak."""

    def __init__(self):
        self.now = self.peak = 0

    def pack(self, tensor):
        return Packed(self, tensor)


class Packed:
    def __init__(self, kept, tensor):
        self.kept, self.tensor = kept, tensor
        kept.now += tensor.nbytes
        kept.peak = max(kept.peak, kept.now)

    def __del__(self):
        self.kept.now -= self.tensor.nbytes


def peak_of(run):
    kept = Kept()
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda packed: packed.tensor):
        run().sum().backward()
    gc.collect()
    assert kept.now == 0
    return kept.peak


def test_autograd_keeps_one_chunk_and_not_the_film():
    model, frames = build(), film(40)
    chunk = peak_of(lambda: model(frames[:, :4])[0])
    short = peak_of(lambda: recompute(model, *reader(frames[:, :8], 4)))
    long = peak_of(lambda: recompute(model, *reader(frames, 4)))
    parameters = sum(parameter.nbytes for parameter in model.parameters())
    assert peak_of(lambda: model(frames)[0]) > 4 * chunk
    assert long == short <= 1.2 * chunk + parameters


@pytest.mark.parametrize("run", [recompute, lambda *arguments: list(stream(*arguments))])
def test_a_kept_state_does_not_hold_its_chunk(run):
    """A state that is a view of a whole chunk, as the last frame of a series is."""

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(()))

        def forward(self, frames, lengths, state):
            if state is not None:
                held.append(state.untyped_storage().nbytes())
            return frames * self.gain, frames[:, -1]

    held = []
    run(Last(), lambda index: torch.ones(1, 3, 2), 3)
    assert held == [2 * 4, 2 * 4]
