"""torch.export of the layers: any number of clips and frames, any size, from a file, where Unreel is not installed."""

import subprocess
import sys

import pytest
import torch
from torch.export import Dim, export

from unreel import nn

ANY = Dim.DYNAMIC
LAYERS = {
    "lstm_both_ways": (lambda: nn.LSTM(3, 4, bidirectional=True), (3,)),
    "conv_lstm": (lambda: nn.ConvLSTM2d(3, 4, 3, peephole=True), (3, 6, 5)),
    "conv_gru_both_ways": (lambda: nn.ConvGRU2d(3, 4, (3, 2), stride=2, bidirectional=True, norm="layer"), (3, 6, 5)),
}


@pytest.fixture(autouse=True)
def nothing_traced_before():
    """What was exported before for one size of frames is asked again by the next export, and fixes its sizes too."""
    torch.compiler.reset()


def build(name):
    torch.manual_seed(0)
    make, frame = LAYERS[name]
    return make().eval(), frame


def clips(n, t, frame, seed=0):
    return torch.randn(n, t, *frame, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["lstm_both_ways", "conv_gru_both_ways"])
@torch.no_grad()
def test_one_program_serves_any_number_of_clips_and_frames(name):
    layer, frame = build(name)
    program = export(layer, (clips(2, 3, frame),), dynamic_shapes=({0: ANY, 1: ANY},)).module()
    for n, t in ((2, 3), (3, 8), (1, 1)):
        x = clips(n, t, frame, seed=1)
        torch.testing.assert_close(program(x), layer(x))


@pytest.mark.parametrize("name", ["lstm_both_ways", "conv_gru_both_ways"])
@torch.no_grad()
def test_one_program_serves_any_lengths(name):
    layer, frame = build(name)
    given = (clips(2, 3, frame), torch.tensor([3, 1]))
    program = export(layer, given, dynamic_shapes=({0: ANY, 1: ANY}, {0: ANY})).module()
    for lengths in ([1, 3], [5, 2, 4], [6]):
        x, lengths = clips(len(lengths), 6, frame), torch.tensor(lengths)
        x[0, lengths[0] :] = torch.nan
        torch.testing.assert_close(program(x, lengths), layer(x, lengths))


@pytest.mark.parametrize(("kernel", "stride"), [(4, 3), (2, 2), (3, 1)])
@torch.no_grad()
def test_pooling_over_time_of_any_number_of_frames(kernel, stride):
    layer = nn.TimeMaxPool(kernel, stride)
    program = export(layer, (clips(2, 8, (3,)),), dynamic_shapes=({0: ANY, 1: ANY},)).module()
    for t in range(1, 10):
        x = clips(2, t, (3,))
        torch.testing.assert_close(program(x)[0], layer(x)[0])


@torch.no_grad()
def test_one_program_serves_frames_of_any_size():
    layer, frame = build("conv_lstm")
    program = export(layer, (clips(2, 3, frame),), dynamic_shapes=({0: ANY, 1: ANY, 3: ANY, 4: ANY},)).module()
    for n, t, height, width in ((1, 4, 9, 7), (3, 2, 3, 16)):
        x = clips(n, t, (3, height, width))
        torch.testing.assert_close(program(x), layer(x))


class Stream(torch.nn.Module):
    """One frame at a time, as a server runs it."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, frame, state):
        return self.layer.step(frame, state)


@torch.no_grad()
def test_a_saved_program_runs_a_stream_where_unreel_is_not_installed(tmp_path):
    layer, frame = build("conv_lstm")
    x = clips(2, 3, frame)
    _, state = layer(x)
    any_n = {0: ANY}
    program = export(Stream(layer), (x[:, 0], state), dynamic_shapes=(any_n, (any_n, any_n)))
    torch.export.save(program, tmp_path / "stream.pt2")
    torch.save([x, *layer(x)], tmp_path / "wanted.pt")
    code = f"""
import sys
sys.modules["unreel"] = None
import torch
torch.set_num_threads(1)
torch.set_grad_enabled(False)
x, wanted, end = torch.load({str(tmp_path / "wanted.pt")!r})
step = torch.export.load({str(tmp_path / "stream.pt2")!r}).module()
state = tuple(torch.zeros_like(member) for member in end)
for t, frame in enumerate(x.unbind(1)):
    out, state = step(frame, state)
    torch.testing.assert_close(out, wanted[:, t])
torch.testing.assert_close(state, end)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
