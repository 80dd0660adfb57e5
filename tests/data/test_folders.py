"""Class folders, on disk and in a zip, and whatever else may be given as data."""

import re
import zipfile
from pathlib import Path

import pytest

from unreel.data.folders import from_folders, load
from unreel.data.manifest import Example, ManifestConfig
from unreel.errors import ManifestError


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def zipped(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


NAMES = ("cat/1.mp4", "cat/deep/er/2.mp4", "cat/frames/1.png", "cat/frames/2.png", "dog/3.jpg", "dog/4.jpg")
CLIPS = (
    Example("cat/1.mp4", ("cat",)),
    Example("cat/deep/er/2.mp4", ("cat",)),
    Example("cat/frames", ("cat",)),
    Example("dog/3.jpg", ("dog",)),
    Example("dog/4.jpg", ("dog",)),
)


def test_class_folders(tmp_path: Path) -> None:
    make(tmp_path, *NAMES, "LICENSE", "cat/.DS_Store", ".git/x", "dog/Thumbs.db")
    manifest = from_folders(tmp_path)
    assert (manifest.root, manifest.examples, manifest.classes) == (tmp_path, CLIPS, ("cat", "dog"))


@pytest.mark.parametrize("wrapper", ["", "dataset-main/"])
def test_class_folders_in_a_zip(tmp_path: Path, wrapper: str) -> None:
    names = [wrapper + name for name in ("cat/1.png", "cat/frames/1.png", "dog/3.jpg", "dog/b/4.jpg")]
    manifest = from_folders(zipped(tmp_path / "all.zip", *names, "__MACOSX/cat/._1.png"))
    assert manifest.root == tmp_path
    assert [(example.path, example.labels) for example in manifest.examples] == [
        (f"all.zip!{wrapper}cat/1.png", ("cat",)),
        (f"all.zip!{wrapper}cat/frames", ("cat",)),
        (f"all.zip!{wrapper}dog/3.jpg", ("dog",)),
        (f"all.zip!{wrapper}dog/b", ("dog",)),
    ]


def test_outer_folders_of_a_split(tmp_path: Path) -> None:
    make(tmp_path, "Train/cat/1.mp4", "Train/dog/2.mp4", "valid/cat/3.mp4", "test/dog/4.mp4")
    found = [(example.path, example.labels, example.split) for example in from_folders(tmp_path).examples]
    assert found == [
        ("Train/cat/1.mp4", ("cat",), "train"),
        ("Train/dog/2.mp4", ("dog",), "train"),
        ("test/dog/4.mp4", ("dog",), "test"),
        ("valid/cat/3.mp4", ("cat",), "val"),
    ]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    make(tmp_path, "train/1.mp4", "plane/2.mp4")
    assert from_folders(tmp_path).classes == ("plane", "train")


def test_a_folder_of_clips_needs_no_classes_where_labels_are_not_asked_for(tmp_path: Path) -> None:
    make(tmp_path, "b.mp4", "a.mp4", "notes.txt")
    found = load(tmp_path, labelled=False)
    assert [(example.path, example.labels) for example in found.examples] == [("a.mp4", ()), ("b.mp4", ())]
    with pytest.raises(ManifestError, match="no folder"):
        load(tmp_path)
    make(tmp_path, "normal/c.mp4")
    assert load(tmp_path, labelled=False).classes == ("normal",)


def test_what_is_no_class_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="found no files"):
        from_folders(tmp_path)
    make(tmp_path, "a.mp4")
    with pytest.raises(ManifestError, match=r"found 1 files and no folder: make a folder for each class$"):
        from_folders(tmp_path)
    make(tmp_path / "table", "a.mp4", "list.csv")
    with pytest.raises(ManifestError, match=r"for each class, or name the table: .*table.list\.csv$"):
        from_folders(tmp_path / "table")
    with pytest.raises(ManifestError, match="folder or a zip"):
        from_folders(tmp_path / "a.mp4")
    with pytest.raises(ManifestError, match="inside of the folders of a split"):
        from_folders(make(tmp_path / "other", "train/1.mp4", "test/2.mp4"))
    with pytest.warns(UserWarning, match="found one only: 'cat'"):
        from_folders(make(tmp_path / "one", "cat/1.mp4"))


def test_load_takes_a_table_before_folders(tmp_path: Path) -> None:
    make(tmp_path, "cat/1.mp4", "dog/2.mp4")
    assert len(load(tmp_path)) == 2
    (tmp_path / "manifest.csv").write_text("path,label\ncat/1.mp4,feline\n")
    assert load(tmp_path).examples == load(tmp_path / "manifest.csv").examples == (Example("cat/1.mp4", ("feline",)),)
    (tmp_path / "manifest.jsonl").write_text('{"path": "x"}')
    with pytest.raises(ManifestError, match="expected one manifest"):
        load(tmp_path)
    with pytest.raises(ManifestError, match="nothing is there"):
        load(tmp_path / "none")


def test_load_groups_folders_and_zips_by_path(tmp_path: Path) -> None:
    names = ("cat/g01_1.png", "dog/g02_1.png")
    config = ManifestConfig(group_from=r"(g\d\d)")
    for path in (make(tmp_path / "disk", *names), zipped(tmp_path / "all.zip", *names)):
        assert [example.group for example in load(path, config).examples] == ["g01", "g02"]
    with pytest.raises(ManifestError, match=re.escape("'(x+)'")):
        load(tmp_path / "disk", ManifestConfig(group_from="(x+)"))
