"""A task with clips that are too long to be held: the loss and gradient of the whole clip, or of chunks in a row."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from unreel.clip import Chunk, ClipBatch, LongClip, Missing
from unreel.errors import ReadError
from unreel.models import CNNRNN, CNNRNNConfig, EncoderConfig
from unreel.tasks import Classify, Tag, Task
from unreel.training.checkpoints import SafetensorsIO

T, CHUNK = 11, 4


def make(task: type[Task] = Tag, **options: Any) -> Task:
    torch.manual_seed(0)
    encoder = EncoderConfig(channels=(4,), features=6)
    config = CNNRNNConfig(encoder=encoder, input="both", recurrence="gru", hidden_size=5, **options)
    made = task(CNNRNN(config, (1, 6, 6), 3, task.readout), ["a", "b", "c"])
    made.log = lambda *arguments, **named: None  # type: ignore[method-assign] (there is no trainer to log to)
    return made.double()


def clip_of(target: Tensor, broken: int | None = None) -> tuple[LongClip, ClipBatch]:
    """A clip as one that is read in chunks, and with all its frames."""
    frames = torch.randint(0, 255, (1, T, 1, 6, 6), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    common = {"lengths": torch.tensor([T]), "times": torch.arange(float(T), dtype=torch.float64)[None], "keys": ("x",)}
    held = ClipBatch(frames, **common, targets={"label": target})
    pieces = frames[0].split(CHUNK)

    def read(index: int) -> Tensor:
        if index == broken:
            raise ReadError("x", "damaged")
        return pieces[index]

    return LongClip(ClipBatch(torch.empty(1, T, 0), **common, targets={"label": target}), CHUNK, read), held


LABELS = torch.tensor([[0, 0, 1, 1, -1, 2, 2, 2, 1, 0, 0]])


def gradients(task: Task, loss: Tensor | None) -> dict[str, Tensor]:
    assert loss is not None
    found = torch.autograd.grad(loss, list(task.parameters()))
    return dict(zip(dict(task.named_parameters()), found, strict=True))


def test_loss_and_gradient_of_a_long_clip_are_those_of_the_whole() -> None:
    task = make()
    long, held = clip_of(LABELS)
    one, two = task.training_step(held, 0), task.training_step(long, 0)
    torch.testing.assert_close(one, two, rtol=0, atol=1e-12)
    expected = gradients(task, one)
    for name, gradient in gradients(task, two).items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-10, msg=name)


@pytest.mark.parametrize(("kind", "target"), [(Tag, LABELS), (Classify, torch.tensor([2]))])
def test_answers_for_a_long_clip_are_those_for_the_whole(kind: type[Task], target: Tensor) -> None:
    task = make(kind, **({"pool": "mean"} if kind is Classify else {})).eval()
    long, held = clip_of(target)
    with torch.inference_mode():
        torch.testing.assert_close(task(long), task(held), rtol=0, atol=1e-12)


def test_a_long_clip_is_measured_as_the_whole_one() -> None:
    task = make().eval()
    long, held = clip_of(LABELS)
    task.validation_step(long, 0)
    ours = task.measures.compute()
    task.measures.reset()
    task.validation_step(held, 0)
    assert ours == task.measures.compute()


def test_chunks_carry_the_state_but_not_the_gradient() -> None:
    task = make()
    long, held = clip_of(LABELS)
    outputs, state = task(held), None
    for index in range(long.chunks):
        chunk = Chunk(long.cut(index), begins=index == 0, ends=index == long.chunks - 1)
        loss = task.training_step(chunk, index)
        assert loss is not None
        place = slice(index * CHUNK, (index + 1) * CHUNK)
        expected = functional.cross_entropy(outputs[0, place], LABELS[0, place], ignore_index=-1)
        torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
        # the same by hand: a leaf state, so that nothing flows back into the chunk before
        said, after = task.model(held.frames[:, place], None, state)
        by_hand = gradients(task, functional.cross_entropy(said[0], LABELS[0, place], ignore_index=-1))
        for name, gradient in gradients(task, loss).items():
            torch.testing.assert_close(gradient, by_hand[name], rtol=0, atol=1e-12, msg=name)
        state = tree(after)
    assert task.carried is None  # the clip has ended


def tree(state: Any) -> Any:
    return state.detach().clone() if isinstance(state, Tensor) else tuple(tree(branch) for branch in state)


def test_after_a_gap_the_state_begins_anew() -> None:
    task = make()
    long, _ = clip_of(LABELS)
    task.training_step(Chunk(long.cut(0), begins=True, ends=False), 0)
    assert task.carried is not None
    assert task.training_step(Missing("x", "damaged"), 1) is None
    last = task.training_step(Chunk(long.cut(2), begins=False, ends=True), 2)
    alone = task.training_step(Chunk(long.cut(2), begins=True, ends=True), 0)
    assert last is not None
    assert torch.equal(last, alone)


def test_a_clip_that_breaks_teaches_nothing_and_is_not_measured() -> None:
    task = make()
    long, _ = clip_of(LABELS, broken=2)
    assert task.training_step(long, 0) is None
    before = copy.deepcopy(task.measures.state_dict())
    task.validation_step(long, 0)
    assert task.measures.state_dict() == before
    with pytest.raises(ReadError, match="damaged"):
        task(long)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_carried_state_survives_a_checkpoint(tmp_path: Path, dtype: torch.dtype) -> None:
    task, other = make(), make()
    long, _ = clip_of(LABELS)
    task.training_step(Chunk(long.cut(0), begins=True, ends=False), 0)
    task.carried = (tuple(leaf.to(dtype) for leaf in task.carried[0]), *task.carried[1:])
    checkpoint: dict[str, Any] = {}
    task.on_save_checkpoint(checkpoint)
    SafetensorsIO().save_checkpoint(checkpoint, tmp_path / "state")
    other.on_load_checkpoint(SafetensorsIO().load_checkpoint(tmp_path / "state"))
    flat, again = list(leaves(task.carried)), list(leaves(other.carried))
    assert len(flat) == len(again) > 0
    assert all(torch.equal(one, two) and one.dtype == two.dtype for one, two in zip(flat, again, strict=True))


def leaves(state: Any) -> Any:
    if isinstance(state, Tensor):
        yield state
    else:
        for branch in state:
            yield from leaves(branch)
