"""Explanations as files and as a page: every kind of frame, and what is said where a heat means nothing."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unreel.data import Broken
from unreel.inference import Explanation
from unreel.inference.occlusion import Occlusion
from unreel.reports import write_explanations
from unreel.reports.explanations import read_explanations
from unreel.reports.heat_strips import heat_strip

NASTY = "<script>alert('label')</script>"


def explanation(shape: tuple[int, ...] = (6, 3, 16, 16), views: torch.Tensor | None = None) -> Explanation:
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(shape, generator=generator)
    space = shape[2:] if len(shape) == 4 else shape[1:]
    count = shape[0]
    importance = torch.rand(count, generator=generator)
    return Explanation(
        where={"file": f"left/{NASTY} $x.mp4", "start": 1.0, "end": 2.5},
        target="left_$and_back",
        score=1.5,
        said={"label": "left", "score": 0.75, "scores": {"left": 0.75}},
        truth={"truth": "right"},
        frames=frames if len(shape) < 4 else (255 * frames).to(torch.uint8),
        times=torch.arange(count, dtype=torch.float64) / 10,
        views=views,
        importance=importance / importance.sum(),
        heat=torch.rand(count, *space, generator=generator),
        attention=torch.full((count,), 1 / count),
        occlusion=Occlusion(torch.arange(count), torch.rand(count, generator=generator) - 0.5, None),
        agreement={"frames": 0.54321, "patches": None},
    )


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        return image.size


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (6, 1, 16, 32), (40, 3, 20, 10), (30, 12), (1, 12), (70, 5)])
def test_frames_of_every_kind_are_drawn(shape: tuple[int, ...]) -> None:
    full = explanation(shape)
    bare = replace(full, heat=None, attention=None, occlusion=Occlusion(torch.arange(shape[0]), None, None))
    nothing = replace(full, importance=torch.zeros(shape[0]), heat=torch.zeros_like(full.heat))  # type: ignore[arg-type]
    (width, height), (_, lower) = size_of(heat_strip(full)), size_of(heat_strip(bare))
    assert lower < height < 2000
    assert 300 < width < 2000
    assert size_of(heat_strip(nothing)) == (width, height)


def test_views_stand_one_below_the_other() -> None:
    one = size_of(heat_strip(explanation((6, 1, 16, 16))))
    three = size_of(heat_strip(explanation((6, 1, 16, 16), torch.tensor([0, 0, 1, 1, 2, 2]))))
    assert three[1] > 2 * one[1]


def test_heat_is_drawn_where_it_is() -> None:
    """The lower row differs from the same picture without heat in the hot place only."""
    cold = replace(explanation((1, 3, 16, 16)), heat=torch.zeros(1, 16, 16))
    heat = torch.zeros(1, 16, 16)
    heat[0, 12:, 12:] = 1
    before, after = (
        np.asarray(Image.open(io.BytesIO(heat_strip(one))).convert("RGB"), dtype=int)
        for one in (cold, replace(cold, heat=heat))
    )
    rows, columns = np.nonzero(np.abs(before - after).sum(-1))
    height, width = before.shape[:2]
    side = 1.5 * 150  # pixels of the picture of a single frame
    assert len(rows)
    assert rows.min() > height / 3
    assert (rows.max() - rows.min()) == pytest.approx(side / 4, abs=3)
    assert (columns.max() - columns.min()) == pytest.approx(side / 4, abs=3)
    assert columns.max() < width


def test_words_are_drawn_line_after_line() -> None:
    def text(count: int) -> Explanation:
        one = explanation((count, 1))
        return replace(
            one,
            where=one.where | {"words": ["schön", "$5", "<b>", "longer_word"] * (count // 4)},
            frames=torch.ones(count, dtype=torch.int64),
            times=torch.arange(count, dtype=torch.float64),
            heat=None,
        )

    (width, one), (same, many) = size_of(heat_strip(text(4))), size_of(heat_strip(text(120)))
    assert width == same
    assert many > 3 * one
    bare = replace(text(4), importance=torch.zeros(4), occlusion=Occlusion(torch.arange(4), None, None))
    assert size_of(heat_strip(bare)) == (width, one)


def test_the_files_and_the_page(tmp_path: Path) -> None:
    weak = replace(explanation((4, 9)), agreement={"frames": 0.1, "patches": -0.3})
    unknown = replace(explanation(), truth={}, said={"values": [1.25]}, agreement={"frames": None, "patches": None})
    broken = Broken("b", f"b {NASTY}.mp4", "moov atom not found")
    page, left_out = write_explanations([explanation(), weak, broken, unknown], tmp_path / "why")
    assert (page, left_out) == (tmp_path / "why" / "index.html", 1)
    rows = [json.loads(line) for line in (tmp_path / "why" / "explanations.jsonl").read_text("utf-8").splitlines()]
    assert [row.get("error") for row in rows] == [None, None, "moov atom not found", None]
    assert sorted(path.name for path in (tmp_path / "why").glob("*.png")) == [
        row["picture"] for row in rows if "picture" in row
    ]
    text = page.read_text("utf-8")
    assert NASTY not in text
    assert text.count("<figure") == text.count('src="data:image/png;base64,') == 3
    assert "median 0.32 over 2 clips; 1 below 0.2" in text
    assert text.count('class="weak"') == 1
    assert "frames 0.54" in text
    assert "moov atom not found" in text
    assert "1.0 – 2.5 s" in text


def test_a_folder_without_explanations_has_no_section(tmp_path: Path) -> None:
    assert read_explanations(tmp_path) is None
    page, _ = write_explanations([], tmp_path / "none")
    assert "nothing to show" in page.read_text("utf-8")
