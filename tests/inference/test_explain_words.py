"""Explaining captions: a word's heat against finite differences, its losses against covering by hand, what is told."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unreel import experiment
from unreel.clip import Clip, ClipBatch, collate
from unreel.data import Broken
from unreel.errors import ConfigError
from unreel.inference import CaptionExplanation, explain
from unreel.inference.explain_words import explain_caption
from unreel.inference.occlusion import mean_frames, occlude
from unreel.models import Captioner, CaptionerConfig, EncoderConfig
from unreel.models.picture import Picture
from unreel.nn import SearchConfig
from unreel.runs import Run
from unreel.tasks import Caption, CaptionConfig
from unreel.tokens import NAMES

from tiny import tiny  # isort: skip

WORDS = ("a", "dog", "cat", "runs", "red")
LABELS = (*NAMES, *WORDS)
FORMS = ("show_and_tell", "attention", "encoder_decoder")
DEVICE = torch.device("cpu")


def captioner(form: str, size: tuple[int, int] = (12, 16)) -> Caption:
    torch.manual_seed(0)
    encoder = EncoderConfig(channels=(4, 6), features=None if form == "attention" else 7)
    config = CaptionerConfig(encoder=encoder, form=form, embedding_size=8, hidden_size=9, dropout=0.0)  # type: ignore[arg-type]
    model = Captioner(config, (1, *size), len(LABELS))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # so that words depend on what is seen
    settings = CaptionConfig(search=SearchConfig("greedy", max_length=6))
    return Caption(model, LABELS, settings=settings).eval()


def clip_of(frames: int = 1, size: tuple[int, int] = (12, 16)) -> Clip:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (frames, 1, *size), generator=generator, dtype=torch.uint8)
    return Clip(pixels, torch.arange(frames, dtype=torch.float64), "clip")


def explained(task: Caption, clip: Clip, target: str | None = "a dog runs red") -> CaptionExplanation:
    found = explain_caption(task, {"file": "f"}, clip, DEVICE, target, "hires_cam", False, True)
    assert isinstance(found, CaptionExplanation)
    return found


def log_probs(task: Caption, batch: ClipBatch, words: tuple[str, ...]) -> Tensor:
    """(N, L), word after word as a search would ask for them."""
    model = cast(Captioner, task.model)
    memory = model.read(model.encode(batch.frames, batch.lengths), batch.lengths)
    state, before, found = model.start(memory, 1), torch.zeros(len(batch), 1, dtype=torch.int64), []
    for word in words:
        logits, state, _ = model.next(before, memory, state)
        before = torch.full_like(before, LABELS.index(word))
        found.append(logits[:, 0].log_softmax(-1)[:, LABELS.index(word)])
    return torch.stack(found, 1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("frames", [1, 3])
def test_the_heat_of_a_place_is_what_a_word_gains_when_its_map_is_made_stronger(form: str, frames: int) -> None:
    """HiResCAM, gradient times activation, is the slope of the log-probability as a place of the map grows."""
    task, clip = captioner(form).double(), clip_of(frames)
    found = explained(task, clip)
    model = cast(Captioner, task.model)
    place = (Ellipsis, 1, 2)  # of the map 6 by 8
    size = 1e-5

    def scaled(factor: float, frame: int) -> Tensor:
        def scale(module: torch.nn.Module, inputs: object, output: Tensor) -> Tensor:
            changed = output.clone()
            changed[(frame, *place)] *= factor
            return changed

        [site] = model.sites().maps
        handle = site.module.register_forward_hook(scale, prepend=True)
        with torch.no_grad():
            slope = log_probs(task, collate([clip]), found.words)[0]
        handle.remove()
        return slope

    slopes = torch.stack([(scaled(1 + size, at) - scaled(1 - size, at)) / (2 * size) for at in range(frames)], 1)
    heat = found.heat
    assert heat is not None
    assert heat.shape[:2] == (4, frames)
    ours = heat[:, :, *place[1:]]
    wanted = slopes.relu()
    assert wanted.any()
    # ours is a share of the word's hottest place, so that words are compared within themselves
    for word in range(4):
        scale = wanted[word].max()
        if scale > 1e-4:
            torch.testing.assert_close(ours[word] / ours[word].max(), wanted[word] / scale, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_is_explained_as_it_was_written(form: str) -> None:
    task, clip = captioner(form), clip_of(3)
    found = explained(task, clip, None)
    [said] = found.said["captions"]
    assert found.words == tuple(word["word"] for word in said["words"])
    assert found.log_probs.tolist() == pytest.approx([word["log_prob"] for word in said["words"]], abs=1e-5)
    torch.testing.assert_close(found.log_probs, log_probs(task, collate([clip]), found.words)[0].detach())
    assert found.importance.sum(1).tolist() == pytest.approx([1.0] * len(found.words))
    if form != "attention":
        assert found.attention is None
        return
    assert found.attention is not None
    assert found.attention.shape == (len(found.words), 3, 3, 4), "blocks of 2 by 2 of a map of 6 by 8"
    assert found.attention.sum((1, 2, 3)).tolist() == pytest.approx([1.0] * len(found.words))
    looked = torch.tensor([word["attention"] for word in said["words"]])
    torch.testing.assert_close(found.attention.flatten(2), looked, rtol=0, atol=6e-5)


@pytest.mark.parametrize("form", FORMS)
def test_each_word_loses_what_covering_by_hand_takes(form: str) -> None:
    task, clip = captioner(form), clip_of(2)
    found = explained(task, clip)
    batch = collate([clip])
    for number in range(4):
        alone = occlude(lambda clips, at=number: log_probs(task, clips, found.words)[:, [at]], batch, 0)
        for several, one in ((found.occlusion.frames, alone.frames), (found.occlusion.patches, alone.patches)):
            assert several is not None
            assert one is not None
            torch.testing.assert_close(several[..., number], one, rtol=1e-4, atol=1e-5)
    hidden = clip.frames.clone()
    hidden[1] = mean_frames(clip.frames, None)[1]
    with torch.no_grad():
        whole, less = (
            log_probs(task, collate([one]), found.words)[0] for one in (clip, Clip(hidden, clip.times, "clip"))
        )
    assert found.occlusion.frames is not None
    torch.testing.assert_close(found.occlusion.frames[1], (whole - less).double(), rtol=1e-4, atol=1e-5)


def test_covering_where_it_is_hottest_stands_beside_covering_by_chance() -> None:
    task, clip = captioner("attention", (14, 14)), clip_of(2, (14, 14))
    found = explained(task, clip)
    lost, attention, heat = found.occlusion.patches, found.attention, found.heat
    assert lost is not None
    assert attention is not None
    assert heat is not None
    for number, told in enumerate(found.covering):
        assert set(told) == {"heat", "attention"}
        for name, several in (("heat", heat), ("attention", attention)):
            wide = torch.nn.functional.interpolate(several[number][None], (14, 14), mode="bilinear")[0]
            hottest = int(wide.sum(0).unflatten(1, (7, 2)).unflatten(0, (7, 2)).mean((1, 3)).argmax())
            there, anywhere = told[name]
            assert there == pytest.approx(float(lost[..., number].flatten()[hottest]))
            assert anywhere == pytest.approx(float(lost[..., number].mean()))
    row = json.loads(json.dumps(found.row()))
    assert row["target"] == "a dog runs red"
    assert row["output"] == pytest.approx(float(found.log_probs.sum()))
    assert [word["word"] for word in row["words"]] == ["a", "dog", "runs", "red"]
    assert np.shape(row["words"][0]["attention"]) == (2, 49)
    assert set(row["agreement"]) == {"frames", "patches"}
    assert row["agreement"]["frames"] is None  # two frames have no rank


def test_a_captioner_that_does_not_look_has_no_heat() -> None:
    task, clip = captioner("show_and_tell"), clip_of()
    with torch.no_grad():
        cast(Picture, cast(Captioner, task.model).picture).linear.weight.zero_()
    found = explained(task, clip)
    assert not found.importance.any()
    assert found.heat is not None
    assert not found.heat.any()
    assert found.covering == ({},) * 4
    assert found.occlusion.patches is not None
    assert not found.occlusion.patches.any()


def test_vectors_have_frames_and_no_places() -> None:
    torch.manual_seed(0)
    config = CaptionerConfig(encoder=EncoderConfig("identity"), form="attention", embedding_size=8, hidden_size=9)
    task = Caption(Captioner(config, (5,), len(LABELS)), LABELS).eval()
    found = explained(task, Clip(torch.randn(4, 5), torch.arange(4.0, dtype=torch.float64), "clip"))
    assert found.heat is None
    assert found.importance.shape == (4, 4)
    assert found.occlusion.patches is None
    assert found.attention is not None
    assert found.attention.shape == (4, 4, 1, 1)


def test_a_caption_of_no_words_has_none_to_explain() -> None:
    task = captioner("show_and_tell")
    with torch.no_grad():
        cast(Captioner, task.model).decoder.head.bias[0] = 1e4  # type: ignore[index,union-attr]
    found = explain_caption(task, {"file": "f"}, clip_of(), DEVICE, None, "hires_cam", False, True)
    assert isinstance(found, Broken)
    assert "no word to explain" in found.reason


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Pictures of one bright row or column, and what is said of them."""
    folder = tmp_path_factory.mktemp("captions")
    rows = [("path", "caption")]
    for number in range(24):
        pixels = np.random.default_rng(number).integers(0, 40, (8, 8), dtype=np.uint8)
        pixels[number % 8 if number % 2 else slice(None), slice(None) if number % 2 else number % 8] = 255
        Image.fromarray(pixels).save(folder / f"{number}.png")
        what = "row" if number % 2 else "column"
        rows += [(f"{number}.png", f"A bright {what}"), (f"{number}.png", f"there is a {what}")]
    with (folder / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    config = tiny(folder / "captions.csv", epochs=1)
    model = CaptionerConfig(
        encoder=EncoderConfig(channels=(4,)),
        form="attention",
        embedding_size=8,
        hidden_size=8,
        attention_size=8,
    )
    return experiment.fit(replace(config, model=model, task="caption"), folder / "run")


def test_the_report_explains_some_captions(run: Run) -> None:
    rows = [
        json.loads(line)
        for line in (run.folder / "explanations" / "explanations.jsonl").read_text("utf-8").splitlines()
    ]
    assert rows
    page = (run.folder / "report.html").read_text("utf-8")
    shown = [row for row in rows if "error" not in row]
    assert page.count('<figure class="why">') == len(shown)
    assert 'id="gallery"' in page


def test_a_caption_that_is_asked_for(run: Run) -> None:
    file = run.root / run.splits().test[0].path
    [found] = explain(run, [file], target="A bright ROW")
    assert isinstance(found, CaptionExplanation)
    assert found.words == ("a", "bright", "row")
    assert found.truth == {}
    [known] = list(explain(run, side="test", target="there is a column"))[:1]
    assert isinstance(known, CaptionExplanation)
    assert len(known.truth["truth"]) == 2
    with pytest.raises(ConfigError, match=r"caption of words that the run knows, 'bricht' is none.*mean bright"):
        explain(run, [file], target="a bricht row")
    with pytest.raises(ConfigError, match="target must be a caption, got ' '"):
        explain(run, [file], target=" ")
