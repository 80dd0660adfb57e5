"""What is read from a run folder, and what is forgiven."""

from pathlib import Path

import pytest

from unreel.errors import RunError
from unreel.reports.results import read_results


def test_cells_without_a_number_are_absent(classify_run: Path) -> None:
    history = read_results(classify_run).history
    assert len(history) == 11
    assert "val_accuracy" in history[2]
    assert "val_accuracy" not in history[3]


@pytest.mark.parametrize("cell", ["nan", "inf", ""])
def test_numbers_that_are_not_finite_are_absent(tmp_path: Path, cell: str) -> None:
    (tmp_path / "history.csv").write_text(f"epoch,val_loss\n0,{cell}\n1,0.5\n")
    assert read_results(tmp_path).history == ({"epoch": 0.0}, {"epoch": 1.0, "val_loss": 0.5})


def test_root_is_the_folder_of_a_manifest_or_the_folder_itself(classify_run: Path, digits: Path) -> None:
    assert read_results(classify_run).data_root == digits
    (classify_run / "config.yaml").write_text(f"data: {{path: {digits}}}")
    assert read_results(classify_run).data_root == digits
    (classify_run / "config.yaml").write_text("data: {}")
    assert read_results(classify_run).data_root is None


def test_a_data_report_that_is_none_is_refused(classify_run: Path) -> None:
    (classify_run / "data.json").write_text('{"files": 3}')
    with pytest.raises(RunError, match="data report"):
        read_results(classify_run)
