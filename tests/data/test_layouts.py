"""MRNet's folders: labels, official sides, what is missing or mistyped."""

from pathlib import Path

import numpy as np
import pytest

from made_scans import write_mrnet
from unreel.data import ManifestConfig, SplitConfig, load, scan, split
from unreel.errors import ManifestError


def test_mrnet_has_a_label_for_each_table(tmp_path: Path) -> None:
    manifest = load(write_mrnet(tmp_path))
    labels = {example.path: example.labels for example in manifest.examples}
    assert labels["train!0000"] == ("acl",)
    assert labels["train!0001"] == ("abnormal", "acl")
    assert len(labels) == 6 + 3
    assert not scan(manifest, workers=1).unreadable


def test_one_of_mrnets_labels_is_two_classes(tmp_path: Path) -> None:
    root = write_mrnet(tmp_path)
    labels = [example.labels for example in load(root, ManifestConfig(label_column="abnormal")).examples]
    assert labels[:3] == [("no abnormal",), ("abnormal",), ("no abnormal",)]
    with pytest.raises(ManifestError, match=r"train-meniscus\.csv .* the labels of train are abnormal, acl"):
        load(root, ManifestConfig(label_column="meniscus"))


def test_mrnets_valid_side_is_measured_on_and_validation_comes_from_train(tmp_path: Path) -> None:
    root = write_mrnet(tmp_path, exams=12)
    splits = split(load(root, ManifestConfig(label_column="abnormal")), SplitConfig(val=0.25))
    assert {example.path.split("!")[0] for example in splits.test} == {"valid"}
    assert {example.path.split("!")[0] for example in (*splits.train, *splits.val)} == {"train"}
    assert len(splits.val) == 3
    (root / "valid").rename(root / "val")
    for table in root.glob("valid-*.csv"):
        table.rename(table.with_name(table.name.replace("valid", "val")))
    write_mrnet(tmp_path / "more")
    (tmp_path / "more" / "valid").rename(root / "test")
    for table in (tmp_path / "more").glob("valid-*.csv"):
        table.rename(root / table.name.replace("valid", "test"))
    sides = {example.path.split("!")[0]: example.split for example in load(root).examples}
    assert sides == {"train": "train", "val": "val", "test": "test"}


def test_what_mrnet_lacks_is_listed(tmp_path: Path) -> None:
    root = write_mrnet(tmp_path)
    with (root / "train-acl.csv").open("a") as file:
        file.write("0099,1\n")
    with (root / "train-abnormal.csv").open("a") as file:
        file.write("0099,1\n")
    np.save(root / "train" / "axial" / "0050.npy", np.zeros((2, 4, 4)))
    broken = load(root).broken
    assert broken.keys() == {"train!0050", "train!0099"}
    assert "expected 0099.npy in one of axial" in broken["train!0099"]
    assert "expected a row for 0050 in train-abnormal.csv, train-acl.csv" in broken["train!0050"]
    for row, said in (("0000;1", "an exam and 0 or 1"), ("0000,2", "an exam and 0 or 1"), ("0000,1\n0000,1", "twice")):
        (root / "train-acl.csv").write_text(row + "\n")
        with pytest.raises(ManifestError, match=said):
            load(root)
    for table in root.glob("valid-*.csv"):
        table.unlink()
    with pytest.raises(ManifestError, match=r"such as valid-abnormal\.csv"):
        load(root)
    (root / "train-acl.csv").write_text("exam,label\n0001,1\n")  # with a header
    for table in (root / "train-abnormal.csv", root / "train-acl.csv"):
        table.write_text("exam,label\n7777,1\n")
    for label in ("abnormal", "acl"):
        (root / f"valid-{label}.csv").write_text("7777,1\n")
    with pytest.raises(ManifestError, match="expected exams with labels, none of"):
        load(root)
