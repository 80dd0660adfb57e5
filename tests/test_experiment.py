"""The road of an experiment, as far as it can be walked without training; `end_to_end/` walks it whole."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from unreel.config import DataConfig, RunConfig
from unreel.experiment import settled
from unreel.models import CaptionerConfig
from unreel.tokens import TextConfig


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        (TextConfig(), "ptb"),
        (TextConfig(min_count=5, max_length=20), "ptb"),
        (TextConfig(rule="unicode"), "unicode"),
        (TextConfig(rule="kim", min_count=5), "kim"),
    ],
)
def test_captions_are_read_as_their_measures_read_them_unless_asked(
    tmp_path: Path, asked: TextConfig, rule: str
) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "captions.csv").write_text("path,caption\na.png,A dog runs.\n")
    config = RunConfig(
        task="caption", model=CaptionerConfig(), data=DataConfig(str(tmp_path / "captions.csv"), text=asked)
    )
    assert settled(config, Console(quiet=True)).data.text == replace(asked, rule=rule)
