"""Plots in the page: themed, without ids that clash and without anything from outside."""

import re
from pathlib import Path

from unreel.reports.curves import curves
from unreel.reports.figures import MODEL, plain, plot, svg
from unreel.reports.results import read_results
from unreel.reports.scatter import scatter


def small(name: str) -> str:
    figure, axes = plot(height=2)
    axes.plot([0, 1], [0, 1], color=MODEL, label=plain("cost in $ and $"))
    axes.legend()
    return svg(figure, name)


def test_colours_are_variables_of_the_page_and_text_is_text() -> None:
    drawn = small("a line")
    assert "var(--model)" in drawn
    assert not re.search(r"#(0\d)\1\1", drawn)
    assert "cost in $ and $" in drawn
    assert "xmlns" not in drawn
    assert "<metadata" not in drawn


def test_name_is_escaped() -> None:
    assert 'aria-label="&lt;b&gt; &#34;x&#34;"' in small('<b> "x"')


def test_clips_of_two_plots_have_ids_of_their_own() -> None:
    found = [set(re.findall(r'<clipPath id="(\w+)"', small(name))) for name in ("one", "two")]
    assert found[0]
    assert not found[0] & found[1]


def test_curves_show_losses_measure_and_rate_with_the_best_epoch(classify_run: Path) -> None:
    drawn = curves(read_results(classify_run))
    names = ["Loss over the epochs", "Accuracy on validation over the epochs", "Learning rate over the epochs"]
    assert re.findall(r'aria-label="([^"]+)"', "".join(drawn)) == names
    assert all("best epoch 7" in each for each in drawn)


def test_curves_of_a_run_without_a_measure(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("epoch,train_loss\n0,1.0\n")
    assert len(curves(read_results(tmp_path))) == 1
    (tmp_path / "history.csv").write_text("epoch,train_loss\n")
    assert curves(read_results(tmp_path)) == []


def test_scatter_has_a_dot_for_each_clip(regress_run: Path) -> None:
    drawn = scatter(read_results(regress_run))
    assert len(drawn) == 4
    assert drawn[0].count('style="fill: var(--model); fill-opacity: 0.6"') >= 60
