"""Sentences in the report: which are shown, what stands below each word, and texts in place of pictures."""

import json
from pathlib import Path

import pytest

from unreel.reports import write
from unreel.reports.results import read_results
from unreel.reports.strips import strips
from unreel.reports.tagged_words import tagged_words
from unreel.reports.timelines import timelines


def folder(tmp_path: Path, task: str, rows: list[dict[str, object]]) -> Path:
    (tmp_path / "config.yaml").write_text("data: {path: absent.csv}\n")
    (tmp_path / "metrics.json").write_text(json.dumps({"task": task}))
    (tmp_path / "labels.json").write_text('["A", "B"]')
    (tmp_path / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def tagged(file: str, words: str, labels: str, truth: list[str | None]) -> dict[str, object]:
    times = list(range(len(labels)))
    return {"file": file, "words": words.split(), "labels": list(labels), "truth": truth, "times": times}


@pytest.fixture
def tag_run(tmp_path: Path) -> Path:
    rows = [
        tagged("a!1", "one two <b>", "ABA", ["A", "A", "B"]),
        tagged("a!5", "fine", "A", ["A"]),
        tagged("a!7", "quite fine too", "ABA", ["A", "B", None]),
        tagged("a!9", "one wrong", "AB", ["A", "A"]),
    ]
    return folder(tmp_path, "tag", rows)


def test_the_worst_and_the_best(tag_run: Path) -> None:
    found = tagged_words(read_results(tag_run))
    assert found is not None
    assert [sentence.file for sentence in found.worst] == ["a!1", "a!9"]
    assert [sentence.file for sentence in found.best] == ["a!7", "a!5"]
    assert (found.sentences, found.wrong) == (4, 2)
    words = found.worst[0].words
    assert [(word.text, word.said, word.truth, word.right) for word in words] == [
        ("one", "A", "A", True),
        ("two", "B", "A", False),
        ("<b>", "A", "B", False),
    ]
    assert found.worst[0].score == "1 of 3 words right"
    assert timelines(read_results(tag_run)) is None


def test_the_page_shows_sentences_and_no_films(tag_run: Path) -> None:
    page = write(tag_run).read_text(encoding="utf-8")
    assert 'id="tagged"' in page
    assert 'id="timelines"' not in page
    assert "&lt;b&gt;" in page
    assert "A → B" in page


def test_a_text_stands_in_place_of_pictures(tmp_path: Path) -> None:
    scores = {"A": 0.9, "B": 0.1}
    row = {"file": "r.csv!text!2", "words": ["a", "good", "film"], "label": "A", "score": 0.9, "scores": scores}
    run = folder(tmp_path, "classify", [row | {"truth": "B"}, row | {"truth": "A", "words": ["long"] * 500}])
    found = strips(read_results(run))
    assert found is not None
    assert found.errors[0].words == "a good film"
    assert found.hits[0].words.endswith(" …")
    page = write(run).read_text(encoding="utf-8")
    assert '<p class="words">a good film</p>' in page
    assert "No picture" not in page
    (run / "config.yaml").write_text("data: {text: {tokens: characters}}\n")
    found = strips(read_results(run))
    assert found is not None
    assert found.errors[0].words == "agoodfilm"


def test_films_have_no_sentences(tmp_path: Path) -> None:
    row = tagged("a.mp4", "", "AB", ["A", "B"])
    assert tagged_words(read_results(folder(tmp_path, "tag", [row]))) is None
