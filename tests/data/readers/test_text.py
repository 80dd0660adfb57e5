"""Texts and places in files: what is read, in which encoding, and what is told of that which cannot be."""

import os
from pathlib import Path

import pytest

from unreel.data.readers import Reading, open_source
from unreel.data.readers.text import TextSource, reads_text, text_place
from unreel.errors import ReadError
from unreel.tokens import TextConfig


def reason(path: str | Path, config: TextConfig | None = None) -> str:
    with pytest.raises(ReadError) as caught:
        TextSource(path, config)
    assert caught.value.reason.isprintable()
    return caught.value.reason


def test_places() -> None:
    assert text_place("a.txt") is None
    assert text_place("a.pos!12") == (Path("a.pos"), None, 12)
    assert text_place("dir/a.CSV!text!3") == (Path("dir/a.CSV"), "text", 3)
    assert text_place("a.csv!no! really!3") == (Path("a.csv"), "no! really", 3)
    assert text_place("a!b.pos!3") == (Path("a!b.pos"), None, 3)
    assert text_place("a.zip!train/3") is None
    assert text_place("a.zip!3") is None
    assert text_place("a.pos!0") is None
    assert [reads_text(name) for name in ("a.txt", "A.TXT", "a.pos!1", "a.pos", "a.mp4")] == [True] * 3 + [False] * 2


def test_what_is_there_under_that_very_name_comes_first(tmp_path: Path) -> None:
    (tmp_path / "frames!12").mkdir()
    with pytest.raises(ReadError, match="holds no"):
        open_source(tmp_path / "frames!12")


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    """Byte 0x85 is a dash or dots in Windows's encodings, and the end of a line to Python's str.splitlines."""
    path = tmp_path / "a.pos"
    path.write_bytes(b"one\x85 two\nthree\x0bthree\n")
    assert TextSource(f"{path}!1", TextConfig(encoding="cp1252")).tokens == ["one", "…", "two"]
    assert TextSource(f"{path}!2", TextConfig(encoding="latin-1")).tokens == ["three", "three"]
    assert "expected line 3, the file has 2" in reason(f"{path}!3")


def test_what_is_not_in_the_encoding_is_told_with_its_line(tmp_path: Path) -> None:
    lines, whole, table = tmp_path / "a.pos", tmp_path / "a.txt", tmp_path / "a.csv"
    lines.write_bytes(b"fine\nclich\xe9s\n")
    whole.write_bytes(b"fine\n\nclich\xe9s\n")
    table.write_bytes(b"label,text\nx,fine\nx,clich\xe9s\n")
    for path, line in ((f"{lines}!2", 2), (whole, 3), (f"{table}!text!3", 3)):
        said = reason(path)
        assert f"line {line} holds the byte 0xe9" in said
        assert "data.text.encoding" in said
        assert TextSource(path, TextConfig(encoding="latin-1")).tokens[-1] == "clichés"
    assert TextSource(f"{lines}!1").tokens == TextSource(f"{table}!text!2").tokens == ["fine"]


def test_what_holds_no_word_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" \n")
    (tmp_path / "b.csv").write_text('label,text\nx,"\n"\ny\n')
    assert "expected words, found none in ''" in reason(tmp_path / "a.txt")
    assert "expected words" in reason(tmp_path / "b.csv!text!3")
    assert "expected a cell of 'text' in line 4, there is none" in reason(tmp_path / "b.csv!text!4")
    (tmp_path / "c.txt").write_text("...")
    assert len(TextSource(tmp_path / "c.txt")) == 3
    assert "found none in '...'" in reason(tmp_path / "c.txt", TextConfig(rule="kim"))


def test_a_long_text_is_cut_where_asked(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a b c d")
    with open_source(tmp_path / "a.txt", Reading(TextConfig(max_length=3))) as source:
        assert len(source) == 3


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.pos"
    path.write_text("one\n")
    assert TextSource(f"{path}!1").tokens == ["one"]
    path.write_text("other\n")
    assert TextSource(f"{path}!1").tokens == ["other"]


CONLL = "-DOCSTART- -X- O O\n\nEU NNP B-ORG\nrejects VBZ O\n\nPeter NNP B-PER\n"
CONLLU = (
    "# text = Vámonos .\n1-2\tVámonos\t_\t_\n1\tVamos\tir\tVERB\n2\tnos\tnosotros\tPRON\n2.1\tx\tx\tX\n3\t.\t.\tPUNCT\n"
)


def test_words_of_conll(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(CONLL)
    (tmp_path / "a.conllu").write_text(CONLLU, encoding="utf-8")
    assert TextSource(tmp_path / "a.conll!3").tokens == ["eu", "rejects"]
    assert TextSource(tmp_path / "a.conll!6", TextConfig(lower=False)).tokens == ["Peter"]
    assert TextSource(tmp_path / "a.conllu!3").tokens == ["vamos", "nos", "."]
    assert "begin in line 4, none does" in reason(tmp_path / "a.conll!4")
    assert "data.text.tokens must be words" in reason(tmp_path / "a.conll!3", TextConfig("characters"))
    (tmp_path / "b.conll").write_text("EU NNP\nrejects\n")
    assert "line 2: expected a word and its label, got 'rejects'" in reason(tmp_path / "b.conll!1")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a system with named pipes")
@pytest.mark.timeout(20)
def test_places_in_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pos")
    (tmp_path / "folder.pos").mkdir()
    for path in (tmp_path / "pipe.pos!1", tmp_path / "folder.pos!1"):
        assert "expected a file, got a folder, a pipe, a socket or a device" in reason(path)
    assert "No such file" in reason(tmp_path / "absent.csv!text!2")
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\nno json\n')
    assert "line 2: expected one JSON object a line" in reason(tmp_path / "a.jsonl!text!1")


def test_places_in_other_files_are_none_of_text() -> None:
    for path in ("a.pos!12", "b/a.conll!7", "a.csv!review!12", "a.b/c.txt!1"):
        assert reads_text(path), path
    images = (
        "data_batch_1.bin!7",
        "data_batch_1!7",
        "train-images-idx3-ubyte!7",
        "x.idx3-ubyte.gz!7",
        "a.npz!x_train/7",
    )
    for path in (*images, "a.zip!b/7", "train!1000", "knees.v2/train!1000"):
        assert not reads_text(path), path
