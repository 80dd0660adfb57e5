"""Published captions: each format with its pictures, its sides, and what is broken in it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from unreel.data import Manifest, ManifestConfig, load, split
from unreel.errors import LeakError, ManifestError


def put(root: Path, *names: str) -> None:
    """Files that are looked for and never opened, each of its own content."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def say(root: Path, name: str, content: Any) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def told(manifest: Manifest) -> dict[str, tuple[str | None, tuple[str, ...]]]:
    assert manifest.captions
    return {example.path: (example.split, example.labels) for example in manifest.examples}


def coco(captions: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    images = [{"id": number, "file_name": name} for number, name in enumerate(captions, start=7)]
    annotations = [
        {"id": 1, "image_id": image["id"], "caption": caption}
        for image in images
        for caption in captions[image["file_name"]]
    ]
    return {"info": {}, "images": images, "licenses": [], "annotations": annotations[::-1]}


def test_coco_beside_its_pictures(tmp_path: Path) -> None:
    put(tmp_path, "images/a.jpg", "images/b.jpg", "images/d.jpg")
    content = coco({"a.jpg": ["A dog.\n", "Dogs; two"], "b.jpg": [], "c.jpg": ["gone"], "d.jpg": ["", "猫"]})
    content["annotations"].append({"image_id": 99, "caption": "of nothing"})
    file = say(tmp_path, "captions.json", content)
    for manifest in (load(file), load(tmp_path)):
        assert manifest.root == tmp_path
        assert told(manifest) == {"images/a.jpg": (None, ("Dogs; two", "A dog.")), "images/d.jpg": (None, ("猫",))}
        assert manifest.empty == 1
        assert manifest.broken == {
            "image_id 99": "expected an image of this id, there is none for 1 captions",
            "images/b.jpg": "expected a caption, found none",
            "c.jpg": "expected this picture or film beside its captions or in a folder there, there is none",
        }


def test_the_folders_of_coco(tmp_path: Path) -> None:
    put(tmp_path, "train2014/COCO_train2014_1.jpg", "val2014/COCO_val2014_2.jpg")
    first = say(tmp_path, "annotations/captions_train2014.json", coco({"COCO_train2014_1.jpg": ["A dog"]}))
    say(tmp_path, "annotations/captions_val2014.json", coco({"COCO_val2014_2.jpg": ["A cat"]}))
    say(tmp_path, "annotations/instances_val2014.json", {"images": [], "annotations": [{"bbox": []}]})
    assert told(load(tmp_path)) == {
        "train2014/COCO_train2014_1.jpg": ("train", ("A dog",)),
        "val2014/COCO_val2014_2.jpg": ("test", ("A cat",)),
    }
    alone = load(first)
    assert (alone.root / alone.examples[0].path).is_file()
    assert [example.split for example in alone.examples] == [None]


def test_karpathy(tmp_path: Path) -> None:
    put(tmp_path, "val2014/COCO_val2014_1.jpg", "val2014/x.jpg", "train2014/x.jpg", "train2014/3.jpg")
    images = [
        {
            "filepath": "val2014",
            "filename": "COCO_val2014_1.jpg",
            "split": "test",
            "sentences": [{"raw": "A; dog.", "tokens": ["a"]}],
        },
        {"filepath": "train2014", "filename": "x.jpg", "split": "restval", "sentences": [{"raw": "B"}, {"raw": "C"}]},
        {"filename": "3.jpg", "split": "val", "sentences": [{"raw": "D"}]},
    ]
    say(tmp_path, "dataset_coco.json", {"images": images, "dataset": "coco"})
    assert told(load(tmp_path)) == {
        "val2014/COCO_val2014_1.jpg": ("test", ("A; dog.",)),
        "train2014/x.jpg": ("train", ("B", "C")),
        "train2014/3.jpg": ("val", ("D",)),
    }


TABLES = {
    "captions.csv": 'image,caption\na.jpg,"A dog , \n running ."\nb.jpg,"Say ""cat"""\na.jpg,One, two; three\n',
    "captions.txt": 'image,caption\na.jpg,"A dog , \n running ."\nb.jpg,"Say ""cat"""\na.jpg,One, two; three\n',
    "flickr.csv": (
        'image_name,comment_number,comment\na.jpg,0,"A dog , \n running ."\nb.jpg,0,"Say ""cat"""\n'
        "a.jpg,1, One, two; three\n"
    ),
    "Flickr8k.token.txt": 'a.jpg#0\tA dog , running .\nb.jpg#0\tSay "cat"\na.jpg#1\tOne, two; three\n',
    "results_20130124.token": 'a.jpg#0\tA dog , running .\nb.jpg#0\tSay "cat"\na.jpg#1\tOne, two; three\n',
    "results.csv": (
        "image_name| comment_number| comment\na.jpg| 0| A dog , running .\n"
        'b.jpg| 0   Say "cat"\na.jpg| 1| One, two; three\n'
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_flickr(tmp_path: Path, name: str) -> None:
    put(tmp_path, "Images/a.jpg", "Images/b.jpg", "Images/c.jpg")
    file = say(tmp_path, name, TABLES[name])
    for path in (tmp_path, file):
        found = told(load(path))
        assert {key: tuple(" ".join(one.split()) for one in captions) for key, (_, captions) in found.items()} == {
            "Images/a.jpg": ("A dog , running .", "One, two; three"),
            "Images/b.jpg": ('Say "cat"',),
        }


def flickr_with_lists(root: Path, **lists: str) -> None:
    put(root, *(f"images/{name}.jpg" for name in "abcd"))
    say(root, "captions.csv", "image,caption\n" + "".join(f"{name}.jpg,It is {name}\n" for name in "abcd"))
    for side, names in lists.items():
        say(root, f"Flickr_8k.{side}Images.txt", "".join(f"{name}.jpg\n" for name in names))


def test_published_lists_are_the_split(tmp_path: Path) -> None:
    flickr_with_lists(tmp_path, train="a", dev="b", test="cx")
    say(tmp_path, "readme_test.txt", "Nothing of this is a name.\n")
    manifest = load(tmp_path)
    assert {path: side for path, (side, _) in told(manifest).items()} == {
        "images/a.jpg": "train",
        "images/b.jpg": "val",
        "images/c.jpg": "test",
    }
    assert set(manifest.broken) == {"d.jpg", "x.jpg"}
    assert "none of Flickr_8k.devImages.txt, Flickr_8k.testImages.txt" in manifest.broken["d.jpg"]


def test_a_name_in_two_lists_is_refused(tmp_path: Path) -> None:
    flickr_with_lists(tmp_path, train="ab", test="bc")
    with pytest.raises(ManifestError, match=r"trainImages.txt: expected each name on one side, b.jpg"):
        load(tmp_path)


def test_the_same_picture_on_two_sides_of_the_lists_is_a_leak(tmp_path: Path) -> None:
    flickr_with_lists(tmp_path, train="ab", dev="c", test="d")
    (tmp_path / "images/d.jpg").write_text("images/a.jpg")  # what a.jpg holds
    with pytest.raises(LeakError, match=r"images/a.jpg \(train\) = images/d.jpg \(test\)"):
        split(load(tmp_path))


MSVD = (
    "VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description\n"
    "mv89psg6zh4,33,46,588702,unverified,55,English,A bird; bathing.\n"
    "mv89psg6zh4,33,46,588702,unverified,55,Slovene,Papagaj se umiva.\n"
    'mv89psg6zh4,33,46,588702,clean,55,English,"A parakeet, wet"\n'
    "-4wsuPCjDBc,5,15,588702,clean,55,English,\n"
    "mv89psg6zh4,60,70,588702,clean,55,English,A bird sings\n"
    "mv89psg6zh4,60\n"
)


def test_msvd_as_a_table(tmp_path: Path) -> None:
    put(
        tmp_path,
        *(f"YouTubeClips/{name}.avi" for name in ("mv89psg6zh4_33_46", "mv89psg6zh4_60_70", "-4wsuPCjDBc_5_15")),
    )
    file = say(tmp_path, "MSR Video Description Corpus.csv", MSVD)
    manifest = load(tmp_path)
    assert told(manifest) == {
        "YouTubeClips/mv89psg6zh4_33_46.avi": (None, ("A bird; bathing.", "A parakeet, wet")),
        "YouTubeClips/mv89psg6zh4_60_70.avi": (None, ("A bird sings",)),
    }
    assert [example.group for example in manifest.examples] == ["mv89psg6zh4"] * 2, "cut from one film"
    assert manifest.broken == {
        "YouTubeClips/-4wsuPCjDBc_5_15.avi": "expected a caption, found 1 empty",
        f"{file.name}, line 7": "expected cells for Description, End, Language, found none",
    }
    assert len(load(file, ManifestConfig(language=None)).examples[0].labels) == 3
    assert load(file, ManifestConfig(language="Slovene")).examples[0].labels == ("Papagaj se umiva.",)
    with pytest.raises(ManifestError, match="captions in 'english', the languages are English, Slovene"):
        load(file, ManifestConfig(language="english"))


def test_msvd_as_lines_with_lists(tmp_path: Path) -> None:
    put(tmp_path, "clips/mv89psg6zh4_33_46.mp4", "clips/-4wsuPCjDBc_5_15.mp4")
    lines = (
        "# a comment\n\nmv89psg6zh4_33_46 a bird\nnonsense\n-4wsuPCjDBc_5_15 a squirrel\nmv89psg6zh4_33_46 a parakeet\n"
    )
    say(tmp_path, "AllVideoDescriptions.txt", lines)
    say(tmp_path, "train_list.txt", "mv89psg6zh4_33_46\n")
    say(tmp_path, "test_list.txt", "-4wsuPCjDBc_5_15.avi\n")
    manifest = load(tmp_path)
    assert told(manifest) == {
        "clips/mv89psg6zh4_33_46.mp4": ("train", ("a bird", "a parakeet")),
        "clips/-4wsuPCjDBc_5_15.mp4": ("test", ("a squirrel",)),
    }
    assert [example.group for example in manifest.examples] == [None, None], "what is published stays as it is"
    assert list(manifest.broken) == ["AllVideoDescriptions.txt, line 4"]


def msr_vtt(**sides: str) -> dict[str, Any]:
    return {
        "info": {},
        "videos": [{"video_id": name, "split": side, "start time": 1.0} for name, side in sides.items()],
        "sentences": [{"caption": f"{name} plays", "video_id": name, "sen_id": 0} for name in sides],
    }


def test_msr_vtt_in_two_files_films_and_folders_of_frames(tmp_path: Path) -> None:
    put(
        tmp_path,
        "videos/video0.mp4",
        "videos/video0.wav",
        "videos/video1.mp4",
        "videos/video2/1.png",
        "videos/video2/2.png",
    )
    say(tmp_path, "train_val_videodatainfo.json", msr_vtt(video0="train", video1="validate"))
    say(tmp_path, "test_videodatainfo.json", msr_vtt(video2="test"))
    assert told(load(tmp_path)) == {
        "videos/video2": ("test", ("video2 plays",)),
        "videos/video0.mp4": ("train", ("video0 plays",)),
        "videos/video1.mp4": ("val", ("video1 plays",)),
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", {"images": [], "annotations": [{"bbox": []}]}, "this JSON holds something else"),
        ("a.json", [1], "this JSON holds something else"),
        ("a.json", '{"caption": ', "this JSON is broken"),
        ("a.json", {"images": [{"id": 1}], "annotations": [{"caption": "x", "image_id": 1}]}, "lacks .* 'file_name'"),
        ("a.json", {"images": [{"filename": "a", "split": "tset", "sentences": []}]}, "split must be one of"),
        ("a.json", coco({"x.jpg": ["y"]}), "none of 1 can be used: x.jpg: expected this picture"),
        ("a.csv", "image,caption\nx.jpg,y\n", "none of 1 can be used"),
    ],
)
def test_what_cannot_be_understood_is_refused(tmp_path: Path, name: str, content: Any, message: str) -> None:
    path = say(tmp_path, name, content)
    with pytest.raises(ManifestError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_two_files_of_captions_are_not_guessed_between(tmp_path: Path) -> None:
    flickr_with_lists(tmp_path)
    say(tmp_path, "Flickr8k.token.txt", "a.jpg#0\tIt is a\n")
    with pytest.raises(ManifestError, match=r"found Flickr8k.token.txt, captions.csv: name one"):
        load(tmp_path)


def test_a_picture_in_two_folders_is_left_out(tmp_path: Path) -> None:
    flickr_with_lists(tmp_path)
    put(tmp_path, "small/a.jpg")
    assert load(tmp_path).broken == {"a.jpg": "expected one file of this name, there are some in images, small"}


def test_other_folders_are_what_they_were(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg", "dog/1.jpg")
    say(tmp_path, "about.json", {"caption": "nothing"})
    assert not load(tmp_path).captions
