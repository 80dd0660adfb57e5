"""The examples run, and the README says nothing that the code does not know."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from unreel.cli import SHORT_FLAGS, VERBS
from unreel.config import build_parser
from unreel.inference import intervals
from unreel.models import MODELS

ROOT = Path(__file__).resolve().parents[1]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_layers_of_your_own(capsys: pytest.CaptureFixture[str]) -> None:
    load("layers_of_your_own").main()
    assert "agree" in capsys.readouterr().out


def test_toy_sequence(capsys: pytest.CaptureFixture[str]) -> None:
    load("toy_sequence").main()
    assert "the limit is 0.000822" in capsys.readouterr().out


def test_train_in_python(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 20)
    load("train_in_python").main(tmp_path, clips=40, epochs=1)
    assert "accuracy" in capsys.readouterr().out
    assert (tmp_path / "run" / "report.html").is_file()


def test_captions_of_shapes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 20)
    load("captions_of_shapes").main(tmp_path, pictures=40, epochs=1)
    assert "cider_d" in capsys.readouterr().out
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.parametrize("page", ["README.md", *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md"))])
def test_every_flag_and_verb_in_the_docs_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    parsers = [build_parser("unreel", model) for model in MODELS]
    known = {option for parser in parsers for action in parser._actions for option in action.option_strings}
    known |= {*SHORT_FLAGS, "--out", "--resume", "--print_config", "--plot", "--json", "--rows", "--timelines"}
    known |= {"--split", "--target", "--method", "--most"}
    known |= {"--help", "--text"}
    said = set(
        re.findall(r"(?<![\w-])--[a-z][\w.-]*", "\n".join(re.findall(r"unreel [^\n`]*|\| `--[^|]*|`--[^`]*`", text)))
    )
    assert not said - known
    verbs = set(re.findall(r"(?:^|`)unreel ([a-z]+)", text, flags=re.MULTILINE))
    assert not verbs - set(VERBS)


def test_the_readme_shows_every_file_and_room() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "src" / "unreel").iterdir():
        if not path.name.startswith("_") and path.suffix in ("", ".py"):
            assert f"{path.name}/" in text or path.name in text, path.name
