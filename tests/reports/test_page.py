"""The page as a reader and a browser get it: whole, closed in itself, and safe whatever a file is called."""

import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from unreel.errors import RunError
from unreel.reports import write

VOID = {"meta", "wbr", "img", "br", "link", "input", "hr", "use", "path"}
TASKS = ["classify", "multilabel", "tag", "multitag", "regress", "caption"]


class Page(HTMLParser):
    """Tags, text and addresses of a page. Raises where a tag is closed that is not the one open."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id" and tag == "section"]
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["title"]):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.mark.parametrize("task", TASKS)
def test_page_is_whole_html_and_fetches_nothing(runs: Callable[[str], Path], task: str) -> None:
    path = write(runs(task))
    page = Page(path)
    assert path.name == "report.html"
    assert not list(path.parent.glob("*.part"))
    assert "http" not in page.source
    assert "url(" not in re.sub(r"url\(#\w+\)", "", page.source)
    assert "@import" not in page.source
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert all(address.startswith(("#", "data:image/")) for address in page.addresses)


@pytest.mark.parametrize("task", TASKS)
def test_anchors_lead_to_sections(runs: Callable[[str], Path], task: str) -> None:
    page = Page(write(runs(task)))
    anchors = re.findall(r'<a href="#([\w-]+)"', page.source)
    assert anchors
    assert set(anchors) <= set(page.ids)


@pytest.mark.parametrize("task", ["classify", "multilabel"])
def test_names_are_escaped(runs: Callable[[str], Path], task: str) -> None:
    page = Page(write(runs(task)))
    assert "<script" not in page.source
    assert "<script>alert('label')</script>" in page.text


def test_classify_page_has_the_numbers(classify_run: Path) -> None:
    text = Page(write(classify_run)).text
    for part in (
        "95.4 %",
        "91.4 – 99.4 %",
        "152 clips",
        "24.3 %",
        "CNN on single frames",
        "99.9 %",
        "2.99.1",
        "batch_size: 16",
    ):
        assert part in text
    assert "The model's interval lies clear of that of every control." in text


def test_sections_of_each_task(runs: Callable[[str], Path]) -> None:
    sections = {task: Page(write(runs(task))).ids for task in TASKS}
    assert {"headline", "curves", "confusion", "per-class", "strips", "config"} <= set(sections["classify"])
    assert {"per-class", "strips"} <= set(sections["multilabel"])
    assert "confusion" not in sections["multilabel"]
    assert {"confusion", "timelines"} <= set(sections["tag"])
    assert {"per-class", "timelines"} <= set(sections["multitag"])
    assert all("strips" not in sections[task] for task in ("tag", "multitag"))
    assert {"scatter", "strips"} <= set(sections["regress"])
    assert "confusion" not in sections["regress"]
    assert {"headline", "curves", "captions", "gallery"} <= set(sections["caption"])
    assert not {"strips", "confusion"} & set(sections["caption"])
    assert all("gallery" not in sections[task] for task in TASKS if task != "caption")


@pytest.mark.parametrize(
    "name",
    [
        "versions.json", "labels.json", "model.txt", "history.csv", "left_out.csv", "manifest.csv", "data.json",
        "metrics.json", "predictions.jsonl", "config.yaml",
    ],
)  # fmt: skip
def test_any_one_file_may_be_missing(classify_run: Path, name: str) -> None:
    (classify_run / name).unlink(missing_ok=True)
    assert "config" in Page(write(classify_run)).ids


def test_only_a_configuration_is_enough(classify_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "young"
    run.mkdir()
    shutil.copy(classify_run / "config.yaml", run)
    assert Page(write(run)).ids == ["config"]


def test_a_run_without_test_side_shows_validation_and_says_so(classify_run: Path) -> None:
    (classify_run / "metrics.json").write_text(
        '{"task": "classify", "monitor": "val_accuracy", "val": {"accuracy": 0.75}}'
    )
    text = Page(write(classify_run)).text
    assert "75.0 %" in text
    assert "too good" in text


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="expected a run folder"):
        write(tmp_path)


@pytest.mark.parametrize("name", ["metrics.json", "predictions.jsonl", "config.yaml"])
def test_a_torn_file_is_named(classify_run: Path, name: str) -> None:
    (classify_run / name).write_text('{"task": [')
    with pytest.raises(RunError, match=name):
        write(classify_run)


def test_the_same_run_gives_the_same_page(classify_run: Path) -> None:
    assert write(classify_run).read_bytes() == write(classify_run).read_bytes()
