"""Decoders of captions: recurrences that read the word before and write the next one, with or without a look at places.

`PlainDecoder` knows of the clip only what its first state holds; all words that are given go through the scan over time
at once. `AttentiveDecoder` looks at the clip again before each word, Xu et al. (2015, arXiv 1502.03044): its recurrence
runs word by word, all else for all words at once. What this file is not: it sees no frame and no encoder, and it
searches for nothing.

Shape letters: N clips, R rows of each, L words of a row, M of all words, V outputs, E features of a word, H of the
recurrence, Y its layers, A places, D features of a place, K features in which attention compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from unreel.nn import GRU, LSTM, AdditiveAttention

SPREAD = 0.08
"""Vectors of words begin uniform within plus and minus this, as those of im2txt, the code of Vinyals et al. (2015)."""
RECURRENCES = {"lstm": LSTM, "gru": GRU}
States = tuple[Tensor, ...]
"""Of the recurrence: (h,), or (h, c), each (N, R, Y, H)."""


class PlainDecoder(nn.Module):
    """Word after word from a state.

    Dropout stands before and behind the recurrence and between its layers (Zaremba et al. 2014, as in Vinyals et al.).

    Args:
        outputs: V.
        embedding_size: E.
        hidden_size: H.
        num_layers: Y.
        recurrence: "lstm" or "gru".
        dropout: in train mode.
    """

    def __init__(
        self, outputs: int, embedding_size: int, hidden_size: int, num_layers: int, recurrence: str, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = _embedding(outputs, embedding_size)
        self.recurrence = RECURRENCES[recurrence](embedding_size, hidden_size, num_layers, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, outputs)

    def first(self, x: Tensor) -> States:
        """The state (N, Y, H) behind a first input x (N, E) that is no word."""
        return self.recurrence.step(self.dropout(x))[1]

    def forward(self, words: Tensor, state: States) -> tuple[Tensor, States]:
        """Words (N, R, L) and the state before them to logits (N, R, L, V) and the state behind them."""
        rows = words.shape[:2]
        x = self.dropout(self.embedding(words)).flatten(0, 1)
        out, after = self.recurrence(x, None, tuple(member.flatten(0, 1) for member in state))
        logits = self.head(self.dropout(out.unflatten(0, rows)))
        return logits, tuple(member.unflatten(0, rows) for member in after)

    def teach(self, words: Tensor, state: States, asked: Tensor) -> Tensor:
        """Logits (M, V) behind the words (N, R, L) that are asked for, (N, R, L) bool, row after row.

        No row is read far beyond its last one: the longest go first, and the others leave the recurrence as they end.
        """
        ends, order = _ends(asked).flatten().sort(descending=True)
        x = self.dropout(self.embedding(words.flatten(0, 1).index_select(0, order)))
        state = tuple(member.flatten(0, 1).index_select(0, order) for member in state)
        outs = []
        for begin, end, rows in _blocks(_still(ends, words.shape[2]).sum(1).tolist()):
            out, state = self.recurrence(x[:rows, begin:end], None, tuple(member[:rows] for member in state))
            outs.append(functional.pad(out, (0, 0, 0, 0, 0, len(order) - rows)))
        out = torch.cat(outs, 1).index_select(0, order.argsort())
        return self.head(self.dropout(_only(out, asked)))


class AttentiveDecoder(nn.Module):
    """Word after word, with a look at places before each.

    For a word y_{t-1} and the state h_{t-1}: ẑ = β·Σ_a α_a·m_a with attention α asked by h_{t-1} and the gate
    β = σ(f·h_{t-1}) (section 4.2.1); the recurrence reads [E y_{t-1}, ẑ]; the logits are L_o tanh(E y_{t-1} + L_h h_t
    + L_z ẑ), equation 7 with the tanh of its authors' code. State and cell begin as tanh of a linear layer of the mean
    over places and frames. Of several layers of the recurrence, the topmost asks and answers. Dropout stands behind h_t
    and behind the tanh, and between layers. Left out is the penalty that spreads attention (equation 14).

    Args:
        outputs: V.
        embedding_size: E.
        hidden_size: H.
        num_layers: Y.
        recurrence: "lstm" or "gru".
        dropout: in train mode.
        memory_size: D.
        attention_size: K.
    """

    def __init__(
        self,
        outputs: int,
        embedding_size: int,
        hidden_size: int,
        num_layers: int,
        recurrence: str,
        dropout: float,
        memory_size: int,
        attention_size: int,
    ) -> None:
        super().__init__()
        self.embedding = _embedding(outputs, embedding_size)
        self.recurrence = RECURRENCES[recurrence](
            embedding_size + memory_size, hidden_size, num_layers, dropout=dropout
        )
        self.begin = nn.ModuleList(
            nn.Linear(memory_size, num_layers * hidden_size) for _ in range(self.recurrence.cell.states)
        )
        self.attention = AdditiveAttention(hidden_size, memory_size, attention_size)
        self.gate = nn.Linear(hidden_size, 1)
        self.from_state = nn.Linear(hidden_size, embedding_size)
        self.from_context = nn.Linear(memory_size, embedding_size, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(embedding_size, outputs)

    def first(self, mean: Tensor) -> States:
        """The state (N, Y, H) before the first word, of the mean (N, D) of all places."""
        dtype = self.embedding.weight.dtype  # a state stays in it under autocast
        layers = self.recurrence.num_layers
        return tuple(layer(mean).tanh().to(dtype).unflatten(1, (layers, -1)) for layer in self.begin)

    def forward(
        self, words: Tensor, state: States, memory: Tensor, keys: Tensor, seen: Tensor
    ) -> tuple[Tensor, States, Tensor]:
        """Words, looking.

        Args:
            words: (N, R, L).
            state: before them.
            memory: (N, A, D), finite everywhere.
            keys: (N, A, K), `attention.keys` of it.
            seen: (N, A) bool, false in the padding.

        Returns:
            logits (N, R, L, V), the state behind the words, weights (N, R, L, A).
        """
        embedded = self.embedding(words)
        tops, contexts, looks = [], [], []
        for x in embedded.unbind(2):
            top, context, weights, state = self._look(x, state, memory, keys, seen)
            tops.append(top)
            contexts.append(context)
            looks.append(weights)
        return self._say(embedded, torch.stack(tops, 2), torch.stack(contexts, 2)), state, torch.stack(looks, 2)

    def teach(self, words: Tensor, state: States, memory: Tensor, keys: Tensor, seen: Tensor, asked: Tensor) -> Tensor:
        """Logits (M, V) behind the words that are asked for, (N, R, L) bool, row after row; the rest as in `forward`.

        Clips, and the rows of each, are sorted, the longest first: those that still have words are always in a corner
        of (N, R), and all else is left out. Whole clips and whole ranks of rows, for rows share the memory of a clip.
        """
        clips, rows, length = words.shape
        ends, rank = _ends(asked).sort(1, descending=True)
        first = ends[:, 0].argsort(descending=True)
        order = (first.unsqueeze(1) * rows + rank[first]).flatten()
        still = _still(ends[first], length)
        corners = zip(still.any(2).sum(1).tolist(), still.any(1).sum(1).tolist(), strict=True)
        embedded = self.embedding(words)
        memory, keys, seen = (each.index_select(0, first) for each in (memory, keys, seen))
        state = tuple(_reordered(member, order) for member in state)
        tops, contexts = [], []
        for x, (n, r) in zip(_reordered(embedded, order).unbind(2), corners, strict=True):
            if n == 0:
                break
            if n < len(memory):
                memory, keys, seen = memory[:n], keys[:n], seen[:n]
            state = tuple(member[:n, :r] for member in state)
            top, context, _, state = self._look(x[:n, :r], state, memory, keys, seen)
            tops.append(functional.pad(top, (0, 0, 0, rows - r, 0, clips - n)))
            contexts.append(functional.pad(context, (0, 0, 0, rows - r, 0, clips - n)))
        back = order.argsort()
        top, context = (_reordered(torch.stack(each, 2), back) for each in (tops, contexts))
        return self._say(*(_only(each.flatten(0, 1), asked) for each in (embedded, top, context)))

    def _look(
        self, x: Tensor, state: States, memory: Tensor, keys: Tensor, seen: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, States]:
        """One vector of a word (N, R, E) on: h of the topmost layer, what was seen, weights (N, R, A), the state."""
        h = state[0][:, :, -1]
        context, weights = self.attention(h, memory, keys, seen)
        context = self.gate(h).sigmoid() * context
        x, rows = torch.cat([x, context.to(x.dtype)], 2), x.shape[:2]
        top, after = self.recurrence.step(x.flatten(0, 1), tuple(member.flatten(0, 1) for member in state))
        return top.unflatten(0, rows), context, weights, tuple(member.unflatten(0, rows) for member in after)

    def _say(self, embedded: Tensor, top: Tensor, context: Tensor) -> Tensor:
        said = (embedded + self.from_state(self.dropout(top)) + self.from_context(context)).tanh()
        return self.head(self.dropout(said))


def _ends(asked: Tensor) -> Tensor:
    """How far rows have to be read (N, R) for the words that are asked for (N, R, L): to the first at least."""
    numbers = torch.arange(1, asked.shape[2] + 1, device=asked.device)
    return (asked * numbers).amax(2).clamp_min(1)


def _still(ends: Tensor, length: int) -> Tensor:
    """Which rows (L, *) still go on at each of so many words, ends (*)."""
    return ends > torch.arange(length, device=ends.device).view(-1, *[1] * ends.ndim)


def _blocks(rows: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Begin and end of each stretch of words, and its rows, of how many rows still go on at each word.

    A new stretch begins when a quarter of the rows have ended; where none goes on there is no stretch.
    """
    begin = 0
    while begin < len(rows) and rows[begin]:
        here = rows[begin]
        end = next((at for at in range(begin, len(rows)) if rows[at] == 0 or 4 * rows[at] <= 3 * here), len(rows))
        yield begin, end, here
        begin = end


def _only(x: Tensor, asked: Tensor) -> Tensor:
    """What x (N·R, L', *) holds at the words that are asked for, all among the first L': (M, *)."""
    return x.flatten(0, 1).index_select(0, asked.flatten(0, 1)[:, : x.shape[1]].flatten().nonzero()[:, 0])


def _reordered(x: Tensor, order: Tensor) -> Tensor:
    """Rows of x (N, R, *) in another order (N·R,)."""
    return x.flatten(0, 1).index_select(0, order).unflatten(0, x.shape[:2])


def _embedding(outputs: int, size: int) -> nn.Embedding:
    embedding = nn.Embedding(outputs, size)
    nn.init.uniform_(embedding.weight, -SPREAD, SPREAD)
    return embedding
