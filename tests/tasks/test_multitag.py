"""Heads of frames: what becomes of segments that overlap, of padding, and of frames of which nothing is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from unreel.errors import ManifestError
from unreel.tasks import TASKS, MultiTag, OptimConfig, Tag
from unreel.tasks.segments import clip_number

from hand_made import Row, Same, Span, batch_of  # isort: skip

ROW = Row(
    labels=("film",),
    segments=(Span(0.0, 0.3, "rain"), Span(0.2, 0.5, "wind"), Span(0.4, 0.5, ""), Span(0.4, 0.6, "rain")),
)
TIMES = torch.arange(6, dtype=torch.float64) / 10
HEADS = ("film", "rain", "wind")


def test_segments_overlap_and_what_is_unknown_stays_unknown() -> None:
    assert MultiTag.label_names([ROW, Row()]) == HEADS
    target = MultiTag(Same(), HEADS).encode(ROW, TIMES)["labels"]
    assert target.tolist() == [[1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 0, 1], [-1, -1, -1], [1, 1, 0]]
    tag = Tag(Same(), HEADS)
    assert tag.encode(ROW, TIMES)["label"].tolist() == [1, 1, 2, 2, 1, 1], "a later row wins"
    assert tag.encode(Row(segments=(Span(0, 1, "rain"), Span(0.1, 0.3, ""))), TIMES)["label"].tolist()[:4] == [
        1,
        -1,
        -1,
        1,
    ]
    assert "" not in Tag.label_names([ROW])
    with pytest.raises(ManifestError, match="at least one label"):
        MultiTag.label_names([Row(segments=(Span(0, 1, ""),))])
    assert TASKS["multitag"] is MultiTag


def test_padding_and_unknown_frames_count_nowhere() -> None:
    task = MultiTag(Same(), HEADS)
    target = task.encode(ROW, TIMES)["labels"]
    outputs = torch.randn(2, 6, 3)
    batch = batch_of({"labels": torch.stack([target, target])}, 2, 6, lengths=[6, 3])
    loss = task.loss(outputs, batch)
    kept = torch.tensor([[1, 1, 1, 1, 0, 1], [1, 1, 1, 0, 0, 0]], dtype=torch.bool)
    truth = torch.stack([target, target])[kept]
    plain = functional.binary_cross_entropy(outputs[kept].sigmoid(), truth)
    assert loss.item() == pytest.approx(plain.item())
    outputs[~kept] = 1e4
    assert torch.equal(task.loss(outputs, batch), loss)
    scores, pairs = task.pairs(outputs, batch)
    assert torch.equal(scores, outputs[kept].sigmoid())
    assert torch.equal(pairs, truth.long())
    assert task.owners(batch).tolist() == [0] * 5 + [1] * 3
    assert task.clips(batch).tolist() == [clip_number("clip0")] * 5 + [clip_number("clip1")] * 3
    rows, truths = task.rows(outputs, batch), task.truths(batch)
    assert [len(row["labels"]) for row in rows] == [6, 3]
    assert rows[0]["labels"][4] == list(HEADS)
    assert rows[1]["scores"]["wind"] == pytest.approx(outputs[1, :3, 2].sigmoid().tolist())
    assert truths[0]["truth"] == [["film", "rain"]] * 2 + [list(HEADS), ["film", "wind"], None, ["film", "rain"]]


def test_class_weights_are_those_of_the_frames_where_a_head_holds() -> None:
    weights = torch.tensor([1.0, 3.0, 0.5])
    target = MultiTag(Same(), HEADS).encode(Row(segments=(Span(0.0, 0.3, "rain"), Span(0.2, 0.5, "wind"))), TIMES)[
        "labels"
    ]
    outputs = torch.randn(1, 6, 3)
    loss = MultiTag(Same(), HEADS, class_weights=weights).loss(outputs, batch_of({"labels": target[None]}, 1, 6))
    each = -(weights * target * outputs[0].sigmoid().log() + (1 - target) * (1 - outputs[0].sigmoid()).log())
    assert loss.item() == pytest.approx(each.mean().item(), rel=1e-5)
    smooth = MultiTag(Same(), HEADS, OptimConfig(label_smoothing=0.2)).loss(
        outputs, batch_of({"labels": target[None]}, 1, 6)
    )
    softened = functional.binary_cross_entropy(outputs[0].sigmoid(), target * 0.8 + 0.1)
    assert smooth.item() == pytest.approx(softened.item(), rel=1e-5)


def test_without_any_known_frame_the_loss_is_zero_with_a_gradient() -> None:
    task = MultiTag(Same(), HEADS)
    outputs = torch.randn(1, 4, 3, requires_grad=True)
    task.loss(outputs, batch_of({"labels": torch.full((1, 4, 3), -1.0)}, 1)).backward()
    assert outputs.grad is not None
    assert not outputs.grad.any()


def test_the_constant_answer_is_the_rate_of_each_head() -> None:
    task = MultiTag(Same(), HEADS)
    targets = [task.encode(ROW, TIMES), task.encode(Row(), TIMES[:3])]
    assert task.constant(targets).tolist() == pytest.approx([5 / 8, 4 / 8, 2 / 8])


def test_validation_measures_whole_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clips of one batch are two sequences: joined, the segments at their meeting would be one."""
    task = MultiTag(Same(), ("x", "y"))
    target = torch.zeros(2, 4, 2)
    target[0, 2:, 0] = target[1, :2, 0] = 1
    batch = batch_of({"labels": target}, 2)
    outputs = 20 * target - 10
    outputs[1, :2, 0] = -10
    task.measures.update(*task.pairs(outputs, batch), clips=task.clips(batch))
    values = {name: float(value) for name, value in task.measures.compute().items()}
    assert values["f1_at_50/x"] == pytest.approx(2 / 3)
    assert math.isnan(values["f1_at_50/y"])
    assert values["accuracy"] == pytest.approx(14 / 16)
    logged: dict[str, float] = {}
    monkeypatch.setattr(task, "log_dict", lambda found, **_: logged.update(found))
    monkeypatch.setattr(task, "log", lambda *_, **__: None)
    task.measures.reset()
    monkeypatch.setattr(task, "forward", lambda _: outputs)
    task.validation_step(batch, 0)
    task.on_validation_epoch_end()
    assert logged["val_f1_at_50/x"] == pytest.approx(2 / 3)


def test_tag_measures_segments_without_those_of_the_background() -> None:
    task = Tag(Same(), ["background", "run"])
    truth = torch.tensor([[0, 1, 1, 1, -1, 1, 0]])
    said = torch.tensor([[0, 1, 1, 0, 0, 1, 1]])
    batch = batch_of({"label": truth}, 1, 7)
    task.measures.update(*task.pairs(10 * functional.one_hot(said, 2).float(), batch), clips=task.clips(batch))
    values = {name: float(value) for name, value in task.measures.compute().items()}
    assert values["edit"] == pytest.approx(0.5), "one segment 1 is true (the unknown frame is taken out), two are said"
    assert values["f1_at_50"] == pytest.approx(2 / 3), "frames 1 and 2 of 1, 2, 3, 5"
    assert values["accuracy"] == pytest.approx(4 / 6)
