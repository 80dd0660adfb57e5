"""Which clips are shown, in which order, and with what said of them."""

import json
from pathlib import Path

from unreel.reports.results import read_results
from unreel.reports.strips import Strips, strips


def of(run: Path) -> Strips:
    found = strips(read_results(run))
    assert found is not None
    return found


def test_the_surest_error_comes_first_and_its_missing_file_is_no_crash(classify_run: Path) -> None:
    found = of(classify_run)
    first = found.errors[0]
    assert (first.truth, first.said, first.score) == ("left", "right", "99.9 %")
    assert first.pictures.images == ()
    assert "there is none of this name" in first.pictures.missing
    scores = [float(strip.score.split()[0]) for strip in found.errors]
    assert scores == sorted(scores, reverse=True)
    assert all(strip.truth != strip.said for strip in found.errors)
    assert all(strip.truth == strip.said for strip in found.hits)
    assert (found.wrong, found.clips) == (5, 17)


def test_hits_take_one_class_after_the_other(classify_run: Path) -> None:
    assert len({strip.truth for strip in of(classify_run).hits[:4]}) == 4


def test_several_labels_are_an_error_when_one_of_them_is(multilabel_run: Path) -> None:
    found = of(multilabel_run)
    assert [strip.truth for strip in found.errors] == ["rain"]
    assert found.errors[0].said.startswith("rain 91 %, <script>")
    assert {strip.truth.split(",")[0] for strip in found.hits} == {"rain", "none"}


def test_regression_shows_the_furthest_and_the_closest(regress_run: Path) -> None:
    rows = [json.loads(line) for line in (regress_run / "predictions.jsonl").read_text().splitlines()]
    distances = [sum(abs(a - b) for a, b in zip(row["truth"], row["values"], strict=True)) for row in rows]
    found = of(regress_run)
    furthest, closest = rows[distances.index(max(distances))], rows[distances.index(min(distances))]
    assert found.errors[0].file == furthest["file"]
    assert found.hits[0].file == closest["file"]
    assert found.hits[0].said == ", ".join(f"{value:.4g}" for value in closest["values"])
    assert found.wrong is None


def test_predictions_without_truth_have_no_strips(classify_run: Path) -> None:
    (classify_run / "predictions.jsonl").write_text('{"file": "a.mp4", "label": "left", "score": 1.0}\n')
    assert strips(read_results(classify_run)) is None
