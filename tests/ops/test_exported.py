"""The loop as one operator of an exported program: right at other sizes than those it was exported at."""

import pytest
import torch
from torch import nn
from torch.export import Dim, export

from unreel.errors import ConfigError
from unreel.ops import cells
from unreel.ops.scan import scan, scan_reference
from unreel.ops.weights import Weights

from recurrences import problem  # isort: skip

# name: (cell, product, whether a state is given, whether lengths are, other weights)
CASES = {
    "lstm": (cells.LSTM, "matrix", False, True, {"peephole": (3, 3)}),
    "gru_reset_before": (cells.gru(reset_after=False), "matrix", True, False, {}),
    "conv_rnn": (cells.RNN_RELU, "conv1d_stride", True, True, {}),
    "conv_gru": (cells.GRU, "conv2d_even", False, True, {}),
    "conv_lstm_norm": (cells.LSTM, "conv2d_valid", True, False, {"gains": (2, 12)}),
}


class Recurrence(nn.Module):
    def __init__(self, cell, product, weights):
        super().__init__()
        self.cell, self.product = cell, product
        given = {name: tensor.detach() for name, tensor in vars(weights).items() if tensor is not None}
        self.weights = nn.ParameterDict(given)

    def forward(self, x, state, lengths):
        return scan(self.cell, x, Weights(**self.weights), state, lengths, product=self.product)


def build(case):
    cell, name, _, _, more = CASES[case]
    product, _, weights, _ = problem(cell, name)
    more = {key: torch.rand(shape, dtype=torch.float64) for key, shape in more.items()}
    return Recurrence(cell, product, Weights(**{**vars(weights), **more}))


def inputs(case, n, t):
    cell, product, has_state, has_lengths, _ = CASES[case]
    _, x, _, state = problem(cell, product, n, t)
    lengths = 1 + torch.arange(n) % t if has_lengths else None
    return x.detach(), tuple(member.detach() for member in state) if has_state else None, lengths


def exported(net, arguments):
    x, state, lengths = arguments
    any_n = {0: Dim.DYNAMIC}
    shapes = (
        {0: Dim.DYNAMIC, 1: Dim.DYNAMIC},
        None if state is None else tuple(any_n for _ in state),
        None if lengths is None else any_n,
    )
    with torch.no_grad():
        return export(net, (x, state, lengths), dynamic_shapes=shapes)


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_exported_equals_reference_at_any_number_of_clips_and_frames(case):
    net = build(case)
    program = exported(net, inputs(case, 3, 4)).module()
    for n, t in ((3, 4), (2, 7), (1, 1), (5, 2)):
        x, state, lengths = inputs(case, n, t)
        expected = scan_reference(net.cell, net.product, x, Weights(**net.weights), state, lengths, None)
        torch.testing.assert_close(program(x, state, lengths), expected)


def test_the_program_holds_one_step_in_torch_s_own_operators():
    program = exported(build("lstm"), inputs("lstm", 3, 4))
    targets = [
        str(node.target)
        for part in program.graph_module.modules()
        if isinstance(part, torch.fx.GraphModule)
        for node in part.graph.nodes
        if node.op == "call_function"
    ]
    assert targets.count("scan") == 1
    assert sum("tanh" in target for target in targets) == 2
    assert not [target for target in targets if "unreel" in target]


def test_the_fast_path_is_not_exported_when_asked_for():
    net = build("lstm")
    net.forward = lambda x, state, lengths: scan(cells.LSTM, x, Weights(**net.weights), state, lengths, "fast")
    with pytest.raises(ConfigError, match="impl='fast' does not exist for a recurrence that is being exported"):
        exported(net, inputs("lstm", 3, 4))
