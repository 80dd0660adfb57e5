"""ConvLSTMTagger: two blocks of ConvLSTM see a film, and a head for each label speaks of each of its frames.

The film-trailer model of the Keras tutorials: (ConvLSTM, batch normalisation, max-pooling) twice, then for each label a
ConvLSTM of its own, max-pooling, and a dense network per frame. Its batch normalisation normalises channels; that of
the tutorial, with Keras's default axis on channels_first data, normalised the width of the picture. What this file is
not: it knows no loss, no label and no file.

Shape letters: N clips, T frames, C channels, H W pixels, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from unreel.errors import ConfigError
from unreel.models.cnn_rnn import CNNRNNConfig, State
from unreel.models.encoders import EncoderConfig
from unreel.models.readout import Readout, check_readout
from unreel.nn import BlockNorm, ConvLSTM2d, HeldDropout, Normalize, Site, Sites, TimeDistributed, TimePool
from unreel.ops import valid
from unreel.ops.activations import activation

Heads = Literal["separate", "joint"]


@dataclass(frozen=True)
class ConvLSTMTaggerConfig:
    """How a ConvLSTMTagger is made.

    Args:
        name: the key in `MODELS`.
        channels: of the ConvLSTM in each block.
        pools: how many times smaller H and W become after each block, rounded up.
        head_channels: of the ConvLSTM in each head.
        head_pool: how many times smaller H and W become in each head, rounded up.
        dense: sizes of the hidden layers per frame in each head.
        kernel_size: odd size of every convolution.
        recurrent_activation: of the gates: "sigmoid", "hard_sigmoid" as in Keras 3, "hard_sigmoid_keras2" as before.
        dropout: probability to drop a feature map after each block, the same in all frames.
        norm_frames: consecutive frames whose statistics batch normalisation takes together in training.
        heads: "separate" for a whole head for each output, as labels that overlap want it; "joint" for one head with
            all outputs, as classes that exclude each other want it.

    Raises:
        ConfigError: a field is out of range.
    """

    name: Literal["conv_lstm_tagger"] = "conv_lstm_tagger"
    channels: tuple[int, ...] = (20, 10)
    pools: tuple[int, ...] = (2, 3)
    head_channels: int = 5
    head_pool: int = 2
    dense: tuple[int, ...] = (512, 32)
    kernel_size: int = 3
    recurrent_activation: str = "sigmoid"
    dropout: float = 0.0
    norm_frames: int = 16
    heads: Heads = "separate"

    def __post_init__(self) -> None:
        for name in ("channels", "pools", "dense"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # YAML and JSON know lists only
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise ConfigError(f"{name} must be one or more positive numbers, got {getattr(self, name)}")
        if len(self.pools) != len(self.channels):
            raise ConfigError(f"pools must be a number for each of channels {self.channels}, got {self.pools}")
        for name in ("head_channels", "head_pool", "norm_frames"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ConfigError(f"kernel_size must be odd and positive, got {self.kernel_size}")
        activation(self.recurrent_activation)
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {self.dropout}")
        if self.heads not in get_args(Heads):
            raise ConfigError(f"heads must be one of {', '.join(get_args(Heads))}, got {self.heads!r}")

    @property
    def causal(self) -> bool:
        """Whether what is said of a frame does not depend on frames after it."""
        return True

    @property
    def whole_blocks(self) -> int:
        """Frames that a chunk of a film must hold a multiple of, to give what the whole film gives in training."""
        return self.norm_frames

    def without_pretrained(self) -> ConvLSTMTaggerConfig:
        """The same model for weights that are loaded anyway."""
        return self

    def control(self) -> CNNRNNConfig:
        """A CNN of the same channels on single frames, without any knowledge of time."""
        encoder = EncoderConfig(channels=self.channels, kernel_size=self.kernel_size, features=self.dense[-1])
        return CNNRNNConfig(encoder=encoder, recurrence="none", pool="mean")


class ConvLSTMTagger(nn.Module):
    """Blocks of ConvLSTM, and heads with a ConvLSTM each.

    Args:
        config: its parts.
        frame_shape: (C, H, W) of a frame.
        num_outputs: K.
        readout: "frame" for an answer each frame; "clip" for one a clip, the mean over its frames.
    """

    Config = ConvLSTMTaggerConfig

    def __init__(
        self, config: ConvLSTMTaggerConfig, frame_shape: tuple[int, ...], num_outputs: int, readout: Readout = "frame"
    ) -> None:
        super().__init__()
        check_readout(readout, num_outputs)
        if len(frame_shape) != 3:
            raise ConfigError(f"conv_lstm_tagger sees frames (C, H, W), got {tuple(frame_shape)}")
        self.config = config
        self.frame_shape = tuple(frame_shape)
        self.num_outputs = num_outputs
        self.readout: Readout = readout

        channels, *size = self.frame_shape
        self.normalize = Normalize([0.0] * channels, [1.0] * channels)
        self.blocks = nn.ModuleList()
        for wider, pool in zip(config.channels, config.pools, strict=True):
            self.blocks.append(_Block(channels, wider, pool, config))
            channels, size = wider, [-(-length // pool) for length in size]
        size = [-(-length // config.head_pool) for length in size]
        features = config.head_channels * size[0] * size[1]
        separate = config.heads == "separate"
        self.heads = nn.ModuleList(
            _Head(channels, features, 1 if separate else num_outputs, config)
            for _ in range(num_outputs if separate else 1)
        )
        self.pool = TimePool("mean", num_outputs) if readout == "clip" else None

    @property
    def measures_statistics(self) -> bool:
        """Whether `normalize` should be set from the training data."""
        return True

    def sites(self) -> Sites:
        """The map of the last block before its pooling: at each frame what the ConvLSTM has seen up to there."""
        return Sites((Site(cast(_Block, self.blocks[-1]).norm, packed=False),), self.pool)

    def forward(
        self, frames: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Answer for whole clips, or go on with the next frames of each.

        Args:
            frames: (N, T, C, H, W), uint8 or float.
            lengths: (N,) int64, valid frames of each clip; None where all are.
            state: what an earlier call returned; None at the start of the clips.

        Returns:
            outputs (N, T, K) with zeros in the padding, or (N, K), their mean over every frame so far; and the state.
        """
        if tuple(frames.shape[2:]) != self.frame_shape:
            raise ValueError(f"frames must be (N, T, {self.frame_shape}), got {tuple(frames.shape)}")
        lengths = valid.ragged(lengths, frames.shape[1])
        parts = len(self.blocks) + len(self.heads)
        before = (None,) * (parts + 1) if state is None else state
        after: list[tuple[Tensor, ...]] = []
        x = self.normalize(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        for block in self.blocks:
            x, carried = block(x, lengths, before[len(after)])
            after.append(carried)
        answers = []
        for head in self.heads:
            answer, carried = head(x, lengths, before[len(after)])
            answers.append(answer)
            after.append(carried)
        outputs = torch.cat(answers, 2)
        if self.pool is None:
            return outputs, tuple(after)
        clip, pooled = self.pool(outputs, lengths, before[parts])
        return clip, (*after, pooled)

    def step(self, frame: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The next frame of each stream: frame (N, C, H, W) to outputs (N, K) and the state after it."""
        outputs, after = self(frame.unsqueeze(1), None, state)
        return (outputs if self.readout == "clip" else outputs[:, 0]), after


class _Block(nn.Module):
    """ConvLSTM, batch normalisation, pooling, dropout: (N, T, C, H, W) to (N, T, F, H', W')."""

    def __init__(self, channels: int, wider: int, pool: int, config: ConvLSTMTaggerConfig) -> None:
        super().__init__()
        self.recurrence = _recurrence(channels, wider, config)
        self.norm = BlockNorm(wider, config.norm_frames)
        self.pool = TimeDistributed(nn.MaxPool2d(pool, ceil_mode=True))
        self.dropout = HeldDropout(config.dropout)

    def forward(
        self, x: Tensor, lengths: Tensor | None, state: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, after = self.recurrence(x, lengths, state)
        return self.dropout(self.pool(self.norm(x, lengths), lengths)), after


class _Head(nn.Module):
    """ConvLSTM, pooling, and a dense network for each frame: (N, T, C, H, W) to (N, T, K)."""

    def __init__(self, channels: int, features: int, outputs: int, config: ConvLSTMTaggerConfig) -> None:
        super().__init__()
        self.recurrence = _recurrence(channels, config.head_channels, config)
        layers: list[nn.Module] = [nn.MaxPool2d(config.head_pool, ceil_mode=True), nn.Flatten()]
        for width in config.dense:
            layers += [nn.Linear(features, width), nn.ReLU()]
            features = width
        self.dense = TimeDistributed(nn.Sequential(*layers, nn.Linear(features, outputs)))

    def forward(
        self, x: Tensor, lengths: Tensor | None, state: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, after = self.recurrence(x, lengths, state)
        return self.dense(x, lengths), after


def _recurrence(channels: int, hidden: int, config: ConvLSTMTaggerConfig) -> ConvLSTM2d:
    return ConvLSTM2d(channels, hidden, config.kernel_size, recurrent_activation=config.recurrent_activation)
