"""Rewards are CIDEr-D of the training side with the end as a word, and quick enough for a step of training."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from unreel.tasks.captioning.cider import cider
from unreel.tasks.captioning.rewards import Rewards

GOLDENS = json.loads((Path(__file__).parent / "goldens" / "scores.json").read_text(encoding="utf-8"))
WRITTEN = [candidate for candidate, _ in GOLDENS["several"]["corpus"]]
KNOWN = [references for _, references in GOLDENS["several"]["corpus"]]


def test_rewards_are_cider_d_with_the_end_as_a_word():
    ended = [[f"{text} END".split() for text in clip] for clip in KNOWN]
    wanted = cider([f"{text} END".split() for text in WRITTEN], ended).cider_d
    found = Rewards(KNOWN)([[text] for text in WRITTEN], KNOWN)
    assert found.shape == (40, 1)
    np.testing.assert_allclose(found[:, 0].numpy(), wanted, rtol=1e-6)


def test_a_batch_has_the_rewards_of_its_clips_in_all():
    rewards = Rewards(KNOWN)
    whole = rewards([[text, WRITTEN[0]] for text in WRITTEN], KNOWN)
    part = rewards([[text, WRITTEN[0]] for text in WRITTEN[5:9]], KNOWN[5:9])
    torch.testing.assert_close(part, whole[5:9])


def test_a_caption_that_stops_short_is_rewarded_less():
    known = [["a man runs on the beach"], ["two dogs sit in the snow"], ["a boy jumps"]]
    whole, short, empty, strange = Rewards(known)(
        [["a man runs on the beach", "a man runs on the", "", "xyz"]], known[:1]
    )[0]
    assert whole > short > empty >= 0
    assert strange < short


def test_a_caption_that_was_cut_has_no_end():
    drawn = [["a man runs on the beach", "a man runs on the beach"]]
    known = [["a man runs on the beach"], ["two dogs sit"], ["a boy jumps"]]
    written, cut = Rewards(known)(drawn, known[:1], [[True, False]])[0]
    assert cut < written
    marked = [[f"{text} END".split() for text in clip] for clip in known]
    wanted = cider([drawn[0][1].split(), *(clip[0] for clip in marked[1:])], marked).cider_d[0]
    assert float(cut) == pytest.approx(wanted, rel=1e-6)


def test_the_most_central_caption_is_most_like_the_others():
    rewards = Rewards(KNOWN)
    captions = ["a man runs", "a man runs on the beach", "a man runs on the beach", "two dogs sit", "x"]
    assert rewards.most_central(captions) == "a man runs on the beach"
    assert rewards.most_central(["x"]) == "x"


@pytest.mark.timeout(60)
def test_a_step_of_training_does_not_wait():
    generator = np.random.default_rng(0)
    words = np.array([f"w{word}" for word in range(3000)])

    def captions(count: int) -> list[str]:
        return [" ".join(words[row]) for row in generator.zipf(1.3, (count, 12)) % 3000]

    known = [captions(5) for _ in range(500)]
    rewards, drawn = Rewards(known), [captions(5) for _ in range(64)]
    rewards(drawn, known[:64])
    begun = time.process_time()
    for _ in range(5):
        rewards(drawn, known[:64])
    spent = (time.process_time() - begun) / 5
    assert spent < 0.25  # 0.05 on an idle machine
