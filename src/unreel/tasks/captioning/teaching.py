"""How a model of the next word learns captions: what goes in, what is wanted, what of it counts; own words; rewards.

A caption of words w1..wn is the target w1..wn, 0 and the input 0, w1..wn: one index, 0, is begin, end, and what stands
behind the end. What this file is not: it knows no text and no model, nor how captions are judged (`rewards.py`).

Shape letters: N clips, R captions of each, L words of a caption, V outputs: the words and the end.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unreel.nn import BEGIN

END = BEGIN


def inputs_of(words: Tensor) -> Tensor:
    """The word before each: targets (N, R, L) to inputs (N, R, L), which begin with the begin."""
    return functional.pad(words[..., :-1], (1, 0), value=BEGIN)


def up_to_end(words: Tensor) -> Tensor:
    """(N, R, L) bool: which words stand no further than the first end, that with them."""
    return inputs_of((words == END).long()).cumsum(-1) == 0


def counted(words: Tensor) -> Tensor:
    """(N, R, L) bool: which words of targets are learned: up to the end, and none of an empty row, which is padding."""
    return up_to_end(words) & (words[..., :1] != END)


def word_loss(logits: Tensor, words: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy over all words of the batch that count, (); zero where none does.

    Args:
        logits: (N, R, L, V).
        words: (N, R, L) targets.
        label_smoothing: share of each target that is spread over all outputs.
    """
    counts = counted(words)
    if not bool(counts.any()):
        return logits.sum() * 0.0
    return functional.cross_entropy(logits[counts], words[counts], label_smoothing=label_smoothing)


def with_own_words(inputs: Tensor, logits: Tensor, share: float) -> Tensor:
    """Inputs of which some are the model's own words: scheduled sampling, Bengio et al. (2015, arXiv 1506.03099).

    Where the paper runs word by word, each own word here is drawn from what the model said after the true words before
    it: all of them at once, in a first pass (Mihaylova and Martins 2019, arXiv 1906.07651). Drawn from the default
    generator.

    Args:
        inputs: (N, R, L), the true words.
        logits: (N, R, L, V) of the first pass, what follows each of them.
        share: 0 to 1, how likely each input behind the begin becomes an own word.
    """
    chosen = torch.rand(inputs.shape) < share
    chosen[..., 0] = False
    chosen = chosen.to(inputs.device) & (inputs != BEGIN)  # behind the end nothing is learned
    said = logits[..., :-1, :][chosen[..., 1:]].detach().float()
    said[:, END] = -torch.inf  # as an input it would be the begin
    drawn = torch.multinomial(said.softmax(-1), 1)[:, 0] if len(said) else inputs.new_zeros(0)
    mixed = inputs.clone()
    mixed[chosen] = drawn
    return mixed


def advantages(rewards: Tensor) -> Tensor:
    """What each of several captions of a clip earned above the mean of the others: (N, S) to (N, S), S ≥ 2.

    The baseline of Rennie et al. (2017) is the greedy caption; the mean of the others needs no further search and
    varies less (Luo 2020, arXiv 2003.09971).
    """
    several = rewards.shape[1]
    return rewards - (rewards.sum(1, keepdim=True) - rewards) / (several - 1)


def reward_loss(logits: Tensor, words: Tensor, advantage: Tensor) -> Tensor:
    """REINFORCE: minus the mean over all words of their log-probability times what their caption earned, ().

    Args:
        logits: (N, S, L, V).
        words: (N, S, L), the captions that were drawn.
        advantage: (N, S).
    """
    counts = up_to_end(words)  # one that ends at once was drawn, too
    said = functional.cross_entropy(logits[counts], words[counts], reduction="none")
    return (said * advantage.unsqueeze(2).expand_as(words)[counts]).mean()
