"""Every task against hand-made outputs: losses and measures are compared with plain formulas and scikit-learn."""

import math

import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, r2_score, roc_auc_score
from torch import Tensor
from torch.nn import functional

from unreel.clip import ClipBatch
from unreel.errors import ManifestError
from unreel.tasks import TASKS, Classify, MultiLabel, OptimConfig, Regress, Tag

from hand_made import Row, Same, Span, batch_of  # isort: skip


def measured(task, outputs: Tensor, batch: ClipBatch) -> dict[str, float]:
    task.measures.update(*task.pairs(outputs, batch))
    return {name: float(value) for name, value in task.measures.compute().items()}


def test_classify_measures_equal_scikit_learn() -> None:
    torch.manual_seed(0)
    task = Classify(Same(), ["a", "b", "c"])
    outputs, truth = torch.randn(60, 3), torch.randint(0, 3, (60,))
    batch = batch_of({"label": truth}, 60)
    values = measured(task, outputs, batch)
    scores = outputs.softmax(-1)
    assert values["accuracy"] == pytest.approx((outputs.argmax(-1) == truth).float().mean().item())
    assert values["macro_f1"] == pytest.approx(f1_score(truth, outputs.argmax(-1), average="macro"), abs=1e-6)
    assert values["auroc"] == pytest.approx(roc_auc_score(truth, scores, multi_class="ovr"), abs=1e-6)
    assert task.loss(outputs, batch).item() == pytest.approx(functional.nll_loss(scores.log(), truth).item())
    row = task.rows(outputs, batch)[0]
    assert row["label"] == task.labels[int(outputs[0].argmax())]
    assert math.fsum(row["scores"].values()) == pytest.approx(1)
    assert task.truths(batch)[5] == {"truth": task.labels[int(truth[5])]}


@pytest.mark.filterwarnings("ignore:No (positive|negative) samples")
def test_a_class_without_items_is_not_in_the_mean() -> None:
    torch.manual_seed(0)
    truth = torch.randint(0, 2, (60,))
    outputs = torch.randn(60, 3) + 3 * functional.one_hot(truth, 3)
    value = measured(Classify(Same(), ["a", "b", "c"]), outputs, batch_of({"label": truth}, 60))["auroc"]
    scores = outputs.softmax(-1)
    assert value == pytest.approx((roc_auc_score(1 - truth, scores[:, 0]) + roc_auc_score(truth, scores[:, 1])) / 2)
    several = functional.one_hot(truth, 3).float()
    value = measured(MultiLabel(Same(), ["a", "b", "c"]), outputs, batch_of({"labels": several}, 60))["auroc"]
    assert value == pytest.approx((roc_auc_score(1 - truth, outputs[:, 0]) + roc_auc_score(truth, outputs[:, 1])) / 2)
    one = batch_of({"label": torch.zeros(60, dtype=torch.int64)}, 60)
    assert math.isnan(measured(Classify(Same(), ["a", "b", "c"]), outputs, one)["auroc"])


def test_classify_weights_and_smoothing_reach_the_loss() -> None:
    outputs, truth = torch.randn(8, 2), torch.tensor([0, 0, 0, 0, 0, 0, 0, 1])
    batch = batch_of({"label": truth}, 8)
    weights = torch.tensor([0.5, 4.0])
    weighted = Classify(Same(), ["a", "b"], class_weights=weights).loss(outputs, batch)
    nll = functional.nll_loss(outputs.log_softmax(-1), truth, reduction="none")
    assert weighted.item() == pytest.approx((nll * weights[truth]).sum().item() / weights[truth].sum().item())
    smooth = Classify(Same(), ["a", "b"], OptimConfig(label_smoothing=0.2)).loss(outputs, batch)
    plain = -(outputs.log_softmax(-1) * (functional.one_hot(truth, 2) * 0.8 + 0.1)).sum(-1).mean()
    assert smooth.item() == pytest.approx(plain.item(), rel=1e-5)


