"""Tables of examples: what is read, what is refused and how, what is written."""

import math
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unreel.data.manifest import (
    Example,
    Manifest,
    ManifestConfig,
    Segment,
    as_segments,
    grouped_by_path,
)
from unreel.data.manifest_files import read_manifest, write_manifest
from unreel.errors import ConfigError, ManifestError


def table(folder: Path, text: str, name: str = "manifest.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_a_table_of_any_separator_is_read(tmp_path: Path, separator: str) -> None:
    text = "path,label,start,end,group,split,view\na.mp4,cat,1,2.5,g1,Training,axial\n\nb.mp4,dog,,,,,\n"
    # a byte order mark, as spreadsheets write it
    manifest = read_manifest(table(tmp_path, "\ufeff" + text.replace(",", separator).replace("Training", "train")))
    assert manifest.root == tmp_path
    assert manifest.examples == (
        Example("a.mp4", ("cat",), start=1.0, end=2.5, group="g1", split="train", view="axial"),
        Example("b.mp4", ("dog",)),
    )
    assert manifest.examples[0].key == "a.mp4@1.0-2.5#axial"


def test_jsonl_is_read(tmp_path: Path) -> None:
    text = '{"path": "a.mp4", "labels": ["x", "y;z"]}\n{"path": "b.mp4", "labels": "x;y", "start": 3}\n'
    first, second = read_manifest(table(tmp_path, text, "m.jsonl")).examples
    assert first.labels == ("x", "y;z")
    assert (second.labels, second.start, second.key) == (("x", "y"), 3.0, "b.mp4@3.0-")


def test_numbers_and_lists_as_labels(tmp_path: Path) -> None:
    assert read_manifest(table(tmp_path, '{"path": "a", "label": 2.5}', "m.jsonl")).examples[0].labels == ("2.5",)
    rows = read_manifest(table(tmp_path, 'path,labels\na,"[""x"", ""y""]"\nb,x; y\nc,\n')).examples
    assert [row.labels for row in rows] == [("x", "y"), ("x", "y"), ()]


def test_names_of_columns_may_be_given(tmp_path: Path) -> None:
    path = table(tmp_path, "path,class,source\na,cat,s1\nb,dog,\n")
    config = ManifestConfig(label_column="class", group_column="source")
    assert [(e.labels, e.group) for e in read_manifest(path, config).examples] == [(("cat",), "s1"), (("dog",), None)]


def test_classes_are_in_natural_order() -> None:
    examples = (Example("a", ("10",)), Example("b", ("2",)), Example("c", segments=(Segment(0, 1, "1"),)))
    assert Manifest(Path(), examples).classes == ("1", "2", "10")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pth,label\na,b\n", "did you mean 'path' where the table says 'pth'"),
        ("path,lable\na,b\n", "did you mean 'label' where the table says 'lable'"),
        ("path,label\n", "at least one row"),
        ("", "at least one row"),
        ("path,label\n,b\n", "line 2: expected a path"),
        ("path,label\na,b,c\n", "line 2: expected 2 cells"),
        ("path,start\na,x\n", "start must be seconds"),
        ("path,start\na,nan\n", "start must be seconds"),
        ("path,start,end\na,2,1\n", "end must be greater"),
        ("path,split\na,tset\n", "split must be one of"),
        ("path,label\na,b\na,c\n", "'a' stands in the manifest twice"),
        ('path,labels\na,"[1, "\n', "JSON list"),
    ],
)
def test_what_cannot_be_understood_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=re.escape(message)):
        read_manifest(table(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "one JSON object a line"), ("[1]", "JSON object, found list"), ('{"path": "a", "label": {}}', "text or a")],
)
def test_bad_jsonl_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_manifest(table(tmp_path, text, "m.jsonl"))


