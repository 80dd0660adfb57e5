"""Captions in the report: beside the controls, with a warning where all are the same, and with the words of each."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unreel.reports import lightened, worth_explaining, write
from unreel.reports.captions import captions, sameness
from unreel.reports.gallery import SHOWN, chosen, gallery
from unreel.reports.looks import find_grid, look
from unreel.reports.results import read_results
from unreel.reports.strips import strips


def row(said: str, *truth: str, **more: Any) -> dict[str, Any]:
    return {"file": f"{said}.png", "caption": said, "truth": list(truth)} | more


def test_the_table_holds_every_measure_against_every_control(caption_run: Path) -> None:
    found = captions(read_results(caption_run))
    assert found is not None
    assert found.controls == ("Best single caption, always", "Copied from the nearest clip")
    shown = [(name, model and model.shown, *(one and one.shown for one in of)) for name, model, of in found.rows]
    assert shown == [
        ("BLEU-1", "55.2 %", "41.1 %", "46.2 %"),
        ("BLEU-4", "14.3 %", None, None),
        ("CIDEr-D", "0.314", "0.052", "0.123"),
        ("Distinct captions", "60.0 %", None, None),
    ]
    assert len(found.plots) == 2


def test_counts_of_captions_and_words() -> None:
    rows = [row("A dog runs .", "a dog runs", "one"), row("a  dog, runs", "the cat"), row("cats", "the Cat!", "two")]
    found = sameness(rows)
    assert (found.clips, found.written, found.references) == (3, 2, 2)
    assert (found.words, found.words_of_references) == (4, 7)
    assert found.common == (("a dog runs", 2), ("cats", 1))


def test_the_warning_stands_in_the_page(caption_run: Path) -> None:
    assert 'class="warning"' not in write(caption_run).read_text("utf-8")
    measured = json.loads((caption_run / "metrics.json").read_text())
    told = {"caution": "captions are almost all the same: <b>"}
    for metrics in (measured | told, {"task": "caption"} | told):
        (caption_run / "metrics.json").write_text(json.dumps(metrics))
        page = write(caption_run).read_text("utf-8")
        assert page.count('class="warning">Warning: captions are almost all the same: &lt;b&gt;.') == 1


def test_the_best_the_worst_and_some_by_chance() -> None:
    rows = [row(str(number), cider_d=max(0, number - 10) / 10, score=-number) for number in range(30)]
    best, worst, rest = chosen(rows)
    assert [one["caption"] for one in best] == ["29", "28", "27", "26", "25", "24"]
    assert [one["caption"] for one in worst] == ["0", "1", "2", "3", "4", "5"]  # of those with 0 the surest
    shown = {one["caption"] for one in (*best, *worst, *rest)}
    assert len(shown) == 3 * SHOWN
    assert [one["caption"] for one in chosen(rows[::-1])[2]] == [one["caption"] for one in rest]
    assert [len(several) for several in chosen(rows[:3])] == [1, 1, 1]
    assert [len(several) for several in chosen([row("a"), row("b", cider_d=float("nan"))])] == [0, 0, 2]
    in_turn = worth_explaining("caption", rows)
    assert [one["caption"] for one in in_turn[:2]] == ["29", "0"]
    assert len(in_turn) == SHOWN


def test_the_gallery(caption_run: Path) -> None:
    results = read_results(caption_run)
    found = gallery(results)
    assert found is not None
    assert found.attends
    [(_, best), (_, worst), (_, rest)] = found.groups
    film = best[0]
    assert film.file == "film.npy"
    assert len(film.pictures.images) == 5
    said = results.predictions[40]["captions"][0]["words"]
    looked = [int(np.sum(word["attention"], 1).argmax()) for word in said]
    assert [word.frame for word in film.words] == looked
    assert [word.probability for word in film.words] == pytest.approx([np.exp(word["log_prob"]) for word in said])
    assert " ".join(word.text for word in film.words) == results.predictions[40]["caption"]
    assert film.references == ("A dog runs 40 .", "the red cat <b> sleeps")
    assert film.score == "CIDEr-D 9.00"
    for clip in (*best, *worst, *rest):
        gone = clip.file != "film.npy" and int(clip.file[:2]) % 3 == 2
        assert bool(clip.pictures.missing) == gone
        assert all(bool(word.picture) != gone for word in clip.words)
    assert strips(results) is None


def test_only_clips_of_the_gallery_keep_where_they_looked(caption_run: Path) -> None:
    results = read_results(caption_run)
    light = lightened(results.predictions)
    shown = {row["file"] for several in chosen(results.predictions) for row in several}
    assert len(shown) == 3 * SHOWN < len(light)
    for before, after in zip(results.predictions, light, strict=True):
        if before["file"] in shown:
            assert after == before
            continue
        words = [word for caption in after["captions"] for word in caption["words"]]
        assert [word.keys() for word in words] == [{"word", "log_prob"}] * len(words)
        assert {**after, "captions": 0} == {**before, "captions": 0}
        assert all("attention" in word for word in before["captions"][0]["words"])
    (caption_run / "predictions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in light))
    assert gallery(read_results(caption_run)) == gallery(results)


def test_without_attention_there_are_words_alone(caption_run: Path) -> None:
    rows = [json.loads(line) for line in (caption_run / "predictions.jsonl").read_text().splitlines()]
    for one in rows:
        for word in one["captions"][0]["words"]:
            del word["attention"]
    rows[39]["captions"], rows[39]["caption"] = [], "no numbers"
    rows[38]["captions"], rows[38]["caption"] = [{"words": []}], ""
    rows[37]["truth"] = [f"reference {number}" for number in range(40)]
    (caption_run / "predictions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    found = gallery(read_results(caption_run))
    assert found is not None
    assert not found.attends
    assert [word.text for word in found.groups[0][1][1].words] == ["no", "numbers"]
    page = write(caption_run).read_text("utf-8")
    assert "(nothing)" in page
    assert "<li>reference 4</li><li>and 35 more</li>" in page
    assert "where it looked" not in page


def test_attention_of_other_frames_is_not_shown(caption_run: Path) -> None:
    """The film has been cut since: the weights of five frames fit no frame of the four."""
    film = caption_run.parent / "pictures" / "film.npy"
    np.save(film, np.load(film)[:4])
    found = gallery(read_results(caption_run))
    assert found is not None
    assert not any(word.picture for word in found.groups[0][1][0].words)


def test_the_page(caption_run: Path) -> None:
    page = write(caption_run).read_text("utf-8")
    assert "<script>alert" not in page
    assert "cat &lt;b&gt; sleeps" in page
    assert "Distinct captions on validation" in page
    assert "best single caption" in page
    for anchor in ("captions", "gallery"):
        assert f'<a href="#{anchor}">' in page
        assert f'id="{anchor}"' in page
    assert "where “dog” looked" in page
    assert page.count('class="captioned"') == 3 * SHOWN
    assert 'alt=""' not in page


@pytest.mark.parametrize(
    ("places", "frame", "grid"),
    [
        (49, (96, 96), (7, 7)),
        (12, (30, 40), (3, 4)),
        (12, (40, 30), (4, 3)),
        (7, (10, 90), (1, 7)),
        (1, (5, 5), (1, 1)),
    ],
)
def test_places_lie_as_the_frame_does(places: int, frame: tuple[int, int], grid: tuple[int, int]) -> None:
    assert find_grid(places, frame) == grid


def test_heat_lies_where_it_belongs() -> None:
    pixels = np.full((8, 8, 1), 100, dtype=np.uint8)
    places = np.zeros((2, 2))
    places[1, 0] = 1
    found = look(pixels, places).astype(int)
    assert found.shape == (8, 8, 3)
    assert (found[0, 7] == 75).all()
    assert found[7, 0, 0] - found[7, 0, 2] > 100  # the brightest colour is yellow