def test_multilabel_measures_equal_scikit_learn() -> None:
    torch.manual_seed(1)
    task = MultiLabel(Same(), ["a", "b", "c"])
    outputs, truth = torch.randn(50, 3), torch.randint(0, 2, (50, 3)).float()
    batch = batch_of({"labels": truth}, 50)
    values = measured(task, outputs, batch)
    scores = outputs.sigmoid()
    assert values["macro_ap"] == pytest.approx(average_precision_score(truth, scores, average="macro"), abs=1e-5)
    assert values["auroc"] == pytest.approx(roc_auc_score(truth, scores, average="macro"), abs=1e-5)
    assert values["macro_f1"] == pytest.approx(f1_score(truth, scores > 0.5, average="macro"), abs=1e-5)
    assert task.rows(outputs, batch)[0]["labels"] == [n for n, s in zip("abc", outputs[0], strict=True) if s >= 0]
    assert task.encode(Row(labels=("c", "a")), torch.zeros(1))["labels"].tolist() == [1, 0, 1]


def test_tag_reads_segments_and_ignores_padding_and_unknown_frames() -> None:
    task = Tag(Same(), ["rest", "run"])
    times = torch.arange(6, dtype=torch.float64) / 10
    row = Row(segments=(Span(0.0, 0.4, "rest"), Span(0.2, 0.4, "run")))
    target = task.encode(row, times)["label"]
    assert target.tolist() == [0, 0, 1, 1, -1, -1]
    outputs = torch.randn(2, 6, 2)
    batch = batch_of({"label": torch.stack([target, target])}, 2, 6, lengths=[6, 3])
    loss = task.loss(outputs, batch)
    outputs[1, 3:] = 1e4  # padding
    outputs[0, 4:] = -1e4  # unknown
    assert torch.equal(task.loss(outputs, batch), loss)
    scores, truth = task.pairs(outputs, batch)
    assert scores.shape == (7, 2)
    assert truth.tolist() == [0, 0, 1, 1, 0, 0, 1]
    rows = task.rows(outputs, batch)
    assert [len(row["labels"]) for row in rows] == [6, 3]
    assert rows[1]["times"] == pytest.approx([0.0, 0.1, 0.2])
    assert task.truths(batch)[0]["truth"] == ["rest", "rest", "run", "run", None, None]


def test_tag_without_any_known_frame_has_a_loss_of_zero_and_a_gradient() -> None:
    task = Tag(Same(), ["rest", "run"])
    batch = batch_of({"label": torch.full((1, 4), -1)}, 1)
    outputs = torch.randn(1, 4, 2, requires_grad=True)
    task.loss(outputs, batch).backward()
    assert outputs.grad is not None
    assert not outputs.grad.any()


def test_regress_speaks_in_the_units_of_the_manifest() -> None:
    rows = [Row(labels=("10", "-1")), Row(labels=("30", "1"))]
    task = Regress(Same(), Regress.label_names(rows))
    task.fit_scale(rows)
    assert task.labels == ("value_0", "value_1")
    truth = torch.tensor([[10.0, -1.0], [30.0, 1.0]])
    batch = batch_of({"value": truth}, 2)
    outputs = torch.tensor([[-1.0, -1.0], [0.5, 1.0]])
    assert task.rows(outputs, batch) == [{"values": [10.0, -1.0]}, {"values": [25.0, 1.0]}]
    values = measured(task, outputs, batch)
    predicted = torch.tensor([[10.0, -1.0], [25.0, 1.0]])
    assert values["mae"] == pytest.approx(1.25)
    assert values["rmse"] == pytest.approx(2.5)
    assert values["r2"] == pytest.approx(r2_score(truth, predicted), abs=1e-5)
    assert task.loss(outputs, batch).item() == pytest.approx(0.25 / 4)


@pytest.mark.parametrize(
    ("task", "rows", "message"),
    [
        ("classify", [Row(labels=("a", "b"))], "exactly one label"),
        ("classify", [Row(labels=("a",)), Row(labels=("a",))], "at least 2 different labels"),
        ("multilabel", [Row()], "at least 1 different labels"),
        ("tag", [Row(segments=(Span(0, 1, "a"),))], "at least 2 different labels of frames"),
        ("tag", [Row(labels=("a", "b"))], "at most one label"),
        ("regress", [Row(labels=("1",)), Row(labels=())], "expected 1 numbers"),
        ("regress", [Row(labels=("cat",))], "numbers as labels"),
    ],
)
def test_labels_that_a_task_cannot_use_are_refused(task: str, rows: list[Row], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        TASKS[task].label_names(rows)


def test_labels_stand_in_natural_order() -> None:
    rows = [Row(labels=(name,)) for name in ("class10", "class2", "Class1", "class2")]
    assert Classify.label_names(rows) == ("Class1", "class2", "class10")
