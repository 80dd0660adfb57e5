"""Writing with no way back: one word after another, the likeliest (greedy) or one that is drawn.

What this file is not: `nn/search.py` is the way in, and tells the settings.

A word is drawn by inverting the cumulative distribution at one uniform number. These are drawn before the first word,
so many for each clip whatever its captions become, from the clip's own generator where there is one.

Shape letters: N clips, B rows of a clip, L places, V words, A things that attention is paid to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unreel.nn.rows import END, Next, State, Written, as_indices, first_tensor, log_softmax, reorder

Choose = Callable[[Tensor, int], Tensor]
"""(log-probabilities (N, B, V), -inf of what must not be written; the place, from 0) to words (N, B)."""


def write_rows(
    next: Next,
    state: State,
    choose: Choose,
    rows: int,
    max_length: int,
    length_norm: float,
    forbidden: Sequence[int] | None = None,
) -> Written:
    """`rows` captions of each clip, each word as `choose` says; the rest as `nn.search.search` has it."""
    start = first_tensor(state)
    clips, device = start.shape[0], start.device
    words = torch.zeros(clips, 1, dtype=torch.int64, device=device)
    ended = torch.zeros(clips, rows, dtype=torch.bool, device=device)
    written: list[Tensor] = []
    kept: list[Tensor] = []
    attentions: list[Tensor] = []
    banned = as_indices(forbidden, device)
    for place in range(max_length):
        logits, state, attention = next(words, state)
        log_probs = log_softmax(logits)
        if place == 0:
            log_probs = log_probs.expand(-1, rows, -1)
            state = reorder(state, torch.zeros(clips, rows, dtype=torch.int64, device=device)) if rows > 1 else state
            attention = None if attention is None else attention.expand(-1, rows, -1)
        seen = log_probs.detach()
        words = choose(seen if banned is None else seen.index_fill(-1, banned, -torch.inf), place)
        words = words.masked_fill(ended, END)
        written.append(words)
        kept.append(log_probs.gather(-1, words.unsqueeze(-1))[..., 0].masked_fill(ended, 0))
        if attention is not None:
            attentions.append(attention.masked_fill(ended.unsqueeze(-1), 0))
        ended = ended | (words == END)
        if bool(ended.all()):
            break
    return _best_first(written, kept, attentions, length_norm)


def _best_first(words: list[Tensor], log_probs: list[Tensor], attentions: list[Tensor], length_norm: float) -> Written:
    made, each = torch.stack(words, -1), torch.stack(log_probs, -1)
    length = ((made != END).sum(-1) + 1).clamp(max=made.shape[-1])
    scores, order = (each.sum(-1) / length.to(each.dtype) ** length_norm).sort(dim=1, descending=True, stable=True)
    places = order.unsqueeze(-1).expand_as(made)
    attention = None
    if attentions:
        attention = torch.stack(attentions, 2)
        attention = attention.gather(1, order[..., None, None].expand_as(attention))
    return Written(made.gather(1, places), each.gather(1, places), scores, attention)


def argmax(log_probs: Tensor, place: int) -> Tensor:
    """Greedy: the likeliest word."""
    return log_probs.argmax(-1)


def drawn(
    temperature: float,
    top_k: int,
    top_p: float,
    clips: int,
    rows: int,
    max_length: int,
    generator: torch.Generator | Sequence[torch.Generator] | None,
) -> Choose:
    """Words that are drawn; see `SearchConfig` and `search` for the arguments.

    Raises:
        ValueError: there are several generators, and not one for each clip.
    """
    if generator is None or isinstance(generator, torch.Generator):
        uniform = torch.rand(clips, rows, max_length, dtype=torch.float64, generator=generator)
    elif len(generator) == clips:
        uniform = torch.stack([torch.rand(rows, max_length, dtype=torch.float64, generator=own) for own in generator])
    else:
        raise ValueError(f"several generators must be one for each clip, {clips}, got {len(generator)}")

    def choose(log_probs: Tensor, place: int) -> Tensor:
        scaled, words = log_probs.double() / temperature, None
        if top_k:
            scaled, words = scaled.topk(min(top_k, scaled.shape[-1]), -1)
        elif top_p < 1:
            scaled, words = scaled.sort(dim=-1, descending=True, stable=True)
        probs = scaled.softmax(-1)
        total = probs.cumsum(-1)
        if top_p < 1:
            # A word stays where those before it have not got top_p together: the first always does.
            probs = probs.masked_fill(total - probs >= top_p, 0)
            total = probs.cumsum(-1)
        # The numbers are below 1, and so is their product with the sum: the place has a probability above 0.
        wanted = uniform[..., place, None].to(total.device) * total[..., -1:]
        chosen = torch.searchsorted(total, wanted, right=True)
        return (chosen if words is None else words.gather(-1, chosen))[..., 0]

    return choose
