"""Beam search over all clips of a batch at once, with finished captions and their ways back as tensors.

What this file is not: `nn/search.py` is the way in, and tells the settings.

In each step the extensions of all rows of a clip, by each word and by the end, are ranked by the sum of their
log-probabilities. An end is a caption finished if it is among the `beam` best of them; the `beam` best words are the
next rows. Of the finished ones the `n_best` by score are kept. A clip is done when no row can come to a better score
than the last of them: a sum only falls, so a row's is at most `sum / max_length ** length_norm`. Nothing is lost by
stopping there. This is the rule of Hugging Face's `generate` with `early_stopping="never"`.

Nothing is copied as captions grow: each step notes of its rows whence they came and by which word, and the few captions
that are returned are followed back at the end.

Shape letters: N clips, B rows of a clip, F captions kept, L places, V words, A things that attention is paid to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from unreel.nn.rows import END, Next, State, Written, as_indices, first_tensor, log_softmax, reorder

PIECE = 64


class _Step(NamedTuple):
    """Rows after a step: (N, B) each. `rows` are those of the step before that they extend."""

    rows: Tensor
    words: Tensor
    log_probs: Tensor


class _Finished(NamedTuple):
    """The best finished captions, (N, F) each: the last place, and the row, the word and its log-probability there."""

    scores: Tensor
    last: Tensor
    rows: Tensor
    words: Tensor
    log_probs: Tensor


def search_beam(
    next: Next,
    state: State,
    beam: int,
    n_best: int,
    max_length: int,
    length_norm: float,
    forbidden: Sequence[int] | None = None,
) -> Written:
    """The best captions that a beam finds; arguments and result as `nn.search.search` has them."""
    start = first_tensor(state)
    banned = as_indices(forbidden, start.device)
    words = torch.zeros(start.shape[:2], dtype=torch.int64, device=start.device)
    sums = torch.zeros(start.shape[:2], device=start.device)  # later ones have the dtype of the log-probabilities
    done = torch.zeros(len(sums), dtype=torch.bool, device=start.device)
    finished = _none_yet(sums, n_best)
    steps: list[_Step] = []
    attentions: list[Tensor | None] = []
    for place in range(max_length):
        logits, state, attention = next(words, state)
        attentions.append(attention)
        log_probs = log_softmax(logits.detach())
        if banned is not None:
            log_probs.index_fill_(-1, banned, -torch.inf)
        last = place + 1 == max_length
        ended, step, after = _extend(sums, log_probs, beam, last, place, length_norm)
        finished = _keep(finished, ended, done)
        steps.append(step)
        if last or step.rows.shape[1] == 0:
            break
        done = done | (after.amax(1) / max_length**length_norm <= finished.scores[:, -1])
        if bool(done.all()):
            break
        words, sums, state = step.words, after, reorder(state, step.rows)
    return _follow_back(finished, steps, attentions)


def _none_yet(sums: Tensor, n_best: int) -> _Finished:
    numbers = sums.new_zeros(len(sums), n_best)
    places = numbers.to(torch.int64)
    return _Finished(numbers - torch.inf, places - 1, places, places, numbers)


def _extend(
    sums: Tensor, log_probs: Tensor, beam: int, last: bool, place: int, length_norm: float
) -> tuple[_Finished, _Step, Tensor]:
    """One step: what has ended in it, the rows after it, and their sums.

    Args:
        sums: (N, B), of each row's log-probabilities so far.
        log_probs: (N, B, V), of what may come next.
        beam: rows to keep at most.
        last: whether all that there is ends here, with or without the end.
        place: which step it is, from 0.
        length_norm: as in `SearchConfig`.
    """
    rows, vocabulary = log_probs.shape[1:]
    likely = min(beam + 1, vocabulary)  # of each row: enough for `beam` words, should one of them be the end
    top, words = _largest(log_probs, likely)
    top, words = top.flatten(1), words.flatten(1)
    extended = sums.repeat_interleave(likely, 1) + top
    extended = extended.masked_fill(words == END, -torch.inf)

    end = log_probs[..., END]
    best, chosen = torch.cat((sums + end, extended), 1).topk(min(beam, rows * (likely + 1)), 1)
    is_end, of_words = chosen < rows, (chosen - rows).clamp(min=0)
    scores = best / (place + 1) ** length_norm
    ended = _Finished(
        scores if last else scores.masked_fill(~is_end, -torch.inf),
        torch.full_like(chosen, place),
        torch.where(is_end, chosen, of_words // likely),
        torch.where(is_end, END, words.gather(1, of_words)),
        torch.where(is_end, end.gather(1, chosen.clamp(max=rows - 1)), top.gather(1, of_words)),
    )

    after, chosen = extended.topk(min(beam, rows * (vocabulary - 1)), 1)
    return ended, _Step(chosen // likely, words.gather(1, chosen), top.gather(1, chosen)), after


def _largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest of values (N, B, V) and their indices, (N, B, count): topk, several times faster where V is large.

    The `count` largest lie in the `count` pieces of V with the largest maxima, and maxima are found at full speed.
    """
    pieces = values.shape[-1] // PIECE
    if pieces < 4 * count:
        return values.topk(count, -1)
    whole = values[..., : pieces * PIECE].unflatten(-1, (pieces, PIECE))
    chosen = whole.amax(-1).topk(count, -1).indices
    within = torch.arange(PIECE, device=values.device)
    rest = torch.arange(pieces * PIECE, values.shape[-1], device=values.device).expand(*values.shape[:2], -1)
    indices = torch.cat(((chosen.unsqueeze(-1) * PIECE + within).flatten(2), rest), 2)
    largest, places = values.gather(2, indices).topk(count, -1)
    return largest, indices.gather(2, places)


