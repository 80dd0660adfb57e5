"""The page's tables: confusion, per class, the split, the data."""

import html
import json
from pathlib import Path

from unreel.data import DataReport, FileReport
from unreel.reports import write
from unreel.reports.confusion import confusion
from unreel.reports.data_summary import MOST_ROWS, data_summary
from unreel.reports.per_class import per_class
from unreel.reports.results import read_results
from unreel.reports.sides import sides


def test_confusion_shares_are_of_the_truth(classify_run: Path) -> None:
    found = confusion(read_results(classify_run))
    assert found is not None
    assert [cell.count for cell in found.rows[3]] == [1, 3, 0, 34]
    assert found.rows[3][3].share == 34 / 38
    assert found.rows[3][1].hint == "right_and_back taken for left_and_back: 3 of 38"
    assert found.worst[0][:3] == ("right_and_back", "left_and_back", 3)
    assert sum(count for _, _, count, _ in found.worst) == 7


def test_a_class_without_clips_has_no_shares(classify_run: Path) -> None:
    metrics = json.loads((classify_run / "metrics.json").read_text())
    metrics["confusion"][2] = [0, 0, 0, 0]
    (classify_run / "metrics.json").write_text(json.dumps(metrics))
    found = confusion(read_results(classify_run))
    assert found is not None
    assert {cell.share for cell in found.rows[2]} == {0.0}


def test_per_class_shows_what_was_measured_only(classify_run: Path, multilabel_run: Path) -> None:
    found = per_class(read_results(classify_run))
    assert found is not None
    assert found.titles == ("Precision", "Recall", "F1")
    label, count, measures = found.rows[0]
    assert (label, count) == ("left", 38)
    assert [measure.interval for measure in measures if measure] == ["91.0 – 99.0 %", "89.0 – 97.0 %", ""]
    several = per_class(read_results(multilabel_run))
    assert several is not None
    assert several.titles == ("F1", "Average precision")


def test_each_head_stands_beside_the_controls(multitag_run: Path, classify_run: Path) -> None:
    found = per_class(read_results(multitag_run))
    assert found is not None
    assert found.beside is not None
    assert (found.beside.title, found.beside.titles) == (
        "Average precision",
        ("How often each holds, always", "CNN on single frames"),
    )
    label, model, controls = found.beside.rows[1]
    assert (label, model.shown if model else "") == ("wind", "80.0 %")
    assert [control.shown for control in controls if control] == ["31.0 %", "45.2 %"]
    assert found.beside.rows[2][2][1] is None
    assert "45.2 %" in write(multitag_run).read_text()
    without = per_class(read_results(classify_run))
    assert without is not None
    assert without.beside is None


def test_sides_count_clips_groups_and_classes(classify_run: Path) -> None:
    found = sides(read_results(classify_run))
    assert found is not None
    assert found.grouped
    assert found.rows == (("train", 40, 10, (10,) * 4), ("val", 8, 2, (2,) * 4), ("test", 16, 4, (4,) * 4))


def test_sides_of_several_labels_a_clip(multilabel_run: Path) -> None:
    found = sides(read_results(multilabel_run))
    assert found is not None
    assert not found.grouped
    assert found.rows == (("train", 1, 0, (1, 1, 0)), ("test", 1, 0, (1, 0, 0)))


def test_labels_in_time_are_one_clip(tag_run: Path) -> None:
    (tag_run / "manifest.csv").write_text(
        "path,label,start,end,split\na.mp4,idle,0,1,train\na.mp4,pour,1,2,train\nb.mp4,idle,0,2,test\n"
    )
    found = sides(read_results(tag_run))
    assert found is not None
    assert found.rows == (("train", 1, 0, (1, 1, 0)), ("test", 1, 0, (1, 0, 0)))


def test_data_summary_tells_what_is_there_and_what_is_wrong(classify_run: Path) -> None:
    found = data_summary(read_results(classify_run))
    assert found is not None
    assert dict(found.facts) == {"files": "65", "frames": "1 024", "in all": "98 s", "unreadable": "2"}
    assert ("frames", "16", "16", "16") in found.spreads
    assert found.sizes == (("32 × 32", 64),)
    assert [listing.title for listing in found.lists] == [
        "Could not be read and were left out: 2",
        "The same content: 1",
        "Nearly the same pictures: 1",
    ]
    assert ("right/empty.mp4", "expected a video, the file is empty") in found.lists[0].rows
    assert found.lists[1].rows[0][0].endswith(", copy of $x.mp4")
    assert len(found.plots) == 2
    assert "<…</text>" in html.unescape(found.plots[0])  # a long name is cut


def test_long_lists_are_cut(classify_run: Path) -> None:
    files = tuple(FileReport(f"{number}.mp4", reason="broken") for number in range(MOST_ROWS + 5))
    (classify_run / "data.json").write_text(DataReport(files=files, classes={}).to_json())
    found = data_summary(read_results(classify_run))
    assert found is not None
    assert len(found.lists[0].rows) == MOST_ROWS
    assert found.lists[0].more == 6  # with the one of left_out.csv
    assert found.plots == ()


def test_left_out_files_are_listed_without_a_scan(classify_run: Path) -> None:
    (classify_run / "data.json").unlink()
    found = data_summary(read_results(classify_run))
    assert found is not None
    assert found.facts == (("unreadable", "1"),)
