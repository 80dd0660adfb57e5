"""Page: one run as one self-contained HTML file. No script, no font, no picture is fetched from anywhere.

Each section is made by the file of its name; here they are put together. All text goes through jinja2's escaping: a
file name or a label may say anything.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from unreel.reports.captions import captions, counted
from unreel.reports.confusion import confusion
from unreel.reports.curves import curves
from unreel.reports.data_summary import data_summary
from unreel.reports.explanations import read_explanations
from unreel.reports.gallery import gallery
from unreel.reports.headline import headline
from unreel.reports.per_class import per_class
from unreel.reports.reconstructions import reconstructions
from unreel.reports.results import read_results
from unreel.reports.scatter import scatter
from unreel.reports.sides import sides
from unreel.reports.strips import strips
from unreel.reports.tagged_words import tagged_words
from unreel.reports.timelines import timelines
from unreel.reports.traces import traces

NAME = "report.html"
EXPLANATIONS = "explanations"
"""Folder, inside a run, of the clips that are explained in its report."""


def write(run_folder: Path) -> Path:
    """Write `run_folder/report.html` from the other files of the folder.

    Missing files leave their sections out. Pictures are read from the data that the configuration names; data
    that has gone is replaced by a grey field with the reason.

    Returns:
        The path of the page.

    Raises:
        RunError: the folder is not a run, or a file of it is torn.
    """
    run_folder = Path(run_folder)
    results = read_results(run_folder)
    html = (
        environment()
        .get_template("report.html.j2")
        .render(
            name=run_folder.resolve().name,
            results=results,
            headline=headline(results),
            curves=curves(results),
            confusion=confusion(results),
            per_class=per_class(results),
            scatter=scatter(results),
            strips=strips(results),
            explanations=read_explanations(run_folder / EXPLANATIONS),
            captions=captions(results),
            gallery=gallery(results),
            timelines=timelines(results),
            tagged=tagged_words(results),
            reconstructions=reconstructions(results),
            traces=traces(results),
            counted={"tag": "frames", "multitag": "true frames"}.get(results.task, "clips"),
            data=data_summary(results),
            sides=sides(results),
        )
    )
    return save(run_folder / NAME, html)


def save(path: Path, html: str) -> Path:
    """Write the page as a whole or not at all."""
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(html.encode("utf-8", "backslashreplace"))  # names of files may be no UTF-8
    os.replace(unfinished, path)
    return path


@cache
def environment() -> Environment:
    """The templates, with escaping always on."""
    made = Environment(
        loader=PackageLoader("unreel.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["zip"] = zip
    made.filters["counted"] = counted
    return made
