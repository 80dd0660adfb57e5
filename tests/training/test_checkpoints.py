import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unreel.errors import RunError
from unreel.training import checkpoints
from unreel.training.checkpoints import SafetensorsIO, check_resumable, save_atomically

NESTED = {
    "state_dict": {"a.weight": torch.randn(3, 2), "step": torch.tensor(4)},
    "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}, 1: {}}, "betas": (0.9, 0.999), "fused": None}],
    "loops": {"fit": {"nan": float("inf"), "done": False, "name": "épochs"}},
    "$odd": 1,
}


def same(one: object, two: object) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(two, torch.Tensor) and one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict):
        return isinstance(two, dict) and list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(two) and len(one) == len(two) and all(map(same, one, two))
    return type(one) is type(two) and one == two


def test_what_is_saved_comes_back_with_its_types(tmp_path: Path) -> None:
    io = SafetensorsIO()
    io.save_checkpoint(NESTED, tmp_path / "c.safetensors")
    assert same(io.load_checkpoint(tmp_path / "c.safetensors"), NESTED)
    assert [file.name for file in tmp_path.iterdir()] == ["c.safetensors"]


def test_shared_and_strided_tensors_are_saved_as_they_look(tmp_path: Path) -> None:
    base = torch.arange(6.0).reshape(2, 3)
    io = SafetensorsIO()
    io.save_checkpoint({"a": base, "b": base.T, "c": base[:, 1]}, tmp_path / "c")
    loaded = io.load_checkpoint(tmp_path / "c")
    assert same(loaded, {"a": base, "b": base.T.contiguous(), "c": base[:, 1].contiguous()})


def test_a_value_that_needs_pickle_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=re.escape("checkpoint/loops/0/x is a set")):
        SafetensorsIO().save_checkpoint({"loops": [{"x": {1}}]}, tmp_path / "c")
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    io = SafetensorsIO()
    io.save_checkpoint({"a": 1}, tmp_path / "c")
    with pytest.raises(TypeError):
        io.save_checkpoint({"a": object()}, tmp_path / "c")
    assert io.load_checkpoint(tmp_path / "c") == {"a": 1}


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"\x80\x04cos\nsystem\n"])
def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(RunError, match="expected a checkpoint of Unreel"):
        SafetensorsIO().load_checkpoint(tmp_path / "c")


def test_plain_weights_are_no_checkpoint(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "c")
    with pytest.raises(RunError, match="without its header"):
        SafetensorsIO().load_checkpoint(tmp_path / "c")


def test_a_checkpoint_of_another_format_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "FORMAT", "1")
    SafetensorsIO().save_checkpoint(NESTED, tmp_path / "c")
    check_resumable(tmp_path / "c")
    monkeypatch.undo()
    for load in (SafetensorsIO().load_checkpoint, check_resumable):
        with pytest.raises(RunError, match=r"expected a checkpoint of format 2, got 1, .* begin anew: unreel train"):
            load(tmp_path / "c")


def test_save_atomically_makes_the_folder(tmp_path: Path) -> None:
    save_atomically({"a": torch.ones(1)}, tmp_path / "deep" / "w.safetensors")
    assert (tmp_path / "deep" / "w.safetensors").is_file()
