"""SequenceRNN: recurrences over sequences of vectors, and the ways in which one sequence answers another.

    many to one               readout "clip": one answer a sequence
    many to many              readout "frame": one answer a frame
    one to many               output_length: one frame in, so many steps out, each fed with the answer before it
    many to many of any       output_length: an encoder reads all frames, a decoder writes its own number of steps
    other length

The last two are one thing: a decoder begins with the state of the encoder, however many frames that has read (Cho et
al. 2014, arXiv 1406.1078; Sutskever et al. 2014, arXiv 1409.3215). It is fed its own answers in training too, so that
training and use do the same. What this file is not: it knows no loss, no label and no file.

Shape letters: N clips, T frames, D features of a frame, H hidden features, L steps of an answer, K outputs.
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
from unreel.nn import GRU, LSTM, RNN, Normalize, PoolKind, Site, Sites, TimePool
from unreel.ops import valid

_RECURRENCES = {"lstm": LSTM, "gru": GRU, "rnn": RNN}


@dataclass(frozen=True)
class SequenceRNNConfig:
    """How a SequenceRNN is made.

    Args:
        name: the key in `MODELS`.
        recurrence: "lstm", "gru", "rnn"; or "none", the control without time: a perceptron with one hidden layer that
            judges each frame by itself. pool must then be "mean".
        hidden_size: H, in each direction.
        num_layers: layers of the recurrence, each fed by the one below.
        bidirectional: also run backwards in time; such a model cannot run as a stream.
        dropout: between the layers of the recurrence and before the answer.
        pool: how a sequence's frames become one answer. "last" of a bidirectional recurrence is the last state of each
            direction. Not used where every frame has an answer of its own.
        output_length: L; a decoder of the same kind and size then writes so many steps. None for one answer a clip or a
            frame.

    Raises:
        ConfigError: a field is out of range or does not apply.
    """

    name: Literal["rnn"] = "rnn"
    recurrence: Recurrence = "lstm"
    hidden_size: int = 64
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    pool: PoolKind = "last"
    output_length: int | None = None

    def __post_init__(self) -> None:
        for name, kind in (("recurrence", Recurrence), ("pool", PoolKind)):
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(f"{name} must be one of {', '.join(get_args(kind))}, got {getattr(self, name)!r}")
        for name in ("hidden_size", "num_layers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {self.dropout}")
        if self.output_length is not None and self.output_length < 1:
            raise ConfigError(f"output_length must be at least 1 step, or None, got {self.output_length}")
        if self.recurrence == "none":
            if self.num_layers > 1 or self.bidirectional:
                raise ConfigError("num_layers and bidirectional do not apply with recurrence='none'; leave them out")
            if self.pool != "mean":
                raise ConfigError(f"recurrence='none' averages over frames: set pool='mean', got {self.pool!r}")
        elif self.output_length is not None and self.pool != "last":
            raise ConfigError(f"a decoder begins with the last state: leave pool out, got {self.pool!r}")

    @property
    def causal(self) -> bool:
        """Whether what is said of a frame does not depend on frames after it."""
        return not self.bidirectional

    @property
    def whole_blocks(self) -> int:
        """Frames that a chunk of a film must hold a multiple of, to give what the whole film gives in training."""
        return 1

    def without_pretrained(self) -> SequenceRNNConfig:
        """The same model for weights that are loaded anyway."""
        return self

    def control(self) -> SequenceRNNConfig:
        """A perceptron of the same width on single frames, averaged: no knowledge of their order."""
        return dataclasses.replace(self, recurrence="none", num_layers=1, bidirectional=False, pool="mean")


class SequenceRNN(nn.Module):
    """A recurrence over vectors, and its answer.

    Args:
        config: its parts.
        frame_shape: (D,) of a frame.
        num_outputs: K, of each answer or step.
        readout: "clip" for one answer a clip, or the steps of a decoder; "frame" for one each frame.
    """

    Config = SequenceRNNConfig

    def __init__(
        self, config: SequenceRNNConfig, frame_shape: tuple[int, ...], num_outputs: int, readout: Readout = "clip"
    ) -> None:
        super().__init__()
        check_readout(readout, num_outputs)
        if len(frame_shape) != 1:
            raise ConfigError(f"the model rnn takes frames (D,), got {tuple(frame_shape)}; pictures go to cnn_rnn")
        if config.output_length is not None and readout == "frame":
            raise ConfigError("output_length answers a whole sequence; for an answer each frame leave it out")
        self.config = config
        self.frame_shape = tuple(frame_shape)
        self.num_outputs = num_outputs
        self.readout: Readout = readout

        (width,) = self.frame_shape
        self.normalize = Normalize([0.0] * width, [1.0] * width)
        self.seen = nn.Identity()  # the numbers by which an answer is explained
        self.perceptron: nn.Module | None = None
        self.recurrence: LSTM | GRU | RNN | None = None
        self.decoder: _Decoder | None = None
        answers = num_outputs
        if config.recurrence == "none":
            self.perceptron = nn.Sequential(nn.Linear(width, config.hidden_size), nn.ReLU())
            width = config.hidden_size
            answers *= config.output_length or 1
        else:
            self.recurrence = _RECURRENCES[config.recurrence](
                width,
                config.hidden_size,
                config.num_layers,
                bidirectional=config.bidirectional,
                dropout=config.dropout,
            )
            width = config.hidden_size * (2 if config.bidirectional else 1)
            if config.output_length is not None:
                self.decoder = _Decoder(config, num_outputs)
        self.dropout = nn.Dropout(config.dropout)
        self.head = None if self.decoder is not None else nn.Linear(width, answers)
        self.pool = None if readout == "frame" or self.decoder is not None else TimePool(config.pool, width)

    @property
    def measures_statistics(self) -> bool:
        """Whether `normalize` should be set from the training data."""
        return True

    def sites(self) -> Sites:
        """The numbers of each frame, normalised, and the pooling over time; of the steps of a decoder none."""
        return Sites(() if self.config.output_length is not None else (Site(self.seen, packed=False),), self.pool)

    def forward(
        self, frames: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Answer for whole sequences, or go on with the next frames of each.

        Args:
            frames: (N, T, D).
            lengths: (N,) int64, valid frames of each clip; None where all are.
            state: what an earlier call returned; None at the start of the clips.

        Returns:
            (N, T, K) with zeros in the padding; or, over every frame so far, (N, K), or (N, L, K) with output_length;
            and the state.
        """
        if frames.ndim != 3 or tuple(frames.shape[2:]) != self.frame_shape:
            raise ValueError(f"frames must be (N, T, {self.frame_shape[0]}), got {tuple(frames.shape)}")
        lengths = valid.ragged(lengths, frames.shape[1])
        recurrent = tuple[Tensor, ...]() if state is None else state[0]
        pooled = None if state is None else state[1]
        x = self.seen(self.normalize(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]))
        if self.perceptron is not None:
            x = self.perceptron(x)
        elif self.recurrence is not None:
            x, recurrent = self.recurrence(x, lengths, recurrent or None)
        if self.decoder is not None:
            return self.decoder(recurrent), (recurrent, ())
        if self.pool is None:
            outputs = self._read(x)
            return (outputs if lengths is None else valid.zero_padding(outputs, lengths)), (recurrent, ())
        if self.pool.kind == "last" and self.config.bidirectional:
            return self._read(recurrent[0][:, -2:].flatten(1)), (recurrent, ())
        clip, pooled = self.pool(x, lengths, pooled)
        outputs = self._read(clip)
        if self.config.output_length is not None:
            outputs = outputs.unflatten(1, (self.config.output_length, self.num_outputs))
        return outputs, (recurrent, pooled)

    def step(self, frame: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The next frame of each stream: frame (N, D) to what `forward` says so far, and the state after it.

        Raises:
            ConfigError: the model is bidirectional.
        """
        if self.config.bidirectional:
            raise ConfigError(
                "a bidirectional model cannot run as a stream: what it says depends on frames yet to come. Run it on "
                "whole sequences, or train one with bidirectional=False"
            )
        outputs, after = self(frame.unsqueeze(1), None, state)
        return (outputs if self.readout == "clip" else outputs[:, 0]), after

    def _read(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(x))  # type: ignore[misc] (only a decoder does without)


class _Decoder(nn.Module):
    """Writes L answers: state of an encoder, tensors (N, layers·directions, H), to (N, L, K)."""

    def __init__(self, config: SequenceRNNConfig, outputs: int) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.length = config.output_length or 1
        self.outputs = outputs
        self.recurrence = _RECURRENCES[config.recurrence](outputs, hidden, config.num_layers, dropout=config.dropout)
        members = self.recurrence.cell.states
        # both directions of a layer become the state of one
        self.bridges = nn.ModuleList(
            nn.Linear(2 * hidden, hidden) for _ in range(members if config.bidirectional else 0)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, state: tuple[Tensor, ...]) -> Tensor:
        if self.bridges:
            pairs = zip(self.bridges, state, strict=True)
            state = tuple(bridge(member.unflatten(1, (-1, 2)).flatten(2)) for bridge, member in pairs)
        answer = state[0].new_zeros(state[0].shape[0], self.outputs)
        answers: list[Tensor] = []
        for _ in range(self.length):
            out, state = self.recurrence.step(answer, state)
            answer = self.head(self.dropout(out))
            answers.append(answer)
        return torch.stack(answers, 1)
