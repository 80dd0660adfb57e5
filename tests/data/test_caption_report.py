"""The report on captions: numbers of a case counted by hand, and what the scan makes of it."""

from pathlib import Path

import pytest
from rich.console import Console

from unreel.data import DataReport, Example, Manifest, TextConfig, scan
from unreel.data.caption_report import CaptionReport
from unreel.data.captions import with_captions

ROWS = (
    Example("a.png", ("A dog runs", "a dog runs", "Dog", "")),
    Example("b.png", ("A cat; a dog",)),
    Example("c.png", ("..",)),
)


def test_numbers_counted_by_hand() -> None:
    report = CaptionReport.of(with_captions(Path(), ROWS), TextConfig(rule="unicode"))
    assert report is not None
    assert (report.clips, report.captions, report.empty, report.repeated) == (2, 4, 2, 1)
    assert report.per_clip == (1, 2, 3)
    assert report.words == pytest.approx((1.0, 1.3, 3.0, 4.7, 5.0))  # of 3, 3, 1 and 5 words
    assert report.vocabulary == ((1, 5), (2, 3), (3, 2), (5, 0), (10, 0))  # a 4, dog 4, runs 2, cat, ;
    assert report.common[:3] == (("a", 4), ("dog", 4), ("runs", 2))
    assert report.short == (("a.png", "Dog"),)


def test_labels_that_are_no_captions_have_no_such_report() -> None:
    assert CaptionReport.of(Manifest(Path(), (Example("a", ("b",)),)), TextConfig()) is None


def test_a_scan_counts_no_captions_as_classes(tmp_path: Path) -> None:
    report = scan(with_captions(tmp_path, ROWS), workers=1)
    assert report.classes == {}
    assert report.small == ()
    assert report.unreadable["c.png"] == "expected a caption, found 1 empty"
    assert DataReport.from_json(report.to_json()) == report
    console = Console(width=160, record=True, file=(tmp_path / "out.txt").open("w"))
    for table in report.tables():
        console.print(table)
    text = console.export_text()
    console.file.close()
    assert "captions, no classes" in text
    assert "1 1.3 3 3.85 4" in text, "of words by the rule of captions, without punctuation"
    assert "Captions of one" in text
