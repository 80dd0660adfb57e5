"""Decoders of captions: recurrences that read the word before and write the next one, with or without a look at places.

`PlainDecoder` knows of the clip only what its first state holds; all words that are given go through the scan over time
at once. `AttentiveDecoder` looks at the clip again before each word, Xu et al. (2015, arXiv 1502.03044): its recurrence
runs word by word, all else for all words at once. What this file is not: it sees no frame and no encoder, and it
searches for nothing.

Shape letters: N clips, R rows of each, L words of a row, M of all words, V outputs, E features of a word, H of the
recurrence, Y its layers, A places, D features of a place, K features in which attention compares.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

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

    def forward(self, words: Tensor, state: States, asked: Tensor | None = None) -> tuple[Tensor, States]:
        """Words (N, R, L) and the state before them to logits (N, R, L, V) and the state behind them.

        Where `asked` (N, R, L) bool is given, logits (M, V) behind those words alone.
        """
        rows = words.shape[:2]
        x = self.dropout(self.embedding(words)).flatten(0, 1)
        out, after = self.recurrence(x, None, tuple(member.flatten(0, 1) for member in state))
        logits = self.head(self.dropout(_only(out.unflatten(0, rows), asked)))
        return logits, tuple(member.unflatten(0, rows) for member in after)


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
        self, words: Tensor, state: States, memory: Tensor, keys: Tensor, seen: Tensor, asked: Tensor | None = None
    ) -> tuple[Tensor, States, Tensor]:
        """Words, looking.

        Args:
            words: (N, R, L).
            state: before them.
            memory: (N, A, D), finite everywhere.
            keys: (N, A, K), `attention.keys` of it.
            seen: (N, A) bool, false in the padding.
            asked: (N, R, L) bool, words behind which logits are wanted; None for all.

        Returns:
            logits (N, R, L, V), or (M, V) of those that are asked; the state behind the words, weights (N, R, L, A).
        """
        embedded = self.embedding(words)
        tops, contexts, looks = [], [], []
        for x in embedded.unbind(2):
            h = state[0][:, :, -1]
            context, weights = self.attention(h, memory, keys, seen)
            context = self.gate(h).sigmoid() * context
            top, state = self._recur(torch.cat([x, context.to(x.dtype)], 2), state)
            tops.append(top)
            contexts.append(context)
            looks.append(weights)
        embedded, top, context = (
            _only(each, asked) for each in (embedded, torch.stack(tops, 2), torch.stack(contexts, 2))
        )
        said = (embedded + self.from_state(self.dropout(top)) + self.from_context(context)).tanh()
        return self.head(self.dropout(said)), state, torch.stack(looks, 2)

    def _recur(self, x: Tensor, state: States) -> tuple[Tensor, States]:
        rows = x.shape[:2]
        out, after = self.recurrence.step(x.flatten(0, 1), tuple(member.flatten(0, 1) for member in state))
        return out.unflatten(0, rows), tuple(member.unflatten(0, rows) for member in after)


def _only(x: Tensor, asked: Tensor | None) -> Tensor:
    """What x (N, R, L, *) holds at the words that are asked for: (M, *); all of it where asked is None."""
    return x if asked is None else x.flatten(0, 2).index_select(0, asked.flatten().nonzero()[:, 0])


def _embedding(outputs: int, size: int) -> nn.Embedding:
    embedding = nn.Embedding(outputs, size)
    nn.init.uniform_(embedding.weight, -SPREAD, SPREAD)
    return embedding
