"""Manifests of texts, their duplicates, the vocabulary of the training side, and what a scan says of them."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from unreel.data import Example, ManifestConfig, Reading, Segment, TextConfig, load, scan, split
from unreel.data.content import content_hash, same_content
from unreel.data.report import DataReport, WordReport
from unreel.data.report_plot import scan_plot
from unreel.data.splits import SplitConfig
from unreel.data.texts import learn_vocabulary, places_in
from unreel.errors import LeakError, ManifestError, ReadError


def table(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_a_table_of_texts(tmp_path: Path) -> None:
    path = table(tmp_path / "r.csv", "review,label,group,split", '"good, and\nlong",pos,g1,train', "bad,neg,g2,test")
    manifest = load(path, ManifestConfig(text_column="review"))
    assert manifest.root == tmp_path
    assert manifest.examples == (
        Example("r.csv!review!3", ("pos",), group="g1", split="train"),
        Example("r.csv!review!4", ("neg",), group="g2", split="test"),
    )
    lines = table(tmp_path / "r.jsonl", '{"text": "a", "label": 1}', "", '{"text": "b", "label": 0}')
    assert [example.path for example in load(lines).examples] == ["r.jsonl!text!1", "r.jsonl!text!3"]
    tabs = table(tmp_path / "r.tsv", "label\ttext", "x\ta b, c")
    assert load(tabs).examples == (Example("r.tsv!text!2", ("x",)),)


def test_a_table_without_its_column_says_which(tmp_path: Path) -> None:
    path = table(tmp_path / "r.csv", "reviews,label", "good,pos")
    with pytest.raises(ManifestError, match=r"expected a column 'path' \(or, for texts, a column 'text'\), found"):
        load(path)
    with pytest.raises(ManifestError, match=r"expected a column 'review', found .* did you mean 'review'"):
        load(path, ManifestConfig(text_column="review"))


def test_another_encoding_spoils_the_texts_alone(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b"text,label\nclich\xe9,bad\nfine,good\n")
    report = scan(load(path), workers=1)
    assert list(report.unreadable) == ["r.csv!text!2"]
    assert "line 2 holds the byte 0xe9" in report.unreadable["r.csv!text!2"]
    assert not scan(load(path), 1, reading=Reading(TextConfig(encoding="latin-1"))).unreadable
    path.write_bytes(b"text,label\nfine,d\xe9j\xe0\n")
    with pytest.raises(ManifestError, match=r"r\.csv, line 2: expected UTF-8"):
        load(path)
    path.write_bytes(b"path,label\na.mp4,d\xe9j\xe0\n")
    with pytest.raises(ManifestError, match="expected a table in UTF-8"):
        load(path)


def test_files_of_sentences(tmp_path: Path) -> None:
    table(tmp_path / "rt.pos", "good", "", "fine")
    table(tmp_path / "rt.neg", "bad")
    (tmp_path / "README").write_text("about")
    (tmp_path / "LICENSE.txt").write_text("all")
    assert load(tmp_path).examples == (
        Example("rt.neg!1", ("neg",)),
        Example("rt.pos!1", ("pos",)),
        Example("rt.pos!2", ("pos",)),
        Example("rt.pos!3", ("pos",)),
    )
    assert list(scan(load(tmp_path), 1).unreadable) == ["rt.pos!2"]


def test_files_of_sentences_below_the_sides_of_a_split(tmp_path: Path) -> None:
    for side in ("train", "test"):
        (tmp_path / side).mkdir()
        for name in ("pos", "neg"):
            table(tmp_path / side / f"{name}.txt", f"{name} {side}")
    examples = load(tmp_path).examples
    assert Example("test/neg.txt!1", ("neg",), split="test") in examples
    assert len(examples) == 4


def test_class_folders_of_txt_are_texts_as_wholes(tmp_path: Path) -> None:
    for name in ("pos", "neg"):
        (tmp_path / name).mkdir()
        table(tmp_path / name / "1.txt", "two", "lines")
    assert [example.path for example in load(tmp_path).examples] == ["neg/1.txt", "pos/1.txt"]
    report = scan(load(tmp_path), 1)
    assert [file.frames for file in report.files] == [2, 2]
    assert report.identical == (("neg/1.txt", "pos/1.txt"),)


def test_labels_of_words(tmp_path: Path) -> None:
    text = "EU NNP B-ORG\nrejects VBZ O\nit PRP O\n\nPeter NNP B-PER\n"
    table(tmp_path / "train.conll", text)
    table(tmp_path / "dev.conll", text.replace("EU", "UN"))
    train = Example("train.conll!1", segments=(Segment(0, 1, "B-ORG"), Segment(1, 3, "O")), split="train")
    found = load(tmp_path)
    assert found.examples[2] == train
    assert [example.split for example in found.examples] == ["val", "val", "train", "train"]
    assert load(tmp_path / "train.conll").examples[1] == Example("train.conll!5", segments=(Segment(0, 1, "B-PER"),))
    table(tmp_path / "dev.conll", "alone")
    with pytest.raises(ManifestError, match=r"dev\.conll: line 1: expected a word and its label"):
        load(tmp_path)


def test_the_same_words_are_the_same_content(tmp_path: Path) -> None:
    path = table(tmp_path / "r.csv", "text", "a  b ", "a b", "A b", "c")
    places = [f"{path}!text!{line}" for line in (2, 3, 4, 5, 6)]
    same = same_content(places)
    assert [same[place] == places[0] for place in places] == [True, True, False, False, False]
    assert content_hash(places[0]) == content_hash(places[1])
    with pytest.raises(ReadError, match="there is none"):
        content_hash(places[4])


def test_a_sentence_that_stands_twice_stays_on_one_side(tmp_path: Path) -> None:
    texts = [f"sentence {number // 2}" for number in range(40)]
    path = table(tmp_path / "r.csv", "text,label", *(f"{text},{'ab'[n % 2]}" for n, text in enumerate(texts)))
    splits = split(load(path), SplitConfig(folds=5, fold=1))
    found = [{texts[int(example.path.rsplit("!")[-1]) - 2] for example in side} for side in splits]
    assert not found[0] & found[1]
    assert not (found[0] | found[1]) & found[2]
    stated = table(tmp_path / "s.csv", "text,label,split", "a,x,train", "b,y,train", "a,x,test")
    with pytest.raises(LeakError, match=r"s\.csv!text!2 \(train\) = s\.csv!text!4 \(test\)"):
        split(load(stated), SplitConfig(val=0))


def test_the_vocabulary_is_that_of_the_examples_it_is_given(tmp_path: Path) -> None:
    path = table(tmp_path / "r.csv", "text,label", "a b a,x", ",x", "b c,y", "d d d,y")
    manifest = load(path)
    assert learn_vocabulary(manifest.examples[:3], tmp_path, TextConfig(min_count=2)).tokens == ("a", "b")
    assert learn_vocabulary(manifest.examples, tmp_path, TextConfig(min_count=1)).tokens == ("d", "a", "b", "c")
    assert learn_vocabulary(manifest.examples, tmp_path, TextConfig("characters", min_count=2)).tokens[0] == " "


def test_a_scan_counts_words_and_comes_back_from_json(tmp_path: Path) -> None:
    path = table(tmp_path / "r.csv", "text,label", "a b a,x", "c,y", ",y")
    report = scan(load(path), 1)
    assert report.words == WordReport(count=4, different=3, once=2)
    assert [file.frames for file in report.readable] == [3, 1]
    assert DataReport.from_json(report.to_json()) == report
    console = Console(file=io.StringIO(), width=100)
    for part in report.tables():
        console.print(part)
    said = console.file.getvalue()
    assert "all words: different" in said
    assert "seconds" not in said
    assert scan_plot(report).startswith(b"\x89PNG")


def test_places_in_files(tmp_path: Path) -> None:
    lines = table(tmp_path / "a.txt", "one", "two")
    assert places_in(lines, "text", whole=False) == [f"{lines}!1", f"{lines}!2"]
    assert places_in(lines, "text", whole=True) == [str(lines)]
    assert places_in(Path(f"{lines}!2"), "text", whole=False) == [f"{lines}!2"]
    rows = table(tmp_path / "a.csv", "text,label", "one,x")
    assert places_in(rows, "text", whole=True) == [f"{rows}!text!2"]
    with pytest.raises(ReadError, match="expected a column 'review' of texts, there is none"):
        places_in(rows, "review", whole=False)
    with pytest.raises(ReadError, match="No such file"):
        places_in(tmp_path / "none.txt", "text", whole=False)
