"""CNNRNN: a CNN looks at every frame, a recurrence carries what it saw through time, a linear head reads it out.

The LRCN of Donahue et al. (2015) and the TimeDistributed-CNN-LSTM of the tutorials. With recurrence "none" it is the
control for both: each frame judged by itself, the judgements averaged. What this file is not: it knows no loss, no
label and no file.

Shape letters: N clips, T frames, C channels, H W pixels, D features, K outputs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from unreel.errors import ConfigError
from unreel.models.encoders import Encoder, EncoderConfig, build_encoder, pretrained_statistics
from unreel.models.readout import Readout, check_readout
from unreel.nn import GRU, LSTM, RNN, FrameDifference, Normalize, PoolKind, Site, Sites, TimeDistributed, TimePool
from unreel.ops import valid

Input = Literal["frames", "difference", "both"]
Recurrence = Literal["lstm", "gru", "rnn", "none"]
# Every tensor in a state starts with N, so a stream can be cut out of a batch of them.
State = tuple[tuple[Tensor, ...], ...]

_RECURRENCES = {"lstm": LSTM, "gru": GRU, "rnn": RNN}


@dataclass(frozen=True)
class CNNRNNConfig:
    """How a CNNRNN is made.

    Args:
        name: the key in `MODELS`.
        encoder: what looks at each frame.
        input: "frames", the "difference" of each frame to the one before it, or "both", side by side as channels.
        recurrence: "lstm", "gru", "rnn"; or "none", the control without time: the fields down to `dropout` must then
            keep their defaults, and pool must be "mean".
        hidden_size: features of the recurrence, in each direction.
        num_layers: layers of the recurrence.
        bidirectional: also run backwards in time; such a model cannot run as a stream.
        dropout: between the layers of the recurrence and before the head.
        pool: how a clip's frames become one answer. "last" of a bidirectional recurrence is the last state of each
            direction. Not used where every frame has an answer of its own.
        micro_batch: frames that go through the encoder at a time; None for all.
        recompute: let the backward pass compute the encoder's activations again instead of keeping them.

    Raises:
        ConfigError: a field is out of range or does not apply.
    """

    name: Literal["cnn_rnn"] = "cnn_rnn"
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    input: Input = "frames"
    recurrence: Recurrence = "lstm"
    hidden_size: int = 128
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    pool: PoolKind = "last"
    micro_batch: int | None = None
    recompute: bool = False

    def __post_init__(self) -> None:
        for name, kind in (("input", Input), ("recurrence", Recurrence), ("pool", PoolKind)):
            if getattr(self, name) not in get_args(kind):
                choices = ", ".join(get_args(kind))
                raise ConfigError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ConfigError(f"micro_batch must be at least 1 frame, or None, got {self.micro_batch}")
        if self.recurrence != "none":
            return
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name in ("hidden_size", "num_layers", "bidirectional", "dropout"):
            if getattr(self, name) != defaults[name]:
                raise ConfigError(f"{name} does not apply with recurrence='none'; leave it out")
        if self.pool != "mean":
            raise ConfigError(f"recurrence='none' averages over frames: set pool='mean', got {self.pool!r}")

    @property
    def causal(self) -> bool:
        """Whether what is said of a frame does not depend on frames after it."""
        return not self.bidirectional

    @property
    def whole_blocks(self) -> int:
        """Frames that a chunk of a film must hold a multiple of, to give what the whole film gives in training."""
        return 1

    def without_pretrained(self) -> CNNRNNConfig:
        """The same model for weights that are loaded anyway: nothing is downloaded for it."""
        return dataclasses.replace(self, encoder=dataclasses.replace(self.encoder, pretrained=False, weights=None))

    def control(self) -> CNNRNNConfig:
        """The per-frame control of this model: the same encoder on single frames, without any knowledge of time."""
        return CNNRNNConfig(
            encoder=self.encoder,
            recurrence="none",
            pool="mean",
            micro_batch=self.micro_batch,
            recompute=self.recompute,
        )


class CNNRNN(nn.Module):
    """Encoder, recurrence, readout.

    Args:
        config: its parts.
        frame_shape: (C, H, W) of a frame; (D,) with the encoder "identity".
        num_outputs: K.
        readout: "clip" for one answer a clip, "frame" for one each frame.
    """

    Config = CNNRNNConfig

    def __init__(
        self, config: CNNRNNConfig, frame_shape: tuple[int, ...], num_outputs: int, readout: Readout = "clip"
    ) -> None:
        super().__init__()
        check_readout(readout, num_outputs)
        self.config = config
        self.frame_shape = tuple(frame_shape)
        self.num_outputs = num_outputs
        self.readout: Readout = readout

        channels = self.frame_shape[0]
        self.normalize = Normalize(
            *(pretrained_statistics(config.encoder, channels) or ([0.0] * channels, [1.0] * channels))
        )
        self.difference = None if config.input == "frames" else FrameDifference()
        seen_channels = channels * (2 if config.input == "both" else 1)
        encoder = build_encoder(config.encoder, (seen_channels, *self.frame_shape[1:]))
        self.encoder = TimeDistributed(encoder, config.micro_batch, config.recompute)
        self.features = encoder.features
        width = self.features
        self.recurrence = None
        if config.recurrence != "none":
            self.recurrence = _RECURRENCES[config.recurrence](
                width,
                config.hidden_size,
                config.num_layers,
                bidirectional=config.bidirectional,
                dropout=config.dropout,
            )
            width = config.hidden_size * self.recurrence.directions
        self.pool = None
        if readout == "clip":
            self.pool = TimePool(config.pool, width if self.recurrence is not None else num_outputs)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, num_outputs)

    @property
    def measures_statistics(self) -> bool:
        """Whether `normalize` should be set from the training data, and not from pretrained weights."""
        return not self.config.encoder.has_pretrained_weights

    @property
    def has_frozen_encoder(self) -> bool:
        """Whether `encode` gives a frame the same features in every epoch, so that they are worth keeping."""
        return self.config.encoder.frozen and self.config.encoder.unfreeze_from is None

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """(D,): what `encode` gives of a frame."""
        return (self.features,)

    @property
    def feature_kind(self) -> str:
        """What features depend on besides the encoder's weights."""
        return self.config.input

    def sites(self) -> Sites:
        """The encoder's last map of each frame, and the pooling over time."""
        return Sites((Site(cast(Encoder, self.encoder.module).last_map),), self.pool)

    def forward(
        self, frames: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Answer for whole clips, or go on with the next frames of each.

        Args:
            frames: (N, T, *frame), uint8 or float.
            lengths: (N,) int64, valid frames of each clip; None where all are.
            state: what an earlier call returned; None at the start of the clips.

        Returns:
            outputs (N, K) over every frame so far, or (N, T, K) with zeros in the padding; and the state.
        """
        lengths = valid.ragged(lengths, frames.shape[1])
        features, seen = self._encode(frames, lengths, None if state is None else state[0])
        outputs, carried = self.decode(features, lengths, None if state is None else state[1:])
        return outputs, (seen, *carried)

    def step(self, frame: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The next frame of each stream: frame (N, *frame) to outputs (N, K) so far and the state after it.

        Raises:
            ConfigError: the model is bidirectional.
        """
        if self.config.bidirectional:
            raise ConfigError(
                "a bidirectional model cannot run as a stream: what it says depends on frames yet to come. Run it on "
                "whole clips, or train one with bidirectional=False"
            )
        outputs, after = self(frame.unsqueeze(1), None, state)
        return (outputs if self.readout == "clip" else outputs[:, 0]), after

    def encode(self, frames: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features (N, T, D) of whole clips, zeros in the padding: the half of `forward` before the recurrence."""
        return self._encode(frames, valid.ragged(lengths, frames.shape[1]), None)[0]

    def decode(
        self, features: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """The half of `forward` from the recurrence on: features (N, T, D) to outputs and the state of this half."""
        lengths = valid.ragged(lengths, features.shape[1])
        recurrent, pooled = (None, None) if state is None else state
        if self.recurrence is None:
            return self._judge_frames(features, lengths, pooled)
        out, recurrent = self.recurrence(features, lengths, recurrent)
        if self.pool is None:
            return self._read(out, lengths), (recurrent, ())
        if self.pool.kind == "last" and self.config.bidirectional:
            return self.head(self.dropout(recurrent[0][:, -2:].flatten(1))), (recurrent, ())
        clip, pooled = self.pool(out, lengths, pooled)
        return self.head(self.dropout(clip)), (recurrent, pooled)

    def _judge_frames(
        self, features: Tensor, lengths: Tensor | None, pooled: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, State]:
        outputs = self._read(features, lengths)
        if self.pool is None:
            return outputs, ((), ())
        clip, after = self.pool(outputs, lengths, pooled)
        return clip, ((), after)

    def _read(self, out: Tensor, lengths: Tensor | None) -> Tensor:
        outputs = self.head(self.dropout(out))
        return outputs if lengths is None else valid.zero_padding(outputs, lengths)

    def _encode(
        self, frames: Tensor, lengths: Tensor | None, seen: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        if frames.ndim < 3 or tuple(frames.shape[2:]) != self.frame_shape:
            raise ValueError(f"frames must be (N, T, {self.frame_shape}), got {tuple(frames.shape)}")
        x = self.normalize(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        after: tuple[Tensor, ...] = ()
        if self.difference is not None:
            difference, after = self.difference(x, lengths, seen)
            x = difference if self.config.input == "difference" else torch.cat([x, difference], 2)
        return self.encoder(x, lengths), after
