"""Every golden file of the real Keras, loaded without Keras, gives Keras's numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from interop import golden_files
from unreel.interop.keras import KerasModel, load_keras

LARGEST_DIFFERENCE = 1e-5
NAMES = golden_files.names()


def ask(model: KerasModel, x: np.ndarray, lengths: np.ndarray | None) -> tuple[Tensor, ...]:
    """The model's outputs, as a tuple, for an input in Keras's order of axes."""
    seen = torch.from_numpy(x).permute(model.input_axes)
    with torch.no_grad():
        out = model(
            seen if seen.is_floating_point() else seen.long(), None if lengths is None else torch.from_numpy(lengths)
        )
    return out if isinstance(out, tuple) else (out,)


def in_torch_order(y: np.ndarray, model: KerasModel) -> Tensor:
    """An output of Keras in the model's order; a state has no time, so axes behind it are one earlier."""
    axes = model.output_axes
    if y.ndim < len(axes):
        axes = [axis - (axis > 1) for axis in axes if axis != 1]
    return torch.from_numpy(y).permute(*axes)


def test_there_is_a_golden_of_every_family_that_the_script_names() -> None:
    families = {name.split("/")[0] for name in NAMES}
    script = (golden_files.FOLDER.parent / "make_goldens.py").read_text(encoding="utf-8")
    table = script[script.index("FAMILIES = {") : script.index("def draw_weights")]
    assert families == {line.split('"')[1] for line in table.splitlines()[1:] if '"' in line}
    assert len(NAMES) > 200


def test_the_goldens_say_which_versions_made_them() -> None:
    for family in {name.split("/")[0] for name in NAMES}:
        versions = golden_files.versions(family)
        assert {"keras", "backend", "numpy", "python", versions["backend"]} <= set(versions)
        assert versions["keras"].startswith("3.")


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_model_gives_the_numbers_of_keras(name: str, tmp_path: Path) -> None:
    golden = golden_files.read(name)
    model = load_keras(golden_files.put_model(golden, tmp_path))
    for x, outputs in zip(golden.inputs, golden.outputs, strict=True):
        found = ask(model, x, golden.lengths)
        assert len(found) == len(outputs)
        for ours, y in zip(found, outputs, strict=True):
            keras = in_torch_order(y, model)
            assert ours.shape == keras.shape
            if golden.lengths is not None and ours.ndim > 2 and name.endswith("masked_sequences"):
                # Keras repeats the last output in the padding of a single direction; here padding is zero
                valid = torch.arange(ours.shape[1]) < torch.from_numpy(golden.lengths)[:, None]
                assert not ours[~valid].any()
                ours, keras = ours[valid], keras[valid]
            assert (ours - keras).abs().max() <= LARGEST_DIFFERENCE


def test_a_stateful_model_remembers_until_it_is_told_to_forget(tmp_path: Path) -> None:
    golden = golden_files.read("lstm/stateful")
    model = load_keras(golden_files.put_model(golden, tmp_path))
    first = ask(model, golden.inputs[0], None)[0]
    assert not torch.allclose(ask(model, golden.inputs[0], None)[0], first)
    model.reset_state()
    assert torch.equal(ask(model, golden.inputs[0], None)[0], first)


@pytest.mark.parametrize(
    ("name", "input_axes", "output_axes"),
    [
        ("lstm/sequences", (0, 1, 2), (0, 1, 2)),
        ("conv_lstm/2d_same", (0, 1, 4, 2, 3), (0, 1, 4, 2, 3)),
        ("conv_lstm/2d_valid", (0, 1, 4, 2, 3), (0, 3, 1, 2)),
        ("conv/1d_same", (0, 2, 1), (0, 2, 1)),
        ("conv/3d_same", (0, 4, 1, 2, 3), (0, 4, 1, 2, 3)),
        ("channels_first/conv_lstm2d", (0, 1, 2, 3, 4), (0, 1, 2, 3, 4)),
        ("frame_layers/time_distributed_conv2d", (0, 1, 4, 2, 3), (0, 1, 4, 2, 3)),
        ("models/trailer", (0, 1, 4, 2, 3), (0, 1, 2)),
        ("models/cnn_lstm", (0, 1, 4, 2, 3), (0, 1)),
        ("models/nested", (0, 2, 1), (0, 1)),
        ("models/text", (0, 1), (0, 1)),
    ],
)
def test_tensors_go_in_and_come_out_in_the_order_of_torch(
    name: str, input_axes: tuple[int, ...], output_axes: tuple[int, ...], tmp_path: Path
) -> None:
    model = load_keras(golden_files.put_model(golden_files.read(name), tmp_path))
    assert model.input_axes == input_axes
    assert model.output_axes == output_axes


