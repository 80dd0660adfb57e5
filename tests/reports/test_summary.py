"""The page of several runs."""

import re
from pathlib import Path

import pytest

from unreel.errors import RunError
from unreel.reports import write_summary


def test_summary_has_mean_runs_controls_and_links(several_runs: Path) -> None:
    source = write_summary(several_runs).read_text(encoding="utf-8")
    for part in (
        "89.3 %",
        "87.0 – 91.0 %",
        "mean of 15 runs",
        "69.3 %",
        "fold3-seed2",
        "Macro F1",
        "CNN on single frames",
    ):
        assert part in source
    assert re.findall(r'<a href="([^"]+)"', source) == ["digits-seed0/report.html"]
    assert source.count("<tr><td>") == 15
    assert "http" not in source


def test_one_dot_a_run_and_line(several_runs: Path) -> None:
    source = write_summary(several_runs).read_text(encoding="utf-8")
    dots = source[source.index('aria-label="Accuracy of every run"') :]
    # three lines (model and two controls) of 15 dots; matplotlib places each dot with one <use>, ticks with theirs
    assert len(re.findall(r"<use [^>]*fill: var\(--(?:model|other)\)", dots)) == 45


def test_a_folder_without_summary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"summary\.json"):
        write_summary(tmp_path)
