"""CRDNN: convolutions over time and frequency hear a spectrogram, a recurrence carries it on, a dense net reads it out.

The convolutional recurrent network of sound events (CRNN, Çakır et al. 2017, arXiv 1702.06286) and, with its dense
layers, of speech (CRDNN, SpeechBrain). Each block is a convolution over time and frequency, batch normalisation, ReLU,
max-pooling over frequency, dropout; what they hear goes through the recurrence. What this file is not: it computes no
spectrogram and knows no loss, no label and no file.

Shape letters: N clips, T frames (T' after pooling in time), C channels, F mels, D features, K outputs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from unreel.errors import ConfigError
from unreel.models.cnn_rnn import Recurrence, State
from unreel.models.readout import Readout, check_readout
from unreel.nn import (
    GRU,
    LSTM,
    RNN,
    BlockNorm,
    HeldDropout,
    Normalize,
    PoolKind,
    Site,
    Sites,
    TimeConv2d,
    TimeDistributed,
    TimeMaxPool,
    TimePool,
)
from unreel.ops import valid

_RECURRENCES = {"lstm": LSTM, "gru": GRU, "rnn": RNN}


@dataclass(frozen=True)
class CRDNNConfig:
    """How a CRDNN is made.

    Args:
        name: the key in `MODELS`.
        channels: of the convolution in each block.
        kernel_size: of every convolution, (frames, mels).
        pools: how many times fewer mels there are after each block, rounded up.
        time_pool: of how many frames one is made after the last block, the largest of each feature; the recurrence has
            so many times fewer steps. Answers for frames are repeated as often.
        norm_frames: consecutive frames whose statistics batch normalisation takes together in training, over all clips.
        recurrence: "lstm", "gru", "rnn"; or "none": hidden_size, num_layers and bidirectional must then keep their
            defaults.
        hidden_size: features of the recurrence, in each direction.
        num_layers: layers of the recurrence.
        bidirectional: also run backwards in time; None for what `causal` allows.
        dense: sizes of the hidden layers behind the recurrence.
        dropout: of whole feature maps after each block, between the layers of the recurrence, and after each dense one.
        pool: how a clip's frames become one before the dense layers. "last" of a bidirectional recurrence is the last
            state of each direction. Not used where every frame has an answer of its own.
        causal: convolutions look back only, and nothing runs backwards, so that the model can run as a stream.

    Raises:
        ConfigError: a field is out of range or does not apply.
    """

    name: Literal["crdnn"] = "crdnn"
    channels: tuple[int, ...] = (32, 32, 64)
    kernel_size: tuple[int, int] = (3, 3)
    pools: tuple[int, ...] = (2, 2, 2)
    time_pool: int = 1
    norm_frames: int = 1024
    recurrence: Recurrence = "gru"
    hidden_size: int = 64
    num_layers: int = 1
    bidirectional: bool | None = None
    dense: tuple[int, ...] = (64,)
    dropout: float = 0.2
    pool: PoolKind = "mean"
    causal: bool = False

    def __post_init__(self) -> None:
        for name in ("channels", "kernel_size", "pools", "dense"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # YAML and JSON know lists only
            if min(getattr(self, name), default=1) < 1 or not (getattr(self, name) or name == "dense"):
                raise ConfigError(f"{name} must be one or more positive numbers, got {getattr(self, name)}")
        if len(self.pools) != len(self.channels):
            raise ConfigError(f"pools must be a number for each of channels {self.channels}, got {self.pools}")
        if len(self.kernel_size) != 2:
            raise ConfigError(f"kernel_size must be (frames, mels), got {self.kernel_size}")
        for name in ("time_pool", "norm_frames"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, kind in (("recurrence", Recurrence), ("pool", PoolKind)):
            if getattr(self, name) not in get_args(kind):
                choices = ", ".join(get_args(kind))
                raise ConfigError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {self.dropout}")
        if self.causal and (self.bidirectional or self.time_pool > 1):
            raise ConfigError(
                "a causal model looks neither backwards in time nor ahead: set bidirectional false and time_pool 1, "
                f"got bidirectional={self.bidirectional} time_pool={self.time_pool}; or causal false"
            )
        if self.recurrence == "none":
            defaults = {field.name: field.default for field in dataclasses.fields(self)}
            for name in ("hidden_size", "num_layers", "bidirectional"):
                if getattr(self, name) != defaults[name]:
                    raise ConfigError(f"{name} does not apply with recurrence='none'; leave it out")

    @property
    def whole_blocks(self) -> int:
        """Frames that a chunk of a clip must hold a multiple of, to give what the whole clip gives in training."""
        return self.norm_frames

    def without_pretrained(self) -> CRDNNConfig:
        """The same model for weights that are loaded anyway."""
        return self

    def control(self) -> CRDNNConfig:
        """The same net on single frames, their mean read out: without any knowledge of time."""
        return CRDNNConfig(
            channels=self.channels,
            kernel_size=(1, self.kernel_size[1]),
            pools=self.pools,
            norm_frames=self.norm_frames,
            recurrence="none",
            dense=self.dense,
            dropout=self.dropout,
            pool="mean",
            causal=True,
        )


class CRDNN(nn.Module):
    """Convolutions, recurrence, dense layers.

    Args:
        config: its parts.
        frame_shape: (F,) of a frame.
        num_outputs: K.
        readout: "clip" for one answer a clip, "frame" for one each frame.
    """

    Config = CRDNNConfig

    def __init__(
        self, config: CRDNNConfig, frame_shape: tuple[int, ...], num_outputs: int, readout: Readout = "clip"
    ) -> None:
        super().__init__()
        check_readout(readout, num_outputs)
        if len(frame_shape) != 1:
            raise ConfigError(
                f"crdnn hears frames (F,) of a spectrogram, got {tuple(frame_shape)}; frames (C, H, W) go to cnn_rnn"
            )
        self.config = config
        self.frame_shape = tuple(frame_shape)
        self.num_outputs = num_outputs
        self.readout: Readout = readout

        mels, channels = self.frame_shape[0], 1
        self.normalize = Normalize([0.0] * mels, [1.0] * mels)
        self.blocks = nn.ModuleList()
        for wider, pool in zip(config.channels, config.pools, strict=True):
            self.blocks.append(_Block(channels, wider, pool, config))
            channels, mels = wider, -(-mels // pool)
        self.time_pool = TimeMaxPool(config.time_pool) if config.time_pool > 1 else None
        width = channels * mels
        self.recurrence = None
        if config.recurrence != "none":
            both = not config.causal if config.bidirectional is None else config.bidirectional
            self.recurrence = _RECURRENCES[config.recurrence](
                width, config.hidden_size, config.num_layers, bidirectional=both, dropout=config.dropout
            )
            width = config.hidden_size * self.recurrence.directions
        self.pool = TimePool(config.pool, width) if readout == "clip" else None
        layers: list[nn.Module] = []
        for narrower in config.dense:
            layers += [nn.Linear(width, narrower), nn.ReLU(), _FrameDropout(config.dropout)]
            width = narrower
        self.head = nn.Sequential(*layers, nn.Linear(width, num_outputs))

    @property
    def measures_statistics(self) -> bool:
        """Whether `normalize` should be set from the training data."""
        return True

    def sites(self) -> Sites:
        """The map of each frame over frequency in the last block, before its pooling; and the pooling over time."""
        relu = cast(nn.Sequential, cast(_Block, self.blocks[-1]).pool.module)[0]
        return Sites((Site(relu),), self.pool)

    def forward(
        self, frames: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Answer for whole clips, or, causal, go on with the next frames of each.

        Args:
            frames: (N, T, F) float.
            lengths: (N,) int64, valid frames of each clip; None where all are.
            state: what an earlier call returned; None at the start of the clips.

        Returns:
            outputs (N, K) over every frame so far, or (N, T, K) with zeros in the padding; and the state.

        Raises:
            ConfigError: a state for a model that is not causal.
        """
        if frames.ndim != 3 or tuple(frames.shape[2:]) != self.frame_shape:
            raise ValueError(f"frames must be (N, T, {self.frame_shape}), got {tuple(frames.shape)}")
        if state is not None:
            self._check_causal()
        lengths = valid.ragged(lengths, frames.shape[1])
        before = (None,) * (len(self.blocks) + 2) if state is None else state
        after: list[tuple[Tensor, ...]] = []
        x = self.normalize(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).unsqueeze(2)
        for block in self.blocks:
            x, carried = block(x, lengths, before[len(after)])
            after.append(carried)
        heard = lengths
        if self.time_pool is not None:
            x, heard = self.time_pool(x, lengths)
        features, recurrent = self._carry(x.flatten(2), heard, before[-2])
        if self.pool is None:
            return self._of_frames(features, lengths, frames.shape[1]), (*after, recurrent, ())
        if self.pool.kind == "last" and self.recurrence is not None and self.recurrence.directions == 2:
            return self.head(recurrent[0][:, -2:].flatten(1)), (*after, recurrent, ())
        clip, pooled = self.pool(features, heard, before[-1])
        return self.head(clip), (*after, recurrent, pooled)

    def step(self, frame: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The next frame of each stream: frame (N, F) to outputs (N, K) so far and the state after it.

        Raises:
            ConfigError: the model is not causal.
        """
        self._check_causal()
        outputs, after = self(frame.unsqueeze(1), None, state)
        return (outputs if self.readout == "clip" else outputs[:, 0]), after

    def _carry(
        self, features: Tensor, lengths: Tensor | None, state: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Features (N, T', D) of the recurrence and its state, or what it was given where there is none."""
        return (features, ()) if self.recurrence is None else self.recurrence(features, lengths, state)

    def _of_frames(self, features: Tensor, lengths: Tensor | None, t: int) -> Tensor:
        """Answers (N, T, K) from features (N, T', D)."""
        outputs = self.head(features)
        if self.time_pool is not None:
            outputs = outputs.index_select(1, torch.arange(t, device=outputs.device) // self.config.time_pool)
        return outputs if lengths is None else valid.zero_padding(outputs, lengths)

    def _check_causal(self) -> None:
        if not self.config.causal:
            raise ConfigError(
                "this model cannot run as a stream: what it says depends on frames yet to come. Run it on whole clips, "
                "or train one with causal=True"
            )


class _Block(nn.Module):
    """Convolution, batch normalisation, ReLU, pooling over frequency, dropout: (N, T, C, F) to (N, T, C', F')."""

    def __init__(self, channels: int, wider: int, pool: int, config: CRDNNConfig) -> None:
        super().__init__()
        padding = "causal" if config.causal else "same"
        self.conv = TimeConv2d(channels, wider, config.kernel_size, padding=padding, bias=False)
        self.norm = BlockNorm(wider, config.norm_frames)
        self.pool = TimeDistributed(nn.Sequential(nn.ReLU(), nn.MaxPool1d(pool, ceil_mode=True)))
        self.dropout = HeldDropout(config.dropout)

    def forward(
        self, x: Tensor, lengths: Tensor | None, state: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, _, after = self.conv(x, lengths, state)
        return self.dropout(self.pool(self.norm(x, lengths), lengths)), after


class _FrameDropout(nn.Module):
    """Dropout of (N, D), and of (N, T, D) the same features in all frames of a clip, so that padding draws nothing."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.held = HeldDropout(probability)

    def forward(self, x: Tensor) -> Tensor:
        return self.held(x) if x.ndim == 3 else self.held(x.unsqueeze(1)).squeeze(1)
