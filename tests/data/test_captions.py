"""Captions in tables: how rows are joined, what is kept as it was written, what is dropped, what is refused."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unreel.config import DataConfig, RunConfig
from unreel.data import Example, Manifest, ManifestConfig, SplitConfig, load, read_manifest, split, write_manifest
from unreel.data.captions import says, with_captions
from unreel.errors import ManifestError
from unreel.runs import Run

HARD = (
    "Two dogs; one ball",
    '["not", "a list"',
    '[man] says "hello", twice',
    "first line\nsecond line\r\nthird",
    "狗在雪地里跑",
    "Ένας σκύλος τρέχει",
    "dog",
    "7",
    " ".join(["word"] * 200),
    "Two dogs; one ball",
)


def table(folder: Path, text: str, name: str = "manifest.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_rows_of_one_path_are_joined_in_their_order(tmp_path: Path) -> None:
    text = "path,caption,split\na.jpg,Two dogs; one ball,train\nb.jpg, A cat. ,val\na.jpg,Dogs play,train\n"
    manifest = read_manifest(table(tmp_path, text))
    assert manifest.captions
    assert manifest.examples == (
        Example("a.jpg", ("Two dogs; one ball", "Dogs play"), split="train"),
        Example("b.jpg", ("A cat.",), split="val"),
    )


def test_a_caption_that_two_people_wrote_stands_there_twice(tmp_path: Path) -> None:
    (example,) = read_manifest(table(tmp_path, "path,caption\na.jpg,A dog\na.jpg,A dog\n")).examples
    assert example.labels == ("A dog", "A dog")


def test_parts_of_a_film_have_captions_of_their_own(tmp_path: Path) -> None:
    text = "path,start,end,caption\na.mp4,0,2,A dog\na.mp4,2,4,A cat\na.mp4,0,2,It runs\n"
    examples = read_manifest(table(tmp_path, text)).examples
    assert [(one.start, one.labels) for one in examples] == [(0.0, ("A dog", "It runs")), (2.0, ("A cat",))]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", 'path,captions\na.jpg,"[""A; b"", ""[c] d""]"\nb.jpg,A; b\n'),
        ("m.jsonl", '{"path": "a.jpg", "captions": ["A; b", "[c] d"]}\n{"path": "b.jpg", "captions": "A; b"}\n'),
        ("m.jsonl", '{"path": "a.jpg", "caption": ["A; b", "[c] d"]}\n{"path": "b.jpg", "caption": "A; b"}\n'),
    ],
)
def test_a_list_of_captions_in_one_cell(tmp_path: Path, name: str, text: str) -> None:
    examples = read_manifest(table(tmp_path, text, name)).examples
    assert [one.labels for one in examples] == [("A; b", "[c] d"), ("A; b",)]


def test_brackets_in_the_column_of_one_caption_are_text(tmp_path: Path) -> None:
    (example,) = read_manifest(table(tmp_path, 'path,caption\na.jpg,"[""a""]"\n')).examples
    assert example.labels == ('["a"]',)


def test_the_column_may_be_named_and_labels_come_first(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label,caption,told\na.jpg,cat,A cat; asleep,It lies\n")
    assert read_manifest(path).examples[0].labels == ("cat",)
    assert not read_manifest(path).captions
    named = read_manifest(path, ManifestConfig(caption_column="caption"))
    assert named.captions
    assert named.examples[0].labels == ("A cat; asleep",)
    assert read_manifest(path, ManifestConfig(caption_column="told")).examples[0].labels == ("It lies",)


def test_the_label_column_keeps_its_meaning(tmp_path: Path) -> None:
    path = table(tmp_path, "path,class,caption\na.jpg,cat,A cat\n")
    assert read_manifest(path, ManifestConfig(label_column="class")).examples[0].labels == ("cat",)
    with pytest.raises(ManifestError, match="expected a column 'kind'"):
        read_manifest(path, ManifestConfig(label_column="kind"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,captoin\na,b\n", "did you mean 'caption' where the table says 'captoin'"),
        ("path,Captions\na,b\n", "did you mean 'caption' where the table says 'Captions'"),
        ("pth,caption\na,b\n", "did you mean 'path' where the table says 'pth'"),
        ("path,caption\na,Dogs, cats\n", "line 2: expected 2 cells .* put cells that hold the separator in quotes"),
        ("path,captions\na,[b\n", "line 2: captions in brackets must be a JSON list"),
        ('path,captions\na,"[[1], 2]"\n', "line 2: a caption must be text"),
        ("path,caption,split\na,b,train\na,c,test\n", "captions of one clip need one split, those of 'a' have"),
        ("path,caption,group\na,b,x\na,c,\n", "captions of one clip need one group, those of 'a' have"),
    ],
)
def test_what_cannot_be_understood_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_manifest(table(tmp_path, text))


def test_a_named_column_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"column 'sentence', found .* did you mean 'sentence' where .* 'sentense'"):
        read_manifest(table(tmp_path, "path,sentense\na,b\n"), ManifestConfig(caption_column="sentence"))


def test_empty_captions_are_dropped_and_counted_and_a_clip_without_any_is_left_out(tmp_path: Path) -> None:
    text = "path,caption\na.jpg,A dog\na.jpg,\na.jpg, . \nb.jpg,\nb.jpg,--\nc.jpg,ja\n"
    manifest = read_manifest(table(tmp_path, text))
    assert [(one.path, one.labels) for one in manifest.examples] == [("a.jpg", ("A dog",)), ("c.jpg", ("ja",))]
    assert manifest.broken == {"b.jpg": "expected a caption, found 2 empty"}
    assert manifest.empty == 4


def test_half_a_character_is_no_caption() -> None:
    assert not says("\ud800 dog")
    assert says("犬")
    assert not says("…!")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("captions", [HARD, *((one,) for one in HARD)])
def test_captions_are_written_and_read_again(tmp_path: Path, suffix: str, captions: tuple[str, ...]) -> None:
    manifest = Manifest(tmp_path, (Example("a.jpg", captions), Example("b.jpg", ("b",))), captions=True)
    write_manifest(manifest, tmp_path / f"manifest{suffix}")
    assert read_manifest(tmp_path / f"manifest{suffix}") == manifest


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.text(max_size=12).map(str.strip).filter(says), min_size=1, max_size=3), min_size=1))
def test_whatever_is_written_is_read_again(several: list[list[str]]) -> None:
    examples = tuple(Example(f"{number}.jpg", tuple(captions)) for number, captions in enumerate(several))
    with TemporaryDirectory() as folder:
        manifest = Manifest(Path(folder), examples, captions=True)
        write_manifest(manifest, Path(folder, "manifest.csv"))
        assert read_manifest(Path(folder, "manifest.csv")) == manifest


def test_a_run_keeps_captions_as_captions(tmp_path: Path) -> None:
    examples = tuple(Example(f"{number}.jpg", (HARD[number],)) for number in range(6))
    manifest = Manifest(tmp_path, examples, captions=True)
    run = Run.create(tmp_path / "run", RunConfig(data=DataConfig(str(tmp_path))), ["x"], (3, 8, 8))
    splits = split(manifest, SplitConfig(val=0.2, test=0.2))  # 5 groups, and captions that no side shares
    run.write_splits(manifest, splits)
    assert run.splits() == splits
    assert load(run.folder).captions


def test_labels_of_captions_are_no_classes_of_a_split(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(bytes([number]))
    examples = tuple(
        Example(f"{n}.jpg", (f"word {n}",), split=s) for n, s in enumerate(("train", "train", "val", "test"))
    )
    manifest = with_captions(tmp_path, examples)
    assert [len(side) for side in split(manifest)] == [2, 1, 1]
    with pytest.raises(ManifestError, match="of every label"):
        split(replace(manifest, captions=False))
