"""Numbers over time: where they hold, what is not known, and units."""

import math
from types import SimpleNamespace

import pytest
import torch
from sklearn.metrics import r2_score

from unreel.errors import ManifestError
from unreel.tasks import Series, Trace

from hand_made import Row, Same, Span, batch_of  # isort: skip

TIMES = torch.tensor([0.0, 0.5, 1.0, 1.5], dtype=torch.float64)
NAN = math.nan


def decoder(length: int) -> Same:
    model = Same()
    model.config = SimpleNamespace(output_length=length)  # type: ignore[assignment]
    return model


def same(tensor: torch.Tensor, wanted: list[list[float]]) -> bool:
    return torch.equal(tensor.nan_to_num(-9), torch.tensor(wanted).nan_to_num(-9))


def test_names() -> None:
    assert Trace.label_names([Row(), Row(segments=(Span(0, 1, "1 2"),))]) == ("value_0", "value_1")
    assert Series.label_names([Row(labels=("1", "2.5", "nan"))]) == ("value",)
    for rows, message in (
        ([Row(labels=("1", "2 3"))], "expected 1 numbers"),
        ([Row(labels=("one",))], "spaces between"),
        ([Row()], "found none"),
    ):
        with pytest.raises(ManifestError, match=message):
            Trace.label_names(rows)


def test_numbers_of_frames() -> None:
    task = Trace(Same(), ["value_0", "value_1"])
    row = Row(labels=("7 8",), segments=(Span(0.5, 1.5, "1 2"), Span(1.0, math.inf, "3 nan")))
    assert same(task.encode(row, TIMES)["value"], [[7, 8], [1, 2], [3, NAN], [3, NAN]])
    assert same(task.encode(Row(segments=(Span(1, 2, ""),)), TIMES)["value"], [[NAN, NAN]] * 4)


def test_numbers_of_steps() -> None:
    task = Series(decoder(3), ["value"])
    assert same(task.encode(Row(labels=("1", "2")), TIMES)["value"], [[1], [2], [NAN]])
    with pytest.raises(ManifestError, match="at most 3 steps"):
        task.encode(Row(labels=("1",) * 4), TIMES)


def test_loss_and_measures_are_of_what_is_known() -> None:
    torch.manual_seed(0)
    task = Trace(Same(), ["a", "b"])
    task.fit_scale([Row(segments=(Span(0, 1, "1 10"), Span(1, 2, "3 nan"), Span(2, 3, "5 30")))])
    assert task.mean.tolist() == [3, 20]
    torch.testing.assert_close(task.std, torch.tensor([math.sqrt(8 / 3), 10.0]))
    outputs = torch.randn(2, 4, 2)
    truth = torch.randn(2, 4, 2) * 10
    truth[0, 1, 1] = NAN
    batch = batch_of({"value": truth}, 2, lengths=[4, 2])
    said, known = outputs * task.std + task.mean, torch.tensor([[1, 0, 1, 1], [1, 1, 0, 0]]).bool()
    wanted = ((said - truth) / task.std)[known].square().mean()
    assert task.loss(outputs, batch).item() == pytest.approx(wanted.item(), rel=1e-5)
    task.measures.update(*task.pairs(outputs, batch))
    values = {name: float(value) for name, value in task.measures.compute().items()}
    assert values["mae"] == pytest.approx((said - truth)[known].abs().mean().item(), rel=1e-5)
    assert values["r2"] == pytest.approx(r2_score(truth[known], said[known]), rel=1e-4)
    assert task.owners(batch).tolist() == [0, 0, 0, 1, 1]
    nothing = batch_of({"value": torch.full((2, 4, 2), NAN)}, 2)
    assert task.loss(outputs.requires_grad_(), nothing).item() == 0


def test_rows() -> None:
    outputs, truth = torch.tensor([[[1.0], [2], [3]]]), torch.tensor([[[4.0], [NAN], [6]]])
    frames = batch_of({"value": truth}, 1, t=3, lengths=[2])
    task = Trace(Same(), ["value"])
    assert task.rows(outputs, frames) == [{"times": frames.times[0, :2].tolist(), "values": [[1], [2]]}]
    assert task.truths(frames) == [{"truth": [[4], None]}]
    steps = batch_of({"value": truth}, 1, t=7)
    series = Series(decoder(3), ["value"])
    assert series.rows(outputs, steps) == [{"values": [[1], [2], [3]]}]
    assert series.truths(steps) == [{"truth": [[4], None, [6]]}]
    assert series.owners(steps).tolist() == [0, 0]
    assert series.constant([{"value": truth[0]}, {"value": truth[0] + 1}]).tolist() == [5.5]