def _keep(kept: _Finished, ended: _Finished, done: Tensor) -> _Finished:
    """The best of what was kept and what has ended now; clips that are done (N,) keep what they have."""
    ended = ended._replace(scores=ended.scores.masked_fill(done.unsqueeze(1), -torch.inf))
    both = [torch.cat(pair, 1) for pair in zip(kept, ended, strict=True)]
    scores, chosen = both[0].topk(kept.scores.shape[1], 1)
    best = _Finished(scores, *(part.gather(1, chosen) for part in both[1:]))
    return best._replace(last=best.last.masked_fill(scores == -torch.inf, -1))


def _follow_back(finished: _Finished, steps: list[_Step], attentions: list[Tensor | None]) -> Written:
    """The captions that end as `finished` says, from their last places to their first."""
    length = max(1, int(finished.last.max()) + 1)
    rows = torch.zeros_like(finished.rows)
    words, log_probs, attention = [], [], []
    for place in reversed(range(length)):
        step, attended = steps[place], attentions[place]
        here, earlier = finished.last == place, finished.last > place
        if step.rows.shape[1]:
            came, word, log_prob = (part.gather(1, rows) for part in step)
        else:
            came, word, log_prob = rows, torch.zeros_like(rows), torch.zeros_like(finished.log_probs)
        words.append(torch.where(here, finished.words, word * earlier))
        log_probs.append(torch.where(here, finished.log_probs, log_prob.masked_fill(~earlier, 0)))
        rows = torch.where(here, finished.rows, torch.where(earlier, came, 0))
        if attended is not None:
            index = rows.unsqueeze(-1).expand(-1, -1, attended.shape[-1])
            attention.append(attended.gather(1, index).masked_fill(~(here | earlier).unsqueeze(-1), 0))
    words, log_probs, attention = (part[::-1] for part in (words, log_probs, attention))
    return Written(
        torch.stack(words, -1),
        torch.stack(log_probs, -1),
        finished.scores,
        torch.stack(attention, 2) if attention else None,
    )
