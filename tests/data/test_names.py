"""What names of files say: labels, groups, sides; what they do not say, and what is refused."""

from pathlib import Path

import pytest

from unreel.data.folders import load
from unreel.data.manifest import Example, Manifest, ManifestConfig
from unreel.data.names import named
from unreel.errors import ConfigError, ManifestError

DIGITS = r"(?P<label>\d)_(?P<group>[a-z]+)_\d+\.wav"
OFFICIAL = r"(?P<label>\d)_[a-z]+_(?:(?P<test>[0-4])|\d+)\.wav$"


def of(*paths: str, pattern: str | None) -> Manifest:
    return named(Manifest(Path(), tuple(map(Example, paths))), pattern)


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_label_and_group() -> None:
    found = of("3_anna_17.wav", "in/4_ben_0.wav", pattern=DIGITS).examples
    assert found == (
        Example("3_anna_17.wav", ("3",), group="anna"),
        Example("in/4_ben_0.wav", ("4",), group="ben"),
    )


def test_a_side_that_is_named_by_its_own_group() -> None:
    found = of("3_anna_0.wav", "3_anna_4.wav", "3_anna_5.wav", "3_anna_40.wav", pattern=OFFICIAL).examples
    assert [(example.labels, example.split, example.group) for example in found] == [
        (("3",), "test", None),
        (("3",), "test", None),
        (("3",), "train", None),
        (("3",), "train", None),
    ]
    sides = of("a1.wav", "b1.wav", "c1.wav", pattern=r"(?P<val>a)|(?P<train>b)|(?P<test>c)").examples
    assert [example.split for example in sides] == ["val", "train", "test"]


def test_a_side_that_is_written_out() -> None:
    found = of("x_dev_1.wav", "x_Training_2.wav", pattern="_(?P<split>[A-Za-z]+)_").examples
    assert [example.split for example in found] == ["val", "train"]
    with pytest.raises(ManifestError, match=r"x_other_1\.wav: split must be one of .*'other'"):
        of("x_other_1.wav", pattern="_(?P<split>[a-z]+)_")


def test_what_is_not_asked_for_stays() -> None:
    before = Manifest(Path(), (Example("cat/anna_1.wav", ("cat",), split="test"),))
    assert named(before, None) is before
    assert named(before, "(?P<group>[a-z]+)_").examples == (
        Example("cat/anna_1.wav", ("cat",), group="anna", split="test"),
    )


def test_names_without_the_pattern_are_listed() -> None:
    manifest = of("3_anna_1.wav", "noise.wav", pattern=DIGITS)
    assert [example.path for example in manifest.examples] == ["3_anna_1.wav"]
    assert list(manifest.broken) == ["noise.wav"]
    assert "the pattern" in manifest.broken["noise.wav"]
    with pytest.raises(ManifestError, match=r"found in none of 2 paths, for instance not in 'a\.wav'"):
        of("a.wav", "b.wav", pattern=DIGITS)


def test_a_folder_of_files_without_class_folders(tmp_path: Path) -> None:
    files(tmp_path, "1_anna_0.wav", "2_anna_0.wav", "deep/1_ben_7.wav", "noise.wav", "readme.txt")
    manifest = load(tmp_path, ManifestConfig(pattern=DIGITS))
    assert [(example.path, example.labels, example.group) for example in manifest.examples] == [
        ("1_anna_0.wav", ("1",), "anna"),
        ("2_anna_0.wav", ("2",), "anna"),
        ("deep/1_ben_7.wav", ("1",), "ben"),
    ]
    assert list(manifest.broken) == ["noise.wav"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match="none among 0"):
        load(tmp_path / "empty", ManifestConfig(pattern=DIGITS))


def test_class_folders_and_tables_keep_their_labels(tmp_path: Path) -> None:
    folders = files(tmp_path / "folders", "cat/anna_1.wav", "dog/ben_2.wav")
    manifest = load(folders, ManifestConfig(pattern=r"/(?P<group>[a-z]+)_"))
    assert [(example.labels, example.group) for example in manifest.examples] == [(("cat",), "anna"), (("dog",), "ben")]
    table = tmp_path / "table.csv"
    table.write_text("path,label\nanna_1.wav,cat\nben_2.wav,dog\n")
    manifest = load(table, ManifestConfig(pattern="(?P<group>[a-z]+)_"))
    assert [(example.labels, example.group) for example in manifest.examples] == [(("cat",), "anna"), (("dog",), "ben")]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pattern": "(?P<label>"}, "pattern must be a regular expression"),
        ({"pattern": r"(\d)_"}, "pattern must have groups named as some of label, group, split"),
        ({"pattern": r"(?P<digit>\d)_"}, "has digit"),
        ({"pattern": "(?P<group>a)", "group_from": "a"}, "leave one of them out"),
    ],
)
def test_patterns_that_cannot_be_are_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ManifestConfig(**settings)
