"""How a model of the next word learns captions: what goes in, what is wanted, what of it counts; own words; rewards.

A caption of words w1..wn is the target w1..wn, 0 and the input 0, w1..wn: one index, 0, is begin, end, and what stands
behind the end. What this file is not: it knows no text and no model, nor how captions are judged (`rewards.py`).

Logits are asked for where they are needed alone: most of the work of writing is in them.

Shape letters: N clips, R captions of each, L words of a caption, M of all words, V outputs: the words and the end.
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
        logits: (M, V), of the words that are `counted`.
        words: (N, R, L) targets.
        label_smoothing: share of each target that is spread over all outputs.
    """
    if not len(logits):
        return logits.sum()
    return functional.cross_entropy(logits, words[counted(words)], label_smoothing=label_smoothing)


def drawn_places(inputs: Tensor, share: float) -> Tensor:
    """(N, R, L) bool: inputs that become own words, each behind the begin with probability `share`, 0 to 1.

    Drawn from the default generator.
    """
    chosen = torch.rand(inputs.shape) < share
    chosen[..., 0] = False
    return chosen.to(inputs.device) & (inputs != BEGIN)  # behind the end nothing is learned


def before(places: Tensor) -> Tensor:
    """(N, R, L) bool: the places one before these; what stands there is followed by what stands at these."""
    return functional.pad(places[..., 1:], (0, 1))


def with_own_words(inputs: Tensor, places: Tensor, logits: Tensor) -> Tensor:
    """Inputs of which some are the model's own words: scheduled sampling, Bengio et al. (2015, arXiv 1506.03099).

    Where the paper runs word by word, each own word here is drawn from what the model said after the true words before
    it: all of them at once, in a first pass (Mihaylova and Martins 2019, arXiv 1906.07651). Drawn from the default
    generator.

    Args:
        inputs: (N, R, L), the true words.
        places: (N, R, L) bool, the M that become own words, none of them the first.
        logits: (M, V) of the first pass, asked for `before` these places.
    """
    said = logits.detach().float()
    said[:, END] = -torch.inf  # as an input it would be the begin
    mixed = inputs.clone()
    if len(said):
        mixed[places] = torch.multinomial(said.softmax(-1), 1)[:, 0]
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
        logits: (M, V), of the words `up_to_end`: a caption that ends at once was drawn, too.
        words: (N, S, L), the captions that were drawn.
        advantage: (N, S).
    """
    counts = up_to_end(words)
    said = functional.cross_entropy(logits, words[counts], reduction="none")
    return (said * advantage.unsqueeze(2).expand_as(words)[counts]).mean()
