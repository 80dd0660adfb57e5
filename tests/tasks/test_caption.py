"""Captioning with a model that writes by rote: targets, rows, losses, measures and cautions."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from unreel.clip import Clip, ClipBatch, LongClip, collate
from unreel.errors import ConfigError
from unreel.nn import SearchConfig, SeesWords
from unreel.nn import search as nn_search
from unreel.tasks import Caption, CaptionConfig, caption
from unreel.tasks.caption import GENTLE
from unreel.tasks.captioning.measures import cider_d
from unreel.tokens import TextConfig

from hand_made import Row  # isort: skip

LABELS = ("<pad>", "<unk>", "a", "dog", "runs", "cat", "sits")
PTB = TextConfig(rule="ptb")


class Rote(SeesWords):
    """Writes for clip n the sentence of its first pixel, looking at place n of three places of each frame."""

    SENTENCES = ((2, 3, 4), (2, 5, 6))
    feature_shape = (1, 3)

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.seen: list[Tensor] = []

    def encode(self, frames: Tensor, lengths: Tensor | None = None) -> Tensor:
        return frames[..., None].expand(*frames.shape, 3) * self.scale  # (N, T, 1, 3), one number and three places

    def read(self, features: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, ...]:
        return (features[:, 0, 0, 0].round().long(), torch.tensor(features.shape[1]))

    def start(self, memory: tuple[Tensor, ...], rows: int) -> tuple[tuple[Tensor, ...], ...]:
        return ((torch.zeros(len(memory[0]), rows, 1, dtype=torch.int64),),)

    def next(self, words, memory, state):
        logits, after, attention = self.write(words.unsqueeze(2), memory, state)
        return logits[:, :, 0], after, None if attention is None else attention[:, :, 0]

    def teach(self, words, memory, asked):
        return self.write(words, memory)[0][asked]

    def write(self, words, memory, state=None):
        self.seen.append(words)
        n, rows, length = words.shape
        place = 0 if state is None else int(state[0][0][0, 0, 0])
        logits = torch.zeros(n, rows, length, len(LABELS))
        for clip, kind in enumerate(memory[0].tolist()):
            sentence = (*self.SENTENCES[kind], 0, 0, 0, 0, 0, 0, 0, 0, 0)
            for step in range(length):
                logits[clip, :, step, sentence[place + step]] = 5.0
        attention = torch.zeros(n, rows, length, int(memory[1]), 3)
        attention[..., 1] = 1 / int(memory[1])
        after = ((torch.full((n, rows, 1), place + length),),)
        return logits * self.scale, after, attention.flatten(-2)

    def forward(self, frames, lengths=None, state=None, words=None):
        return self.decode(self.encode(frames, lengths), lengths, state, words)

    def decode(self, features, lengths=None, state=None, words=None):
        return self.write(words, self.read(features, lengths), state)[:2]


def caption_task(text: TextConfig = PTB, **settings: object) -> Caption:
    how = CaptionConfig(search=SearchConfig("greedy", max_length=6), **settings)
    return Caption(Rote(), LABELS, settings=how, text=text)


def clips(task: Caption, rows: list[Row], lengths: list[int] | None = None):
    lengths = lengths or [2] * len(rows)
    made = []
    for kind, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        times = torch.arange(length, dtype=torch.float64)
        frames = torch.full((length, 1), float(kind % 2))
        made.append(Clip(frames, times, f"clip{kind}", targets=dict(task.encode(row, times))))
    return collate(made)


ROWS = [Row(labels=("A dog runs.", "The dog runs")), Row(labels=("a cat sits",))]


def test_words_are_counted_and_rare_ones_are_none() -> None:
    names = Caption.words_of([*ROWS, *ROWS[:1]], TextConfig(rule="ptb", min_count=2))
    assert names == ("<pad>", "<unk>", "dog", "runs", "a", "the")
    assert Caption.words_of(ROWS, TextConfig(rule="ptb", min_count=1, max_length=1)) == ("<pad>", "<unk>", "a", "the")
    assert "." not in Caption.label_names([*ROWS, *ROWS]), "by the rule of their measures"
    assert "." in Caption.words_of([*ROWS, *ROWS], TextConfig(rule="unicode")), "unless another one is asked for"
    assert "." not in Caption.words_of([*ROWS, *ROWS], TextConfig(min_count=1)), "and not something else"
    with pytest.raises(ConfigError, match=r"none stands there 9 times; lower data\.text\.min_count"):
        Caption.words_of(ROWS, TextConfig(min_count=9))


def test_targets() -> None:
    task = caption_task()
    found = task.encode(ROWS[0], torch.zeros(1))
    assert found["words"].tolist() == [[2, 3, 4, 0], [1, 3, 4, 0]]
    assert found["words"].dtype == torch.int64
    assert bytes(found["references"][0].tolist()).decode() == "A dog runs.\0"
    long = Row(labels=("a dog " * 100,))
    assert task.encode(long, torch.zeros(1))["words"].tolist() == [[2, 3, 2, 3, 2, 3, 2]], "the first words, and no end"
    cut = caption_task(TextConfig(rule="ptb", max_length=3)).encode(long, torch.zeros(1))
    assert cut["words"].shape == (1, 4)
    assert cut["references"].shape[1] == len(long.labels[0])
    assert task.encode(Row(), torch.zeros(1))["words"].numel() == 0
    batch = clips(task, [*ROWS, Row()])
    assert batch.targets["words"].shape == (3, 2, 4)
    assert batch.targets["words"][1].tolist() == [[2, 5, 6, 0], [0, 0, 0, 0]]
    assert task.truths(batch) == [{"truth": list(row.labels)} for row in [*ROWS, Row()]]


def test_loss_and_rows_of_what_is_known_by_heart() -> None:
    task = caption_task().eval()
    batch = clips(task, ROWS, [2, 1])
    log_prob = 5 - math.log(math.exp(5) + len(LABELS) - 1)
    wrong = -math.log(math.exp(5) + len(LABELS) - 1)
    # twelve words of three captions, one of which is another than the model's
    assert task.loss(task.taught(batch), batch).item() == pytest.approx(-(11 * log_prob + wrong) / 12, rel=1e-5)
    with torch.inference_mode():
        outputs = task(batch).cpu()
    rows = task.rows(outputs, batch)
    assert [row["caption"] for row in rows] == ["a dog runs", "a cat sits"]
    [only] = rows[0]["captions"]
    assert rows[0]["score"] == only["score"] == pytest.approx(4 * log_prob)
    assert [word["word"] for word in only["words"]] == ["a", "dog", "runs"]
    assert only["words"][0]["log_prob"] == pytest.approx(log_prob)
    assert only["words"][0]["attention"] == [[0, 0.5, 0], [0, 0.5, 0]], "places of each frame"
    assert rows[1]["captions"][0]["words"][0]["attention"] == [[0, 0.5, 0]], "and none of the padding"
    scores, truth = task.pairs(outputs, batch)
    assert task.marks(scores, truth)["cider_d"] == cider_d(
        ["a dog runs", "a cat sits"], [list(row.labels) for row in ROWS]
    )
    task.measures.update(scores, truth, clips=task.clips(batch))
    values = task.measures.compute()
    assert values["distinct"] == 1
    assert values["bleu_1"] == pytest.approx(1)
    assert {task.monitor, *task.also} <= values.keys()
    assert task.caution(scores, truth) == ""


def test_one_caption_for_all_is_told() -> None:
    task = caption_task()
    batch = clips(task, [Row(labels=(f"a {name}",)) for name in ("dog", "cat", "horse")])
    truth = batch.targets["references"]
    said = truth[:1, 0].expand(3, -1)
    assert task.caution(said, truth) == (
        "captions are almost all the same: 1 different of 3 clips, 3 times 'a dog'; "
        "of as many references 3 are different"
    )
    assert task.caution(said, truth[:1].expand(3, -1, -1)) == "", "where there is one thing to say"
    assert task.caution(truth[[0, 0, 2], 0], truth).startswith("captions are almost all the same: 2 different of 3")
    assert task.caution(truth[[0, 1, 2], 0], truth) == ""


def test_the_constant_is_the_best_one() -> None:
    rows = [Row(labels=("a dog runs",))] * 5 + [Row(labels=("a cat sits",))] * 2
    task = caption_task()
    constant = task.constant([task.encode(row, torch.zeros(1)) for row in rows])
    assert bytes(constant.tolist()).decode() == "a dog runs"
    assert constant.dtype == torch.uint8


def test_validation_writes_as_long_captions_as_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Caption, "log", lambda *_, **__: None)
    how = CaptionConfig(search=SearchConfig("beam", beam=2, max_length=2))
    task = Caption(Rote(), LABELS, settings=how, text=PTB).eval()
    task.validation_step(clips(task, ROWS), 0)
    written, references = task.measures["captions"].seen()
    assert written == ["a dog", "a cat"]
    assert references == [list(row.labels) for row in ROWS]


@pytest.mark.parametrize(
    ("search", "wanted"),
    [
        (SearchConfig("beam", 4, 0.3, 9, n_best=3), SearchConfig("beam", 4, 0.3, 9)),
        (SearchConfig("greedy", max_length=8), SearchConfig("greedy", max_length=8)),
        (SearchConfig("sample", max_length=7, top_k=3, n_best=2), SearchConfig("greedy", max_length=7)),
    ],
)
def test_validation_searches_as_will_be_searched(
    monkeypatch: pytest.MonkeyPatch, search: SearchConfig, wanted: SearchConfig
) -> None:
    seen = []
    monkeypatch.setattr(Caption, "log", lambda *_, **__: None)
    monkeypatch.setattr(caption, "search", lambda *given: seen.append(given[2]) or nn_search(*given))
    task = Caption(Rote(), LABELS, settings=CaptionConfig(search=search), text=PTB).eval()
    task.validation_step(clips(task, ROWS), 0)
    assert seen == [wanted]


def test_own_words_come_in_towards_the_end_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    task = caption_task(scheduled_sampling=0.9)
    batch = clips(task, ROWS)
    task.taught(batch)
    assert len(task.model.seen) == 1, "none at the beginning, where one pass is enough"
    task.total_steps = 10
    monkeypatch.setattr(Caption, "global_step", 9)
    torch.manual_seed(0)
    task.taught(batch)
    first, second = task.model.seen[1:]
    assert torch.equal(first, task.model.seen[0])
    assert not torch.equal(second, first)
    task.eval().taught(batch)
    assert torch.equal(task.model.seen[-1], first), "none in validation"


def test_concepts_words_and_rewards_each_have_a_learning_rate_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Caption, "trainer", SimpleNamespace(max_epochs=5))
    task = caption_task(concepts=1.0, concepts_first=2, self_critical=1)
    task.total_steps = 100
    rates = rates_of(task)
    highest = task.optim.lr
    for part, top in ((rates[:40], highest), (rates[40:80], highest), (rates[80:], highest * GENTLE)):
        assert part[0] == pytest.approx(top / 25)
        assert max(part) == pytest.approx(top, rel=0.02)
        assert part[-1] < 1e-4 * top
    task.optim = replace(task.optim, schedule="constant")
    assert rates_of(task) == [highest] * 80 + [highest * GENTLE] * 20


def rates_of(task: Caption) -> list[float]:
    chosen = task.configure_optimizers()
    optimizer, schedule = chosen["optimizer"], chosen["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(task.total_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_settings_are_checked() -> None:
    for wrong in ({"scheduled_sampling": 1.0}, {"scheduled_sampling": -0.1}, {"self_critical": -1}):
        with pytest.raises(ConfigError, match="must be at least 0"):
            CaptionConfig(**wrong)
    for weight in (-1.0, math.inf):
        with pytest.raises(ConfigError, match="concepts must be a weight"):
            CaptionConfig(concepts=weight)
    for wrong in ({"concepts_first": 1}, {"concepts_first": -1, "concepts": 1.0}):
        with pytest.raises(ConfigError, match="more only with concepts above 0"):
            CaptionConfig(**wrong)


def test_films_are_not_read_a_chunk_at_a_time() -> None:
    whole = ClipBatch(torch.empty(1, 4, 0), torch.tensor([4]), torch.zeros(1, 4, dtype=torch.float64), ("a",))
    long = LongClip(whole, 2, lambda index: torch.zeros(2, 1))
    with pytest.raises(ConfigError, match="whole clips"):
        caption_task()(long)
