"""torch.compile, autocast and second derivatives of the layers: what is promised in docs/guides/recurrence.md."""

from collections.abc import Iterator

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from unreel import nn

# torch looks at .grad of what it traces, and hides its own warning of that, but not from pytest
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")

LAYERS = {
    "rnn": (lambda **more: nn.RNN(3, 4, **more), (3,)),
    "lstm": (lambda **more: nn.LSTM(3, 4, num_layers=2, bidirectional=True, **more), (3,)),
    "gru": (lambda **more: nn.GRU(3, 4, recurrent_dropout=0.5, **more), (3,)),
    "conv_lstm": (lambda **more: nn.ConvLSTM2d(3, 4, 3, padding=(1, 0), peephole=True, **more), (3, 6, 5)),
    "conv_gru": (lambda **more: nn.ConvGRU2d(3, 4, (3, 2), stride=2, num_layers=2, **more), (3, 6, 5)),
}


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def build(name, **more):
    torch.manual_seed(0)
    make, frame = LAYERS[name]
    return make(**more), frame


def clips(n, t, frame):
    return torch.randn(n, t, *frame, generator=torch.Generator().manual_seed(n * t)).requires_grad_()


def everything(run, layer, *arguments):
    """Outputs, states and gradients."""
    torch.manual_seed(1)
    out, state = run(*arguments)
    x, *_, before = arguments
    wanted = [x, *layer.parameters(), *(before or ())]
    loss = out.sin().sum() + sum(member.cos().sum() for member in state)
    return [out, *state, *torch.autograd.grad(loss, wanted)]


@pytest.mark.parametrize("name", LAYERS)
def test_compiled_once_it_serves_any_number_of_clips_and_frames(name):
    layer, frame = build(name)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, backend=counter, fullgraph=True, dynamic=True)
    graphs = []
    for n, t in ((2, 7), (3, 2), (4, 8)):  # at first no two sizes are equal: torch would take them for one
        x = clips(n, t, frame)
        torch.testing.assert_close(
            everything(compiled, layer, x, None, None), everything(layer, layer, x, None, None), rtol=1e-5, atol=1e-6
        )
        graphs.append(counter.frame_count)
    assert graphs[0] == graphs[-1]


@pytest.mark.parametrize("name", ["lstm", "conv_gru"])
def test_compiled_with_lengths_and_a_state(name):
    layer, frame = build(name)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    x = clips(3, 5, frame)
    state = tuple(member.detach().requires_grad_() for member in layer(x)[1])
    for lengths in (torch.tensor([2, 5, 1]), torch.tensor([5, 5, 5])):
        ours, theirs = (everything(run, layer, x, lengths, state) for run in (compiled, layer))
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_compiled_to_code_between_other_layers():
    torch.manual_seed(0)
    layer, head = nn.ConvLSTM2d(2, 4, 3), torch.nn.Linear(4, 3)

    def answer(x, state):
        out, state = layer(x.relu() * 2, None, state)
        return head(out.amax((3, 4)).tanh()), state

    x = clips(2, 5, (2, 6, 5))
    ours, theirs = (everything(run, layer, x, None) for run in (torch.compile(answer, fullgraph=True), answer))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["lstm", "conv_lstm"])
@pytest.mark.parametrize("bias", [True, False])
def test_autocast_leaves_outputs_and_states_in_the_precision_of_the_weights(name, bias):
    for impl in ("fast", "reference"):
        layer, frame = build(name, bias=bias, impl=impl)
        compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
        runs = (layer, compiled) if impl == "fast" else (layer,)
        for dtype in (torch.float32, torch.bfloat16):  # of frames from a layer before it, under autocast or not
            x = clips(2, 3, frame).detach().to(dtype).requires_grad_()
            for run in runs:
                with torch.autocast("cpu", torch.bfloat16):
                    got = everything(run, layer, x, None, None)
                assert [tensor.dtype for tensor in got] == [
                    dtype if tensor.shape == x.shape else torch.float32 for tensor in got
                ]


@pytest.mark.parametrize("name", ["lstm", "gru", "conv_lstm"])
def test_second_derivatives_exist_in_the_reference_and_are_refused_by_the_fast_path(name):
    layer, frame = build(name)
    x = clips(1, 2, frame)
    with pytest.raises(RuntimeError, match="impl='reference'"):
        torch.autograd.grad(layer(x)[0].sin().sum(), x, create_graph=True)
    layer = build(name, impl="reference")[0].double().eval()
    x = x.detach().double().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0].sum((0, 1)), x)


def second_derivative(run, x):
    (first,) = torch.autograd.grad(run(x)[0].sin().sum(), x, create_graph=True)
    return torch.autograd.grad(first.sum(), x)


def test_second_derivatives_of_a_compiled_layer_are_refused():
    layer, frame = build("lstm")
    x = clips(2, 3, frame)
    for backend, reason in (("aot_eager", "double backward"), ("eager", "impl='reference'")):
        compiled = torch.compile(layer, backend=backend)
        with pytest.raises(RuntimeError, match=reason):
            second_derivative(compiled, x)
