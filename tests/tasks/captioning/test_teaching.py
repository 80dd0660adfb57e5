"""Words in, words wanted, and which of them count: against plain loops over each word."""

import math

import pytest
import torch
from torch.nn import functional

from unreel.tasks.captioning.teaching import (
    advantages,
    before,
    counted,
    drawn_places,
    inputs_of,
    reward_loss,
    up_to_end,
    with_own_words,
    word_loss,
)

WORDS = torch.tensor([[[5, 4, 0, 0], [3, 2, 4, 5]], [[2, 0, 0, 0], [0, 0, 0, 0]]])
"""Captions of two words, of four without an end, of one; and none."""


def test_what_goes_in_and_what_counts() -> None:
    assert inputs_of(WORDS).tolist() == [[[0, 5, 4, 0], [0, 3, 2, 4]], [[0, 2, 0, 0], [0, 0, 0, 0]]]
    assert counted(WORDS).long().tolist() == [[[1, 1, 1, 0], [1, 1, 1, 1]], [[1, 1, 0, 0], [0, 0, 0, 0]]]
    assert up_to_end(WORDS)[1, 1].tolist() == [True, False, False, False]
    assert counted(WORDS[..., :0]).shape == (2, 2, 0)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_is_the_mean_over_words(smoothing: float) -> None:
    logits = torch.randn(2, 2, 4, 6, requires_grad=True)
    log_probs = logits.detach().log_softmax(-1)
    total, count = 0.0, 0
    for clip in range(2):
        for row in range(2):
            caption = WORDS[clip, row].tolist()
            if caption[0] == 0:
                continue
            for place, word in enumerate(caption):
                said = log_probs[clip, row, place]
                total -= float((1 - smoothing) * said[word] + smoothing * said.mean())
                count += 1
                if word == 0:
                    break
    loss = word_loss(logits[counted(WORDS)], WORDS, smoothing)
    assert count == 9
    assert loss.item() == pytest.approx(total / count, rel=1e-5)


def test_no_words_are_no_loss() -> None:
    logits = torch.randn(0, 6, requires_grad=True)
    loss = word_loss(logits, torch.zeros_like(WORDS))
    loss.backward()
    assert loss.item() == 0


def test_padding_asks_for_no_more_words() -> None:
    words = WORDS[:, :1]  # one without an end is as long as any can be
    wider = functional.pad(words, (0, 3, 0, 2))
    assert wider[counted(wider)].tolist() == words[counted(words)].tolist()


def mixed_in(inputs: torch.Tensor, logits: torch.Tensor, share: float) -> torch.Tensor:
    """With own words, of logits (N, R, L, V) behind all words."""
    places = drawn_places(inputs, share)
    return with_own_words(inputs, places, logits[before(places)])


def test_own_words_among_the_true_ones() -> None:
    torch.manual_seed(0)
    words = torch.randint(2, 6, (50, 4, 20))
    words[..., 15:] = 0
    inputs = inputs_of(words)
    logits = torch.zeros(50, 4, 20, 8)
    logits[..., 7] = 5.0
    logits[..., 0] = 50.0  # the end is likeliest everywhere, and is no word to go on from
    assert torch.equal(mixed_in(inputs, logits, 0.0), inputs)
    mixed = mixed_in(inputs, logits, 0.3)
    changed = mixed == 7
    assert not changed[..., 0].any(), "before the first word stands the begin"
    assert not (mixed[..., 1:16] == 0).any()
    assert torch.equal(mixed[..., 16:], inputs[..., 16:])
    likely = float((logits[0, 0, 0, 1:].softmax(-1))[-1])
    assert changed[..., 1:16].float().mean().item() == pytest.approx(0.3 * likely, abs=0.03)


def test_an_own_word_follows_from_the_words_before_it() -> None:
    torch.manual_seed(0)
    inputs = inputs_of(torch.tensor([[[2, 3, 4, 5]]]))
    logits = torch.full((1, 1, 4, 9), -100.0)
    for place in range(4):
        logits[0, 0, place, 5 + place] = 0.0  # after the input at this place
    assert mixed_in(inputs, logits, 1.0).tolist() == [[[0, 5, 6, 7]]]


def test_advantages_are_against_the_others() -> None:
    found = advantages(torch.tensor([[1.0, 2.0, 6.0]]))
    assert found.tolist() == [[1 - 4, 2 - 3.5, 6 - 1.5]]
    assert advantages(torch.full((2, 5), 3.0)).abs().max() < 1e-6


def test_reward_makes_good_captions_likelier() -> None:
    logits = torch.zeros(1, 2, 3, 4, requires_grad=True)
    words = torch.tensor([[[3, 2, 0], [0, 0, 0]]])  # the second ends at once: its end was drawn, too
    loss = reward_loss(logits[up_to_end(words)], words, torch.tensor([[2.0, -2.0]]))
    assert loss.item() == pytest.approx((3 * 2 - 1 * 2) * math.log(4) / 4)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[0, 0, 0, 3] < 0
    assert logits.grad[0, 1, 0, 0] > 0
    assert not logits.grad[0, 1, 1:].any()