def test_other_faults_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes("path,label\nä,b".encode("latin-1"))
    with pytest.raises(ManifestError, match="UTF-8"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(ManifestError, match="expected a column 'source'"):
        read_manifest(table(tmp_path, "path,label\na,b\n"), ManifestConfig(group_column="source"))
    with pytest.warns(UserWarning, match="did you mean 'group'"):
        read_manifest(table(tmp_path, "path,label,groups\na,b,c\n"))


def test_groups_from_paths() -> None:
    manifest = Manifest(Path(), tuple(Example(path) for path in ("v_g01_c1.avi", "v_g02_c1.avi", "other.avi")))
    assert [e.group for e in grouped_by_path(manifest, r"(g\d\d)").examples] == ["g01", "g02", None]
    assert [e.group for e in grouped_by_path(manifest, r"g\d\d_c\d").examples] == ["g01_c1", "g02_c1", None]
    with pytest.raises(ManifestError, match="found in none of 3 paths"):
        grouped_by_path(manifest, "xyz")
    with pytest.raises(ConfigError, match="regular expression"):
        ManifestConfig(group_from="(")


def test_rows_with_times_become_segments(tmp_path: Path) -> None:
    text = "path,label,start,end,group\na,run,0,1,g\na,jump,1,,g\na,outside,,,g\nb,run,2,3,\n"
    first, second = as_segments(read_manifest(table(tmp_path, text))).examples
    assert first == Example("a", ("outside",), (Segment(0, 1, "run"), Segment(1, math.inf, "jump")), group="g")
    assert second == Example("b", (), (Segment(2, 3, "run"),))
    with pytest.raises(ManifestError, match="one group"):
        as_segments(read_manifest(table(tmp_path, "path,label,start,end,group\na,run,0,1,g\na,run,1,2,h\n")))


def test_several_labels_hold_at_the_same_time(tmp_path: Path) -> None:
    at_once = (Segment(0, 1, "run"), Segment(0, 1, "jump"))
    for text in (
        "path,labels,start,end\na,run;jump,0,1\na,run,2,3\n",
        "path,label,start,end\na,run,0,1\na,run,2,3\na,jump,0,1\n",
    ):
        manifest = as_segments(read_manifest(table(tmp_path, text)))
        assert manifest.examples == (Example("a", (), (*at_once, Segment(2, 3, "run"))),)
        write_manifest(manifest, tmp_path / "again.csv")
        assert as_segments(read_manifest(tmp_path / "again.csv")).examples == manifest.examples
    with pytest.raises(ManifestError, match="twice"):
        read_manifest(table(tmp_path, "path,label,start,end\na,run,0,1\na,run,0,1\n"))


def test_a_time_without_a_label_is_unknown_and_no_class(tmp_path: Path) -> None:
    manifest = as_segments(read_manifest(table(tmp_path, "path,label,start,end\na,run,0,1\na,,1,2\n")))
    assert manifest.examples[0].segments == (Segment(0, 1, "run"), Segment(1, 2, ""))
    assert manifest.classes == ("run",)
    write_manifest(manifest, tmp_path / "again.csv")
    assert as_segments(read_manifest(tmp_path / "again.csv")) == manifest


words = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=6).filter(
    lambda word: word == word.strip() and "\\" not in word
)
seconds = st.none() | st.floats(0, 100)
examples = st.lists(
    st.builds(
        Example,
        path=words,
        labels=st.lists(words, max_size=3).map(tuple),
        start=seconds,
        end=st.none() | st.floats(101, 200),
        group=st.none() | words,
        split=st.none() | st.sampled_from(["train", "val", "test"]),
        view=st.none() | words,
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda example: example.key,
)


@given(examples=examples, suffix=st.sampled_from(["csv", "jsonl"]))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_again(examples: list[Example], suffix: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, f"m.{suffix}")
        manifest = Manifest(path.parent, tuple(examples))
        write_manifest(manifest, path)
        assert read_manifest(path) == manifest


def test_a_name_with_line_ends_is_read_again(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path, (Example("two\nlines\r.mp4", ("a",)), Example("b", ("a",))))
    write_manifest(manifest, tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv") == manifest


def test_segments_are_written_and_read_again(tmp_path: Path) -> None:
    segments = (Segment(0, 1.5, "run"), Segment(1.5, math.inf, "jump"))
    manifest = Manifest(tmp_path, (Example("a", ("rest",), segments, group="g"), Example("b", (), segments[:1])))
    write_manifest(manifest, tmp_path / "m.csv")
    assert as_segments(read_manifest(tmp_path / "m.csv")) == manifest
    assert (tmp_path / "m.csv").read_text().startswith("path,label,start,end,group\n")
