"""The number at the top, its interval, and the sentence about the controls."""

from pathlib import Path

import pytest

from unreel.reports.headline import compare, headline
from unreel.reports.measures import Measure, main_measure, read_measures
from unreel.reports.results import read_results


def test_headline_is_the_watched_measure_of_the_test_side(classify_run: Path) -> None:
    found = headline(read_results(classify_run))
    assert found is not None
    assert (found.main.shown, found.main.interval, found.counted) == ("95.4 %", "91.4 – 99.4 %", "152 clips")
    assert [measure.title for measure in found.others] == ["Macro F1", "AUROC"]
    assert found.chart is not None
    assert "24.3 %" in found.chart


def test_tagging_counts_frames(tag_run: Path) -> None:
    found = headline(read_results(tag_run))
    assert found is not None
    assert found.counted == "2 048 frames"


@pytest.mark.parametrize(
    ("model", "control", "clear"),
    [
        (Measure("accuracy", 0.9, 0.85, 0.95), Measure("accuracy", 0.5, 0.4, 0.6), True),
        (Measure("accuracy", 0.9, 0.55, 0.95), Measure("accuracy", 0.5, 0.4, 0.6), False),
        (Measure("accuracy", 0.4, 0.35, 0.45), Measure("accuracy", 0.6, 0.5, 0.7), False),
        (Measure("accuracy", 0.9), Measure("accuracy", 0.5), True),
        (Measure("mae", 0.3, 0.2, 0.4), Measure("mae", 0.9, 0.8, 1.0), True),
        (Measure("mae", 0.9, 0.8, 1.0), Measure("mae", 0.3, 0.2, 0.4), False),
        (Measure("mae", 0.3, 0.2, 0.85), Measure("mae", 0.9, 0.8, 1.0), False),
    ],
)
def test_verdict(model: Measure, control: Measure, clear: bool) -> None:
    verdict = compare(model, {"majority": control})
    assert ("lies clear" in verdict) is clear
    assert ("“Most frequent class, always”" in verdict) is not clear


def test_measures_come_bare_or_with_interval_and_no_number_is_no_measure() -> None:
    found = read_measures({"a": 0.5, "b": {"value": 0.25, "low": 0.2, "high": None}, "c": float("nan"), "d": None})
    assert found == {"a": Measure("a", 0.5), "b": Measure("b", 0.25, 0.2, None)}
    assert found["b"].interval == ""


def test_the_first_measure_stands_in_for_the_loss() -> None:
    measures = read_measures({"macro_f1": 0.5, "accuracy": 0.6})
    assert main_measure({"monitor": "val_loss"}, measures) == measures["macro_f1"]
    assert main_measure({"monitor": "val_accuracy"}, measures) == measures["accuracy"]
    assert main_measure({}, {}) is None


def test_digits_suit_the_measure() -> None:
    assert Measure("rmse", 0.12345678, 0.1, 0.2).shown == "0.1235"
    assert Measure("rmse", 0.12345678, 0.1, 0.2).interval == "0.1 – 0.2"
    assert Measure("auroc", 1.0).shown == "100.0 %"
