"""ImageRNN: a recurrence reads an image position by position; behind a convolution, or beside one.

The two CNN-RNNs of the Keras tutorials on CIFAR-10. *Sequential*: convolution, ReLU, max-pooling, and the recurrence
reads the grid of what is left. *Parallel*: convolution, ReLU, max-pooling and a dense layer, beside a recurrence that
reads the raw image pixel by pixel, and a dense layer; the answer comes from both. Reading in rows and columns is that
of ReNet (Visin et al. 2015), one layer of it. What this file is not: time between frames. Frames of a clip are read
each by itself, and the answer for the clip is the mean of theirs.

Shape letters: N clips, T frames, V valid frames of all clips, C channels, H W pixels, S positions, D features,
K outputs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from unreel.errors import ConfigError
from unreel.models.cnn_rnn import State
from unreel.models.readout import Readout, check_readout
from unreel.nn import GRU, LSTM, RNN, Normalize, PoolKind, Site, Sites, TimeDistributed, TimePool
from unreel.ops import valid
from unreel.ops.activations import activation

Form = Literal["sequential", "parallel"]
Cell = Literal["lstm", "gru", "rnn"]
Order = Literal["rows", "columns", "both", "snake"]


@dataclass(frozen=True)
class ImageRNNConfig:
    """How an ImageRNN is made. With the defaults it has 22,110 parameters on 3×32×32 images of 10 classes.

    Args:
        name: the key in `MODELS`.
        form: `sequential`, the recurrence behind the convolution; or `parallel`, beside it on the raw image, which
            has 1,299,410 parameters there.
        channels: of the convolution.
        kernel_size: odd size of the convolution, which keeps H and W.
        pool_size: how many times smaller max-pooling makes H and W, rounded down.
        recurrence: the cell, `lstm`, `gru` or `rnn`.
        hidden_size: features of the recurrence, in each direction.
        num_layers: layers of the recurrence.
        bidirectional: also read from the last position to the first.
        activation: of the recurrence's candidate and way out: tanh, relu, ...
        recurrent_activation: of its gates; `rnn` has none.
        order: how the grid becomes a sequence: `rows`, each from left to right; `columns`, each from above; `snake`,
            rows in turn from left and from right, so that neighbours in the sequence are neighbours in the image; or
            `both`, a recurrence for rows and another for columns, side by side.
        pool: how the positions that were read become one vector: the `last` one, as in the tutorials, or their mean,
            maximum or attention.
        dense: parallel: size of the dense layer of each side.
        dense_activation: parallel: of these layers; the tutorials have none.
        dropout: between the layers of the recurrence and before the last dense layer.
        plain: the control: no recurrence, and as near as can be the same number of parameters in what stands in its
            place: sequential, a second convolution with ReLU and the mean over its positions; parallel, a wider dense
            layer behind the first one.

    Raises:
        ConfigError: a field is out of range or does not apply.
    """

    name: Literal["image_rnn"] = "image_rnn"
    form: Form = "sequential"
    channels: int = 50
    kernel_size: int = 3
    pool_size: int = 2
    recurrence: Cell = "lstm"
    hidden_size: int = 50
    num_layers: int = 1
    bidirectional: bool = False
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    order: Order = "rows"
    pool: PoolKind = "last"
    dense: int = 100
    dense_activation: str = "linear"
    dropout: float = 0.0
    plain: bool = False

    def __post_init__(self) -> None:
        for name, kind in (("form", Form), ("recurrence", Cell), ("order", Order), ("pool", PoolKind)):
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(f"{name} must be one of {', '.join(get_args(kind))}, got {getattr(self, name)!r}")
        for name in ("channels", "pool_size", "hidden_size", "num_layers", "dense"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ConfigError(f"kernel_size must be odd and positive, got {self.kernel_size}")
        for name in ("activation", "recurrent_activation", "dense_activation"):
            activation(getattr(self, name))
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {self.dropout}")
        defaults = {item.name: item.default for item in dataclasses.fields(self)}
        inapplicable = ["recurrent_activation"] if self.recurrence == "rnn" else []
        inapplicable += ["dense", "dense_activation"] if self.form == "sequential" else []
        for name in inapplicable:
            if getattr(self, name) != defaults[name]:
                why = "recurrence='rnn'" if name == "recurrent_activation" else "form='sequential'"
                raise ConfigError(f"{name} does not apply with {why}; leave it out")

    @property
    def causal(self) -> bool:
        """Whether what is said of a frame does not depend on frames after it."""
        return True

    @property
    def whole_blocks(self) -> int:
        """Frames that a chunk of a film must hold a multiple of, to give what the whole film gives in training."""
        return 1

    def without_pretrained(self) -> ImageRNNConfig:
        """The same model for weights that are loaded anyway."""
        return self

    def control(self) -> ImageRNNConfig:
        """A plain CNN with as many parameters: 22,155 and 1,295,321 where the two forms have 22,110 and 1,299,410."""
        return dataclasses.replace(self, plain=True)


class ImageRNN(nn.Module):
    """A convolution and a recurrence over the positions of an image.

    Args:
        config: its parts.
        frame_shape: (C, H, W) of a frame.
        num_outputs: K.
        readout: "clip" for one answer a clip, the mean over its frames; "frame" for one each frame.
    """

    Config = ImageRNNConfig

    def __init__(
        self, config: ImageRNNConfig, frame_shape: tuple[int, ...], num_outputs: int, readout: Readout = "clip"
    ) -> None:
        super().__init__()
        check_readout(readout, num_outputs)
        if len(frame_shape) != 3 or min(frame_shape[1:]) < config.pool_size:
            raise ConfigError(
                f"image_rnn sees frames (C, H, W) of at least {config.pool_size} pixels a side, "
                f"got {tuple(frame_shape)}"
            )
        self.config = config
        self.frame_shape = tuple(frame_shape)
        self.num_outputs = num_outputs
        self.readout: Readout = readout

        channels = self.frame_shape[0]
        self.normalize = Normalize([0.0] * channels, [1.0] * channels)
        form = _Sequential if config.form == "sequential" else _Parallel
        self.net = TimeDistributed(form(config, self.frame_shape, num_outputs))
        self.pool = TimePool("mean", num_outputs) if readout == "clip" else None

    @property
    def measures_statistics(self) -> bool:
        """Whether `normalize` should be set from the training data."""
        return True

    def sites(self) -> Sites:
        """The map of the convolution, after its ReLU. What the parallel form reads beside it has no part in it."""
        return Sites((Site(cast(_Sequential | _Parallel, self.net.module).convolution[1]),), self.pool)

    def forward(
        self, frames: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Answer for whole clips, or go on with the next frames of each.

        Args:
            frames: (N, T, C, H, W), uint8 or float.
            lengths: (N,) int64, valid frames of each clip; None where all are.
            state: what an earlier call returned; None at the start of the clips.

        Returns:
            outputs (N, K), the mean over every frame so far, or (N, T, K) with zeros in the padding; and the state.
        """
        if tuple(frames.shape[2:]) != self.frame_shape:
            raise ValueError(f"frames must be (N, T, {self.frame_shape}), got {tuple(frames.shape)}")
        lengths = valid.ragged(lengths, frames.shape[1])
        outputs = self.net(self.normalize(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]), lengths)
        if self.pool is None:
            return outputs, ((),)
        clip, pooled = self.pool(outputs, lengths, None if state is None else state[0])
        return clip, (pooled,)

    def step(self, frame: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The next frame of each stream: frame (N, C, H, W) to outputs (N, K) and the state after it."""
        outputs, after = self(frame.unsqueeze(1), None, state)
        return (outputs if self.readout == "clip" else outputs[:, 0]), after


def walk(grid: Tensor, order: Literal["rows", "columns", "snake"]) -> Tensor:
    """The positions of grids (V, C, H, W) one after another, (V, S, C) with S = H·W."""
    if order == "columns":
        return grid.permute(0, 3, 2, 1).flatten(1, 2)
    rows = grid.permute(0, 2, 3, 1)
    if order == "snake":
        odd = torch.arange(grid.shape[2], device=grid.device) % 2 == 1
        rows = torch.where(odd[:, None, None], rows.flip(2), rows)
    return rows.flatten(1, 2)


class _Sequential(nn.Module):
    """Convolution, and a recurrence over what it gives: (V, C, H, W) to (V, K)."""

    def __init__(self, config: ImageRNNConfig, frame_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.convolution = _convolution(frame_shape[0], config)
        read = _Reader(config.channels, config)
        width = read.width
        self.read: nn.Module = read
        if config.plain:
            each = config.channels * config.kernel_size**2 + 1 + outputs
            width = max(1, round((_count(read) + read.width * outputs) / each))
            again = nn.Conv2d(config.channels, width, config.kernel_size, padding=config.kernel_size // 2)
            self.read = nn.Sequential(again, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, outputs)

    def forward(self, frames: Tensor) -> Tensor:
        return self.head(self.dropout(self.read(self.convolution(_channels_last(frames)))))


class _Parallel(nn.Module):
    """Convolution and dense layer beside a recurrence over the raw image: (V, C, H, W) to (V, K)."""

    def __init__(self, config: ImageRNNConfig, frame_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        channels, *size = frame_shape
        flat = config.channels * (size[0] // config.pool_size) * (size[1] // config.pool_size)
        self.convolution = _convolution(channels, config)
        self.activation = activation(config.dense_activation).apply
        read = _Reader(channels, config)
        width = config.dense
        if config.plain:
            spare = _count(read) + config.dense * (read.width + 1 + outputs)
            width += round(spare / (flat + 1 + outputs))
        self.dense_cnn = nn.Linear(flat, width)
        self.read = None if config.plain else read
        self.dense_rnn = None if config.plain else nn.Linear(read.width, config.dense)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width if config.plain else 2 * config.dense, outputs)

    def forward(self, frames: Tensor) -> Tensor:
        frames = _channels_last(frames)
        joined = self.activation(self.dense_cnn(self.convolution(frames).flatten(1)))
        if self.read is not None and self.dense_rnn is not None:
            joined = torch.cat([joined, self.activation(self.dense_rnn(self.read(frames)))], 1)
        return self.head(self.dropout(joined))


class _Reader(nn.Module):
    """Grids (V, C, H, W) to what was read of them (V, D), D = `width`."""

    def __init__(self, features: int, config: ImageRNNConfig) -> None:
        super().__init__()
        orders: tuple[Literal["rows", "columns", "snake"], ...] = (
            ("rows", "columns") if config.order == "both" else (config.order,)
        )
        self.walks = nn.ModuleList(_Walk(features, config, order) for order in orders)
        self.width = len(orders) * config.hidden_size * (2 if config.bidirectional else 1)

    def forward(self, grid: Tensor) -> Tensor:
        return torch.cat([each(grid) for each in self.walks], 1)


class _Walk(nn.Module):
    """Grids (V, C, H, W), read in one order, to (V, H·R), the directions of the recurrence side by side."""

    def __init__(self, features: int, config: ImageRNNConfig, order: Literal["rows", "columns", "snake"]) -> None:
        super().__init__()
        self.order: Literal["rows", "columns", "snake"] = order
        self.recurrence = _recurrence(features, config)
        directions = self.recurrence.directions
        self.pool = None if config.pool == "last" else TimePool(config.pool, config.hidden_size * directions)

    def forward(self, grid: Tensor) -> Tensor:
        out, state = self.recurrence(walk(grid, self.order))
        if self.pool is None:
            return state[0][:, -self.recurrence.directions :].flatten(1)
        return self.pool(out)[0]


def _recurrence(features: int, config: ImageRNNConfig) -> RNN | LSTM | GRU:
    size, layers, ways, dropout = config.hidden_size, config.num_layers, config.bidirectional, config.dropout
    if config.recurrence == "rnn":
        return RNN(features, size, layers, bidirectional=ways, dropout=dropout, nonlinearity=config.activation)
    kind = LSTM if config.recurrence == "lstm" else GRU
    return kind(
        features,
        size,
        layers,
        bidirectional=ways,
        dropout=dropout,
        activation=config.activation,
        recurrent_activation=config.recurrent_activation,
    )


def _convolution(channels: int, config: ImageRNNConfig) -> nn.Sequential:
    layer = nn.Conv2d(channels, config.channels, config.kernel_size, padding=config.kernel_size // 2)
    return nn.Sequential(layer, nn.ReLU(), nn.MaxPool2d(config.pool_size))


def _channels_last(frames: Tensor) -> Tensor:
    """The layout in memory that convolutions are faster in on a CPU, and in which a grid is read without a copy."""
    return torch.empty_like(frames, memory_format=torch.channels_last).copy_(frames)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
