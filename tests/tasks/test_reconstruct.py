"""Reconstruction errors: labels that are only asked for by measures, and measures against scikit-learn."""

import math

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from unreel.errors import ConfigError
from unreel.tasks import Reconstruct

from hand_made import Row, Same, Span, batch_of  # isort: skip

TIMES = torch.arange(6, dtype=torch.float64)


class Erring(Same):
    """Its outputs are its input, and the training pixels have a variance of 0.5."""

    variance = torch.tensor(0.5)


def task() -> Reconstruct:
    return Reconstruct(Erring(), ["error"])


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (Row(), [-1] * 6),
        (Row(labels=("normal",)), [0] * 6),
        (Row(labels=("0",)), [0] * 6),
        (Row(labels=("1",)), [1] * 6),
        (Row(labels=("fall",)), [1] * 6),
        (Row(segments=(Span(2, 4, "fall"),)), [0, 0, 1, 1, 0, 0]),
        (Row(segments=(Span(2, 4, "fall"), Span(3, 5, ""))), [0, 0, 1, -1, -1, 0]),
        (Row(labels=("fall",), segments=(Span(0, 2, "Normal"),)), [0, 0, 1, 1, 1, 1]),
    ],
)
def test_labels(row: Row, wanted: list[int]) -> None:
    assert task().encode(row, TIMES)["anomalous"].tolist() == wanted


def test_no_label_is_legal() -> None:
    assert Reconstruct.label_names([Row(), Row(labels=("fall",))]) == ("error",)
    assert Reconstruct.label_names([]) == ("error",)


def test_what_is_known_to_be_unusual_is_not_learned() -> None:
    errors = torch.tensor([[1.0, 2, 3, 100], [4, 5, 77, 77]])[..., None].requires_grad_()
    batch = batch_of({"anomalous": torch.tensor([[0, -1, 0, 1], [-1, -1, 0, 0]])}, 2, lengths=[4, 2])
    loss = task().loss(errors, batch)
    assert loss.item() == pytest.approx((1 + 2 + 3 + 4 + 5) / 5 / 0.5)
    loss.backward()
    assert errors.grad is not None
    assert errors.grad[0, 3] == 0
    assert (errors.grad[1, 2:] == 0).all()
    all_unusual = batch_of({"anomalous": torch.ones(2, 4, dtype=torch.int64)}, 2)
    assert task().loss(errors, all_unusual).item() == 0


def test_measures_equal_scikit_learn() -> None:
    torch.manual_seed(0)
    ours = task()
    errors = torch.rand(4, 30, 1) * 40  # far above 1, where torchmetrics would take them for logits
    errors[:, :10] = errors[0, 0]  # ties
    truth = torch.randint(-1, 2, (4, 30))
    batch = batch_of({"anomalous": truth}, 4, t=30, lengths=[30, 20, 30, 7])
    ours.measures.update(*ours.pairs(errors, batch))
    values = {name: float(value) for name, value in ours.measures.compute().items()}
    valid = torch.arange(30) < batch.lengths[:, None]
    known = valid & (truth >= 0)
    usual = errors[..., 0][valid & (truth != 1)]
    assert values["auc"] == pytest.approx(roc_auc_score(truth[known], errors[..., 0][known]), abs=1e-6)
    assert values["ap"] == pytest.approx(average_precision_score(truth[known], errors[..., 0][known]), abs=1e-6)
    assert values["mse"] == pytest.approx(usual.mean().item(), rel=1e-5)
    assert values["psnr"] == pytest.approx((10 * torch.log10(1 / usual)).mean().item(), rel=1e-5)
    assert torch.equal(ours.owners(batch), valid.nonzero()[:, 0])


@pytest.mark.parametrize("truth", [-1, 0])
def test_without_anomalies_there_is_no_auc(truth: int) -> None:
    ours = task()
    batch = batch_of({"anomalous": torch.full((1, 4), truth)}, 1)
    ours.measures.update(*ours.pairs(torch.rand(1, 4, 1), batch))
    values = ours.measures.compute()
    assert math.isnan(values["auc"])
    assert math.isnan(values["ap"])
    assert math.isfinite(values["mse"])


def test_rows() -> None:
    errors = torch.tensor([[1.0, 2, 3, 0]])[..., None]
    batch = batch_of({"anomalous": torch.tensor([[0, 1, -1, 0]])}, 1, lengths=[3])
    [row], [truth] = task().rows(errors, batch), task().truths(batch)
    assert row == {"times": batch.times[0, :3].tolist(), "errors": [1, 2, 3]}
    assert truth == {"truth": [0, 1, None]}


def test_there_is_no_constant_answer() -> None:
    assert task().constant([]) is None


def test_something_usual_must_be_there_to_learn_from() -> None:
    usual, fight, half = Row(labels=("normal",)), Row(labels=("fight",)), Row(segments=(Span(0, 1, "fight"),))
    for examples in ([usual, fight], [fight, half], [Row()], []):
        assert Reconstruct.label_names(examples) == ("error",)
    with pytest.raises(ConfigError, match=r"all of 2 are labelled as anomalies \(fight\)"):
        Reconstruct.label_names([fight, fight])
