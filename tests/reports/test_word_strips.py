"""Explained captions as pictures and as a page: every kind of clip, and what is told of the check."""

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
from unreel.inference import CaptionExplanation
from unreel.inference.occlusion import Occlusion
from unreel.reports import write_explanations
from unreel.reports.explanations import read_explanations
from unreel.reports.word_strips import COLUMNS, word_strip

NASTY = "<script>alert('word')</script>"


def explanation(words: int = 5, frames: int = 1, size: tuple[int, int, int] = (3, 16, 16)) -> CaptionExplanation:
    generator = torch.Generator().manual_seed(0)
    parts = torch.arange(frames)
    attention = torch.rand(words, frames, 2, 3, generator=generator)
    importance = torch.rand(words, frames, generator=generator)
    said = [NASTY, "$x$", *["dog"] * words][:words]
    return CaptionExplanation(
        where={"file": f"{NASTY} $x.png", "start": None, "end": None},
        words=tuple(said),
        log_probs=torch.rand(words, generator=generator).log(),
        said={"caption": "a dog", "score": -1.0},
        truth={"truth": ["The dog", "it runs"]},
        frames=(255 * torch.rand(frames, *size, generator=generator)).to(torch.uint8),
        times=torch.arange(frames, dtype=torch.float64),
        importance=importance / importance.sum(1, keepdim=True),
        heat=torch.rand(words, frames, 4, 4, generator=generator),
        attention=attention / attention.sum((1, 2, 3), keepdim=True),
        occlusion=Occlusion(
            parts,
            torch.randn(frames, words, generator=generator).double(),
            torch.randn(7, 7, words, generator=generator).double(),
        ),
        agreement=({"frames": None, "patches": 0.5},) * words,
        covering=({"heat": (0.5, 0.1), "attention": (0.2, 0.3)},) * words,
    )


def pixels_of(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"), dtype=int)


@pytest.mark.parametrize(("frames", "size"), [(1, (1, 20, 10)), (3, (1, 20, 10)), (40, (3, 16, 16))])
def test_clips_of_every_kind_are_drawn(frames: int, size: tuple[int, int, int]) -> None:
    full = explanation(frames=frames, size=size)
    plain = replace(full, attention=None)
    bare = replace(plain, heat=None, occlusion=Occlusion(full.occlusion.parts, None, None))
    height, width = pixels_of(word_strip(full)).shape[:2]
    without, none = (pixels_of(word_strip(one)).shape for one in (plain, bare))
    assert height > without[0] > none[0] > 50
    assert width == without[1] == none[1]
    assert height < 1500


def test_vectors_are_drawn_without_pictures() -> None:
    one = replace(explanation(frames=4), frames=torch.randn(4, 9), heat=None, attention=torch.ones(5, 4, 1, 1) / 4)
    assert pixels_of(word_strip(one)).shape[0] > 100


def test_words_go_on_in_another_row() -> None:
    short, long, longer = (pixels_of(word_strip(explanation(words))) for words in (2, COLUMNS - 1, COLUMNS))
    assert short.shape == long.shape  # the picture has the first cell
    assert longer.shape[0] > 1.7 * long.shape[0]


def test_heat_stands_in_the_cell_of_its_word_and_nowhere_else() -> None:
    one = replace(explanation(5), heat=torch.zeros(5, 1, 4, 4))
    assert one.heat is not None
    hot = one.heat.clone()
    hot[2, 0, 3, 0] = 1
    before, after = pixels_of(word_strip(one)), pixels_of(word_strip(replace(one, heat=hot)))
    rows, columns = np.nonzero(np.abs(before - after).sum(-1))
    inch = 150
    left = (0.5 + 3 * (1.15 + 0.08)) * inch  # after the margin, the picture and two words
    assert left - 2 <= columns.min() < left + 5
    assert columns.max() < left + 1.15 * inch / 2
    assert rows.min() > before.shape[0] / 2


def test_the_files_and_the_page(tmp_path: Path) -> None:
    weak = replace(
        explanation(3, frames=4), agreement=({"frames": 0.1, "patches": 0.9},) * 3, covering=({"heat": (0.0, 0.2)},) * 3
    )
    broken = Broken("b", "b.png", "nothing is written of it")
    page, left_out = write_explanations([explanation(), weak, broken], tmp_path)
    assert left_out == 1
    rows = [json.loads(line) for line in (tmp_path / "explanations.jsonl").read_text("utf-8").splitlines()]
    assert [len(row.get("words", ())) for row in rows] == [5, 3, 0]
    section = read_explanations(tmp_path)
    assert section is not None
    assert section.of_words
    assert [clip.agreement for clip in section.clips] == ["patches 0.50", "frames 0.10, patches 0.90"]
    assert [clip.weak for clip in section.clips] == [False, True]
    assert section.clips[0].truth == "The dog / it runs"
    assert "heat is highest costs a word 0.312 of its log-probability on average, a place by chance 0.138" in (
        section.verdict
    )
    assert "(8 words); 62 % of them lose more than by chance" in section.verdict
    assert "looked at most costs a word 0.200 of its log-probability on average, a place by chance 0.300" in (
        section.verdict
    )
    text = page.read_text("utf-8")
    assert NASTY not in text
    assert "For each word" in text
    assert "share of each frame in it" not in text
