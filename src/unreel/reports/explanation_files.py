"""Explanation files: a picture and a row for each explained clip, and one page with all of them.

FOLDER/explanations.jsonl   one row a clip: importance of every frame, occlusion, their rank correlation; of captions
                            all that of each word
FOLDER/001-NAME.png ...     one picture a clip
FOLDER/index.html           all of them on one page, which needs no other file
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unreel.data import Broken
from unreel.inference import CaptionExplanation, Explanation
from unreel.reports.explanations import ROWS, read_explanations
from unreel.reports.heat_strips import heat_strip
from unreel.reports.page import environment, save
from unreel.reports.word_strips import word_strip

PAGE = "index.html"


def write_explanations(
    explanations: Iterable[Explanation | CaptionExplanation | Broken], folder: Path
) -> tuple[Path, int]:
    """Write all files of `folder` while clips are explained; a row each, with `error` for one that cannot be.

    Returns:
        The path of the page, and how many clips could not be explained.
    """
    broken = 0
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ROWS).open("w", encoding="utf-8", errors="backslashreplace") as file:
        for number, explanation in enumerate(explanations, 1):
            if isinstance(explanation, Broken):
                broken += 1
                row: dict[str, Any] = {"file": explanation.path, "error": explanation.reason}
            else:
                name = _name(number, str(explanation.where["file"]))
                words = isinstance(explanation, CaptionExplanation)
                (folder / name).write_bytes(word_strip(explanation) if words else heat_strip(explanation))
                row = explanation.row() | {"picture": name}
            print(json.dumps(row, ensure_ascii=False), file=file, flush=True)
    page = environment().get_template("explanations.html.j2")
    html = page.render(name="Explanations", explanations=read_explanations(folder))
    return save(folder / PAGE, html), broken


def _name(number: int, file: str) -> str:
    """A file name that every system takes."""
    return f"{number:03d}-{re.sub(r'[^A-Za-z0-9._-]+', '_', Path(file).name)[-60:]}.png"
