"""Weights of single Keras layers in modules that one builds oneself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from interop import golden_files
from unreel.errors import ConfigError
from unreel.interop.keras import KerasFile, Saved, copy_weights, read_keras
from unreel.nn import GRU, LSTM, RNN, ConvGRU2d, ConvLSTM1d, ConvLSTM2d, ConvLSTM3d, TimeDistributed
from unreel.nn.conv_recurrent import ConvLSTM


def open_golden(name: str, folder: Path) -> tuple[KerasFile, Tensor, list[Tensor]]:
    """The file, the first input and its outputs, in Keras's order."""
    golden = golden_files.read(name)
    file = read_keras(golden_files.put_model(golden, folder))
    return file, torch.from_numpy(golden.inputs[0]), [torch.from_numpy(y) for y in golden.outputs[0]]


def only_layer(file: KerasFile) -> Saved:
    (saved,) = file.layers.values()
    return saved


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("simple_rnn/sequences_state", RNN(3, 5)),
        ("lstm/sequences_state", LSTM(3, 5)),
        ("gru/sequences_state", GRU(3, 5)),
        ("gru_reset_before/sequences_state", GRU(3, 5, reset_after=False)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_vectors(name: str, module: nn.Module, tmp_path: Path) -> None:
    file, x, (y, *states) = open_golden(name, tmp_path)
    copy_weights(only_layer(file), module)
    out, state = module(x)
    torch.testing.assert_close(out, y, rtol=0, atol=1e-5)
    for ours, keras in zip(state, states, strict=True):
        torch.testing.assert_close(ours[:, 0], keras, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("rank", "kernel"), [(1, (3,)), (2, (3, 2)), (3, (2, 3, 1))])
def test_convolutional(rank: int, kernel: tuple[int, ...], tmp_path: Path) -> None:
    file, x, (y, h, c) = open_golden(f"conv_lstm/{rank}d_same", tmp_path)
    module: ConvLSTM = {1: ConvLSTM1d, 2: ConvLSTM2d, 3: ConvLSTM3d}[rank](2, 3, kernel)
    copy_weights(only_layer(file), module)
    out, state = module(x.movedim(-1, 2))
    torch.testing.assert_close(out, y.movedim(-1, 2), rtol=0, atol=1e-5)
    for ours, keras in zip(state, (h, c), strict=True):
        torch.testing.assert_close(ours[:, 0], keras.movedim(-1, 1), rtol=0, atol=1e-5)


def test_a_bidirectional_of_keras_is_one_module(tmp_path: Path) -> None:
    file, x, (y, *_) = open_golden("bidirectional/gru_state", tmp_path)
    module = GRU(3, 4, bidirectional=True)
    copy_weights(only_layer(file), module)
    torch.testing.assert_close(module(x)[0], y, rtol=0, atol=1e-5)
    with pytest.raises(ConfigError, match="expected saved weights of its 'cell', found"):
        copy_weights(only_layer(file), GRU(3, 4))


@pytest.mark.parametrize("merge", ["sum", "mul", "ave"])
def test_other_merges_are_said_of_the_two_halves(merge: str, tmp_path: Path) -> None:
    file, x, (y,) = open_golden(f"bidirectional/lstm_{merge}_sequences", tmp_path)
    module = LSTM(3, 4, bidirectional=True)
    copy_weights(only_layer(file), module)
    ahead, back = module(x)[0].chunk(2, -1)
    merged = {"sum": ahead + back, "mul": ahead * back, "ave": (ahead + back) / 2}[merge]
    torch.testing.assert_close(merged, y, rtol=0, atol=1e-5)


def test_frames_through_a_convolution(tmp_path: Path) -> None:
    file, x, (y,) = open_golden("frame_layers/time_distributed_conv2d", tmp_path)
    module = TimeDistributed(nn.Conv2d(2, 4, 3, stride=2))
    copy_weights(only_layer(file), module)
    torch.testing.assert_close(module(x.movedim(-1, 2)), y.movedim(-1, 2), rtol=0, atol=1e-5)


def test_dense_and_batch_norm(tmp_path: Path) -> None:
    file, x, (y,) = open_golden("frame_layers/dense", tmp_path)
    dense = nn.Linear(5, 4)
    copy_weights(only_layer(file), dense)
    torch.testing.assert_close(dense(x).softmax(-1), y, rtol=0, atol=1e-5)
    file, x, (y,) = open_golden("frame_layers/batch_norm", tmp_path)
    norm = nn.BatchNorm1d(5, eps=1e-3, momentum=0.01).eval()
    copy_weights(only_layer(file), norm)
    torch.testing.assert_close(norm(x), y, rtol=0, atol=1e-5)


def test_gates_of_gru_are_put_in_order() -> None:
    """Each number says which gate it belongs to: Keras has update, reset, candidate."""
    update, reset, candidate = (torch.full((2, 2), float(gate)) for gate in (1, 2, 3))
    kernel = torch.cat([update, reset, candidate], 1)
    bias = torch.tensor([[1.0, 1, 2, 2, 3, 3], [10, 10, 20, 20, 30, 30]])
    module = GRU(2, 2)
    copy_weights(Saved("gru", (), {"cell": Saved("gru_cell", (kernel, kernel * 10, bias), {})}), module)
    layer = module.layers[0]
    assert layer.kernel[0].tolist() == [2, 2, 1, 1, 3, 3]
    assert layer.recurrent_kernel[0].tolist() == [20, 20, 10, 10, 30, 30]
    assert layer.bias.tolist() == [22, 22, 11, 11, 3, 3]
    assert layer.recurrent_bias.tolist() == [30, 30]


def saved(*shapes: tuple[int, ...], name: str = "one") -> Saved:
    arrays = tuple(torch.from_numpy(np.ones(shape, "float32")) for shape in shapes)
    return Saved(name, arrays, {"cell": Saved("cell", arrays, {})})


@pytest.mark.parametrize(
    ("layer", "module", "message"),
    [
        (saved((5, 4), (4,)), nn.Linear(4, 4), r"expected .*\[\(4, 4\), \(4,\)\], found \[\(5, 4\), \(4,\)\]"),
        (saved((5, 4)), nn.Linear(5, 4), r"expected .*\[\(5, 4\), \(4,\)\], found \[\(5, 4\)\]"),
        (saved((3, 3, 2, 4), (4,)), nn.Conv2d(2, 4, 5), r"expected .*\[\(5, 5, 2, 4\), \(4,\)\], found"),
        (saved((3,), (3,)), nn.BatchNorm2d(3), r"expected .*\[\(3,\), \(3,\), \(3,\), \(3,\)\], found"),
        (saved((3, 15), (5, 15), (15,)), GRU(3, 5), r"expected .*\(2, 15\)\], found .*\(15,\)\]"),
        (saved((3, 15), (5, 15), (2, 15)), GRU(3, 5, reset_after=False), r"\(15,\)\], found .*\(2, 15\)\]"),
        (saved((3, 20), (5, 20), (20,)), LSTM(3, 5, num_layers=2), "the module has num_layers=2"),
        (saved((3, 3, 2, 12)), ConvLSTM2d(2, 3, 3, peephole=True), "no peepholes"),
        (saved((3, 3, 2, 12)), ConvGRU2d(2, 3, 3), "no way to copy weights into ConvGRU2d; expected Linear"),
        (saved((3, 3, 2, 4)), nn.ConvTranspose2d(2, 4, 3), "no way to copy weights into ConvTranspose2d"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_does_not_fit_is_refused_by_name(layer: Saved, module: nn.Module, message: str) -> None:
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(ConfigError, match=f"layer 'one': .*{message}"):
        copy_weights(layer, module)
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key])
