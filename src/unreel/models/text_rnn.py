"""TextRNN: words become vectors, convolutions over time see them beside each other, a recurrence reads on from there.

Three models of sentences are this one with some of its parts:

    C-LSTM  embedding, convolution, LSTM             Zhou et al. (2015), arXiv:1511.08630   the default
    CNN     embedding, convolutions, maximum         Kim (2014), arXiv:1408.5882            recurrence "none"
    LSTM    embedding, LSTM                                                                 widths ()

and with neither part it is a bag of words, the control for all three. What this file is not: it knows no word, only
indices of a vocabulary, no loss, no label and no file.

Shape letters: N clips, T frames (tokens), D features, K outputs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from unreel.errors import ConfigError
from unreel.models.cnn_rnn import Recurrence, State
from unreel.models.readout import Readout, check_readout
from unreel.nn import GRU, LSTM, RNN, PoolKind, Site, Sites, TimeConv1d, TimePool
from unreel.nn.words import hide
from unreel.ops import valid
from unreel.tokens import PADDING, UNKNOWN

SPREAD = 0.25
"""Embeddings begin uniform within plus and minus this, as those of Kim (2014)."""

_RECURRENCES = {"lstm": LSTM, "gru": GRU, "rnn": RNN}


@dataclass(frozen=True)
class TextRNNConfig:
    """How a TextRNN is made.

    Args:
        name: the key in `MODELS`.
        vocabulary: tokens, with padding (0) and the unknown one (1) among them. A run counts it on its training side.
        embedding_size: numbers of which each token's vector is made.
        embeddings: a text file of vectors to begin with, as GloVe and word2vec write them; None draws all. It is read
            when training starts, and never after.
        widths: how many words each convolution sees at a time, one convolution for each; () for none.
        channels: features of each convolution.
        padding: "same": convolutions see words on both sides. "causal": only words before.
        recurrence: "lstm", "gru", "rnn" or "none"; the three settings below are then not used.
        hidden_size: features of the recurrence, in each direction.
        num_layers: layers of the recurrence.
        bidirectional: also read backwards; such a model cannot run as a stream.
        pool: how a clip's words become one answer. "last" needs a recurrence; of a bidirectional one it is the last
            state of each direction. Not used where every word has an answer of its own.
        dropout: between the layers of the recurrence and before the head.
        embedding_dropout: of the numbers of each word's vector.
        word_dropout: probability that a word is taken for an unknown one, in training.

    Raises:
        ConfigError: a field is out of range or does not apply.
    """

    name: Literal["text_rnn"] = "text_rnn"
    vocabulary: int = 0
    embedding_size: int = 128
    embeddings: str | None = None
    widths: tuple[int, ...] = (3,)
    channels: int = 128
    padding: Literal["same", "causal"] = "same"
    recurrence: Recurrence = "lstm"
    hidden_size: int = 128
    num_layers: int = 1
    bidirectional: bool = False
    pool: PoolKind = "max"
    dropout: float = 0.5
    embedding_dropout: float = 0.3
    word_dropout: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))  # YAML and JSON know lists only
        choices = {"padding": ("same", "causal"), "recurrence": get_args(Recurrence), "pool": get_args(PoolKind)}
        for name, kinds in choices.items():
            if getattr(self, name) not in kinds:
                raise ConfigError(f"{name} must be one of {', '.join(kinds)}, got {getattr(self, name)!r}")
        if any(width < 1 for width in self.widths):
            raise ConfigError(f"widths must be numbers of words, each at least 1, got {self.widths}")
        for name in ("embedding_size", "channels", "hidden_size", "num_layers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("dropout", "embedding_dropout", "word_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.recurrence == "none" and self.pool == "last":
            raise ConfigError("pool 'last' needs a recurrence that has seen the words before; set pool max or mean")

    @property
    def causal(self) -> bool:
        """Whether what is said of a word does not depend on words after it."""
        backwards = self.bidirectional and self.recurrence != "none"
        return not backwards and (self.padding == "causal" or not self.widths)

    @property
    def whole_blocks(self) -> int:
        """Frames that a chunk of a film must hold a multiple of, to give what the whole film gives in training."""
        return 1

    def without_pretrained(self) -> TextRNNConfig:
        """The same model for weights that are loaded anyway."""
        return dataclasses.replace(self, embeddings=None)

    def control(self) -> TextRNNConfig:
        """A bag of words: the mean of what each word says by itself, whatever the order."""
        defaults = TextRNNConfig()
        return dataclasses.replace(
            self,
            widths=(),
            channels=defaults.channels,
            padding="same",
            recurrence="none",
            hidden_size=defaults.hidden_size,
            num_layers=1,
            bidirectional=False,
            pool="mean",
        )


class TextRNN(nn.Module):
    """Embedding, convolutions over time, recurrence, readout.

    Args:
        config: its parts, with a vocabulary.
        frame_shape: () of a token.
        num_outputs: K.
        readout: "clip" for one answer a text, "frame" for one each token.
    """

    Config = TextRNNConfig

    def __init__(
        self, config: TextRNNConfig, frame_shape: tuple[int, ...], num_outputs: int, readout: Readout = "clip"
    ) -> None:
        super().__init__()
        check_readout(readout, num_outputs)
        if tuple(frame_shape) != ():
            raise ConfigError(f"text_rnn reads tokens, frames of shape (), got frames of shape {tuple(frame_shape)}")
        if config.vocabulary <= UNKNOWN:
            raise ConfigError(
                f"vocabulary must be at least 2, padding and the unknown token, got {config.vocabulary}: a run counts "
                "it on its training side; elsewhere it is what len(Vocabulary) says"
            )
        self.config = config
        self.frame_shape: tuple[int, ...] = ()
        self.num_outputs = num_outputs
        self.readout: Readout = readout

        self.embedding = nn.Embedding(config.vocabulary, config.embedding_size, padding_idx=PADDING)
        with torch.no_grad():
            self.embedding.weight.uniform_(-SPREAD, SPREAD)[PADDING] = 0
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.convolutions = nn.ModuleList(
            TimeConv1d(config.embedding_size, config.channels, width, padding=config.padding) for width in config.widths
        )
        features = config.channels * len(config.widths) or config.embedding_size
        self.recurrence = None
        if config.recurrence != "none":
            self.recurrence = _RECURRENCES[config.recurrence](
                features,
                config.hidden_size,
                config.num_layers,
                bidirectional=config.bidirectional,
                dropout=config.dropout,
            )
            features = config.hidden_size * self.recurrence.directions
        self.pool = TimePool(config.pool, features) if readout == "clip" else None
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(features, num_outputs)

    def sites(self) -> Sites:
        """The vector of each word, and the pooling over time."""
        return Sites((Site(self.embedding, packed=False),), self.pool)

    def forward(
        self, frames: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Answer for whole texts, or, if causal, go on with the next tokens of each.

        Args:
            frames: (N, T) int64, indices of tokens.
            lengths: (N,) int64, tokens of each text; None where all are valid.
            state: what an earlier call returned; None at the start of the texts.

        Returns:
            outputs (N, K) over every token so far, or (N, T, K) with zeros in the padding; and the state: what each
            convolution, the recurrence and the pooling carry.
        """
        if frames.ndim != 2 or frames.dtype != torch.int64:
            raise ValueError(f"frames must be tokens (N, T) int64, got {tuple(frames.shape)} of {frames.dtype}")
        lengths = valid.ragged(lengths, frames.shape[1])
        count = len(self.convolutions)
        before = (None,) * (count + 2) if state is None else state
        x = self._embed(frames, lengths)
        after: list[tuple[Tensor, ...]] = []
        if count:
            seen = []
            for convolution in self.convolutions:
                y, _, carried = convolution(x, lengths, before[len(after)])
                seen.append(y)
                after.append(carried)
            x = torch.cat(seen, 2).relu()
        x, recurrent = self._read_on(x, lengths, before[count])
        after.append(recurrent)
        if self.pool is None:
            outputs = self.head(self.dropout(x))
            return (outputs if lengths is None else valid.zero_padding(outputs, lengths)), (*after, ())
        if self.config.pool == "last" and self.config.bidirectional:
            return self.head(self.dropout(recurrent[0][:, -2:].flatten(1))), (*after, ())
        clip, pooled = self.pool(x, lengths, before[count + 1])
        return self.head(self.dropout(clip)), (*after, pooled)

    def step(self, frame: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The next token of each stream: frame (N,) int64 to outputs (N, K) so far and the state after it.

        Raises:
            ConfigError: the model is not causal.
        """
        if not self.config.causal:
            raise ConfigError(
                "this model cannot run as a stream: what it says depends on words yet to come. Run it on whole texts, "
                "or train one with bidirectional=False and padding='causal'"
            )
        outputs, after = self(frame.unsqueeze(1), None, state)
        return (outputs if self.readout == "clip" else outputs[:, 0]), after

    def _read_on(
        self, x: Tensor, lengths: Tensor | None, state: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The recurrence, where there is one."""
        return (x, ()) if self.recurrence is None else self.recurrence(x, lengths, state)

    def _embed(self, tokens: Tensor, lengths: Tensor | None) -> Tensor:
        """(N, T) to (N, T, D), zeros in the padding."""
        if lengths is not None:
            tokens = valid.zero_padding(tokens, lengths)
        if self.training and self.config.word_dropout:
            tokens = hide(tokens, self.config.word_dropout)
        return self.embedding_dropout(self.embedding(tokens))