def test_lengths_are_a_mask(tmp_path: Path) -> None:
    """What stands in the padding changes nothing, through a CNN, BatchNorm in train mode and both directions."""
    model = load_keras(golden_files.put_model(golden_files.read("models/cnn_lstm"), tmp_path)).train()
    model.chain.steps["dropout"].eval()
    model.chain.steps["lstm"].dropout = 0.0
    x, lengths = torch.randn(2, 4, 3, 9, 8), torch.tensor([4, 2])
    with torch.no_grad():
        flattened = model(x, lengths)
        x[1, 2:] = 100.0
        assert torch.equal(model(x, lengths), flattened)


def test_every_parameter_of_a_loaded_model_can_learn(tmp_path: Path) -> None:
    golden = golden_files.read("models/trailer")
    model = load_keras(golden_files.put_model(golden, tmp_path)).train()
    model(torch.from_numpy(golden.inputs[0]).permute(model.input_axes)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_input_dropout_is_the_same_in_all_frames(tmp_path: Path) -> None:
    recurrence = load_keras(golden_files.put_model(golden_files.read("models/cnn_lstm"), tmp_path)).chain.steps["lstm"]
    recurrence.train()
    assert recurrence.dropout == pytest.approx(0.2)
    seen: list[Tensor] = []
    recurrence.layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    features = recurrence.layer.input_size
    recurrence(torch.ones(3, 4, features), None)
    assert torch.equal(seen[0], seen[0][:, :1].expand(-1, 4, -1))
    assert set(seen[0].unique().tolist()) == {0.0, 1.25}


def test_the_dropout_between_frames_and_states_comes_along(tmp_path: Path) -> None:
    model = load_keras(golden_files.put_model(golden_files.read("models/functional"), tmp_path))
    assert model.chain.steps["carry_on"].layer.recurrent_dropout == pytest.approx(0.2)
    assert list(model.chain.steps) == ["see", "pool", "forget", "carry_on", "values_"]
    assert not model.training


def test_batch_norm_learns_as_fast_as_in_keras(tmp_path: Path) -> None:
    """Keras keeps 0.8 of the old mean: it says momentum 0.8, torch 0.2."""
    model = load_keras(golden_files.put_model(golden_files.read("frame_layers/batch_norm_scale"), tmp_path)).train()
    (norm,) = (part for part in model.modules() if isinstance(part, torch.nn.BatchNorm1d))
    before, x = norm.running_mean.clone(), torch.randn(3, 4, 5)
    model(x)
    torch.testing.assert_close(norm.running_mean, 0.8 * before + 0.2 * x.mean((0, 1)))
    assert norm.eps == pytest.approx(1e-3)
    assert norm.bias is None


def test_a_layer_that_would_mix_padding_into_frames_refuses_lengths(tmp_path: Path) -> None:
    model = load_keras(golden_files.put_model(golden_files.read("conv/1d_same"), tmp_path))
    with pytest.raises(ValueError, match="mix padding in"):
        model(torch.randn(2, 4, 9), torch.tensor([3, 9]))


def test_the_padding_of_an_embedding_is_zero(tmp_path: Path) -> None:
    embedding = load_keras(golden_files.put_model(golden_files.read("models/embedding_mask"), tmp_path)).chain.steps[
        "embedding_1"
    ]
    out, lengths = embedding(torch.tensor([[3, 4, 0], [5, 0, 0]]), None)
    assert lengths.tolist() == [2, 1]
    assert out[0, :2].all()
    assert not out[0, 2:].any()
    assert not out[1, 1:].any()


def test_masking_refuses_padding_between_frames(tmp_path: Path) -> None:
    model = load_keras(golden_files.put_model(golden_files.read("models/masking"), tmp_path))
    x = torch.randn(2, 5, 3)
    x[0, 2] = 0
    with pytest.raises(ValueError, match="must stand behind"):
        model(x)
