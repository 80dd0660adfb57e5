"""Autoencoder: a film goes through a narrow place and comes out again; how much is lost tells what is unusual.

A convolutional encoder makes each frame smaller, a recurrence carries the small maps through time, a decoder makes them
large again. With the bottleneck "map" the recurrence is a ConvLSTM over small maps, as in Chong and Tay (2017, arXiv
1701.01546); with "vector" it is an LSTM over one vector a frame, as in Srivastava et al. (2015, arXiv 1502.04681),
which here reads and writes frame by frame. What the model says of a frame is its reconstruction error: a film that is
read chunk by chunk needs no second look at its frames.

What this file is not: it knows no label, and it does not judge which error is an anomaly.

Shape letters: N clips, T frames, C channels, H W pixels.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from unreel.errors import ConfigError
from unreel.models.cnn_rnn import Recurrence, State
from unreel.models.readout import Readout, check_readout
from unreel.nn import GRU, LSTM, RNN, ConvGRU2d, ConvLSTM2d, ConvRNN2d, Normalize, Sites, TimeDistributed, TimePool
from unreel.ops import valid

Bottleneck = Literal["map", "vector"]
Downsample = Literal["stride", "max", "mean"]
Upsample = Literal["nearest", "bilinear", "transposed"]

_OVER_MAPS = {"lstm": ConvLSTM2d, "gru": ConvGRU2d, "rnn": ConvRNN2d}
_OVER_VECTORS = {"lstm": LSTM, "gru": GRU, "rnn": RNN}


@dataclass(frozen=True)
class AutoencoderConfig:
    """How an Autoencoder is made.

    Args:
        name: the key in `MODELS`.
        channels: of the convolution in each stage of the encoder, and backwards in the decoder. Each stage halves H and
            W, rounded up.
        kernel_size: odd size of every convolution; all keep H and W but where they halve or double it.
        downsample: how a stage halves H and W: "stride", a convolution of stride 2; or "max" or "mean" pooling after.
        upsample: how a stage of the decoder doubles them: the "nearest" pixel or "bilinear", each before a convolution,
            or a "transposed" convolution of stride 2.
        bottleneck: what goes through time: a small "map" (ConvLSTM), or one "vector" a frame (CNN-LSTM).
        recurrence: "lstm", "gru", "rnn"; or "none", the control without time: each frame goes through a bottleneck of
            the same width by itself.
        hidden: width of the bottleneck: channels of the map, or features of the vector.
        num_layers: layers of the recurrence.
        bidirectional: also run backwards in time; such a model cannot run as a stream.

    Raises:
        ConfigError: a field is out of range or does not apply.
    """

    name: Literal["autoencoder"] = "autoencoder"
    channels: tuple[int, ...] = (16, 32)
    kernel_size: int = 3
    downsample: Downsample = "stride"
    upsample: Upsample = "nearest"
    bottleneck: Bottleneck = "map"
    recurrence: Recurrence = "lstm"
    hidden: int = 16
    num_layers: int = 1
    bidirectional: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))  # YAML and JSON know lists only
        if not self.channels or min(self.channels) < 1:
            raise ConfigError(f"channels must be one or more positive numbers, got {self.channels}")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ConfigError(f"kernel_size must be odd and positive, got {self.kernel_size}")
        for name in ("hidden", "num_layers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        choices = (
            ("downsample", Downsample),
            ("upsample", Upsample),
            ("bottleneck", Bottleneck),
            ("recurrence", Recurrence),
        )
        for name, kind in choices:
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(f"{name} must be one of {', '.join(get_args(kind))}, got {getattr(self, name)!r}")
        if self.recurrence == "none" and (self.num_layers > 1 or self.bidirectional):
            raise ConfigError("num_layers and bidirectional do not apply with recurrence='none'; leave them out")

    @property
    def causal(self) -> bool:
        """Whether what is said of a frame does not depend on frames after it."""
        return not self.bidirectional

    @property
    def whole_blocks(self) -> int:
        """Frames that a chunk of a film must hold a multiple of, to give what the whole film gives in training."""
        return 1

    def without_pretrained(self) -> AutoencoderConfig:
        """The same model for weights that are loaded anyway."""
        return self

    def control(self) -> AutoencoderConfig:
        """The same convolutions and the same bottleneck on single frames, without any knowledge of time."""
        return dataclasses.replace(self, recurrence="none", num_layers=1, bidirectional=False)


class Autoencoder(nn.Module):
    """Encoder, recurrence, decoder; the answer is the error of what comes out.

    Args:
        config: its parts.
        frame_shape: (C, H, W) of a frame.
        num_outputs: 1, the error.
        readout: "frame" for the error of each frame; "clip" for the mean over the frames so far.
    """

    Config = AutoencoderConfig

    def __init__(
        self, config: AutoencoderConfig, frame_shape: tuple[int, ...], num_outputs: int = 1, readout: Readout = "frame"
    ) -> None:
        super().__init__()
        check_readout(readout, num_outputs)
        if num_outputs != 1:
            raise ConfigError(f"an autoencoder has one output, its error; got num_outputs {num_outputs}")
        if len(frame_shape) != 3:
            raise ConfigError(f"autoencoder sees frames (C, H, W), got {tuple(frame_shape)}")
        self.config = config
        self.frame_shape = tuple(frame_shape)
        self.num_outputs = 1
        self.readout: Readout = readout

        channels, *size = self.frame_shape
        self.normalize = Normalize([0.0] * channels, [1.0] * channels)
        sizes = [tuple(size)]
        for _ in config.channels:
            sizes.append(tuple(-(-length // 2) for length in sizes[-1]))
        self.encoder = TimeDistributed(_encoder(channels, config))
        self.bottleneck = _Maps(config) if config.bottleneck == "map" else _Vectors(config, sizes[-1])
        self.decoder = TimeDistributed(_decoder(self.bottleneck.width, channels, sizes, config))
        self.pool = TimePool("mean", 1) if readout == "clip" else None

    @property
    def measures_statistics(self) -> bool:
        """Whether `normalize` should be set from the training data."""
        return True

    @property
    def variance(self) -> Tensor:
        """The mean variance of the training pixels: about the error of one colour for all of them."""
        return self.normalize.std.square().mean()

    def sites(self) -> Sites:
        """None: its answer is the error of the pixels themselves."""
        return Sites(())

    def forward(
        self, frames: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """The error of whole clips, or of the next frames of each.

        Args:
            frames: (N, T, C, H, W), uint8 or float.
            lengths: (N,) int64, valid frames of each clip; None where all are.
            state: what an earlier call returned; None at the start of the clips.

        Returns:
            (N, T, 1), the mean squared error of each frame with zeros in the padding, in units of pixels from 0 to 1
            where frames are uint8, else in those of the frames; or (N, 1), its mean over every frame so far; and the
            state.
        """
        lengths = valid.ragged(lengths, frames.shape[1])
        carried, pooled = (None, None) if state is None else state
        seen, made, after = self._run(frames, lengths, carried)
        errors = frame_errors(made, seen, self.normalize, lengths)
        if self.pool is None:
            return errors, (after, ())
        clip, pooled = self.pool(errors, lengths, pooled)
        return clip, (after, pooled)

    def step(self, frame: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The next frame of each stream: frame (N, C, H, W) to its error (N, 1) and the state after it.

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

    def reconstruct(
        self, frames: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """What comes out: (N, T, C, H, W) float, from about 0 to 1 where frames are uint8, zeros in the padding.

        Arguments and state are those of `forward`.
        """
        lengths = valid.ragged(lengths, frames.shape[1])
        carried, pooled = (None, ()) if state is None else state
        _, made, after = self._run(frames, lengths, carried)
        sizes = (-1, 1, 1)
        pixels = made * self.normalize.std.reshape(sizes) + self.normalize.mean.reshape(sizes)
        return (pixels if lengths is None else valid.zero_padding(pixels, lengths)), (after, pooled)

    def _run(
        self, frames: Tensor, lengths: Tensor | None, carried: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """What was seen and what was made of it, both normalised, and the state of the recurrence."""
        if tuple(frames.shape[2:]) != self.frame_shape:
            raise ValueError(f"frames must be (N, T, {self.frame_shape}), got {tuple(frames.shape)}")
        seen = self.normalize(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        small, after = self.bottleneck(self.encoder(seen, lengths), lengths, carried)
        return seen, self.decoder(small, lengths), after


class FrameCopy(nn.Module):
    """What an autoencoder is held against: for each frame the one before it, or always the mean frame of training.

    It answers as `Autoencoder` does, and learns nothing. Before the first frame of a clip stands the mean frame.

    Args:
        normalize: that of the autoencoder, so that errors are in the same units.
        mean_frame: (C, H, W), normalised.
        previous: whether it is the frame before; else the mean frame.
    """

    def __init__(self, normalize: Normalize, mean_frame: Tensor, previous: bool) -> None:
        super().__init__()
        self.normalize = normalize
        self.register_buffer("mean_frame", mean_frame)
        self.mean_frame: Tensor
        self.previous = previous

    @property
    def variance(self) -> Tensor:
        """As that of an Autoencoder."""
        return self.normalize.std.square().mean()

    def forward(
        self, frames: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Errors (N, T, 1) and the state, as `Autoencoder.forward` gives them."""
        lengths = valid.ragged(lengths, frames.shape[1])
        seen = self.normalize(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        first = self.mean_frame.expand(len(seen), 1, *seen.shape[2:])
        if not self.previous:
            return frame_errors(first.expand_as(seen), seen, self.normalize, lengths), ()
        made = torch.cat([first if state is None else state[0][0].unsqueeze(1), seen[:, :-1]], 1)
        last = seen[:, -1] if lengths is None else valid.last(seen, lengths)
        return frame_errors(made, seen, self.normalize, lengths), ((last,),)


def frame_errors(made: Tensor, seen: Tensor, normalize: Normalize, lengths: Tensor | None) -> Tensor:
    """The mean squared error of each frame, (N, T, 1), zeros in the padding, in the units of `normalize.std`.

    Args:
        made: (N, T, C, H, W), normalised.
        seen: the same of the frames.
        normalize: what they were normalised by.
        lengths: (N,) int64; None where all frames are valid.
    """
    by_channel = (made.float() - seen).square().mean((3, 4))
    errors = (by_channel * normalize.std.square()).mean(2, keepdim=True)
    return errors if lengths is None else valid.zero_padding(errors, lengths)


class _Maps(nn.Module):
    """A convolutional recurrence over (N, T, C, H, W)."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        channels, self.width = config.channels[-1], config.hidden
        self.alone: nn.Module | None = None
        self.recurrence: nn.Module | None = None
        if config.recurrence == "none":
            same = nn.Conv2d(channels, config.hidden, config.kernel_size, padding="same")
            self.alone = TimeDistributed(nn.Sequential(same, nn.Tanh()))
        else:
            self.recurrence = _OVER_MAPS[config.recurrence](
                channels, config.hidden, config.kernel_size, config.num_layers, bidirectional=config.bidirectional
            )
            self.width *= 2 if config.bidirectional else 1

    def forward(
        self, x: Tensor, lengths: Tensor | None, state: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        if self.alone is not None:
            return self.alone(x, lengths), ()
        return self.recurrence(x, lengths, state)  # type: ignore[misc] (one of the two is there)


class _Vectors(nn.Module):
    """Maps to one vector a frame, a recurrence over these, and maps again."""

    def __init__(self, config: AutoencoderConfig, size: tuple[int, ...]) -> None:
        super().__init__()
        self.width = config.channels[-1]
        pixels = self.width * math.prod(size)
        self.narrow = TimeDistributed(nn.Sequential(nn.Flatten(), nn.Linear(pixels, config.hidden), nn.Tanh()))
        self.recurrence: nn.Module | None = None
        width = config.hidden
        if config.recurrence != "none":
            self.recurrence = _OVER_VECTORS[config.recurrence](
                width, width, config.num_layers, bidirectional=config.bidirectional
            )
            width *= 2 if config.bidirectional else 1
        unflatten = nn.Unflatten(1, (self.width, *size))
        self.widen = TimeDistributed(nn.Sequential(nn.Linear(width, pixels), nn.ReLU(), unflatten))

    def forward(
        self, x: Tensor, lengths: Tensor | None, state: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, after = self.narrow(x, lengths), ()
        if self.recurrence is not None:
            x, after = self.recurrence(x, lengths, state)
        return self.widen(x, lengths), after


def _encoder(channels: int, config: AutoencoderConfig) -> nn.Sequential:
    """(V, C, H, W) to small maps."""
    layers: list[nn.Module] = []
    side = config.kernel_size // 2
    for wider in config.channels:
        stride = 2 if config.downsample == "stride" else 1
        layers += [nn.Conv2d(channels, wider, config.kernel_size, stride, side), nn.ReLU()]
        if config.downsample != "stride":
            pool = nn.MaxPool2d if config.downsample == "max" else nn.AvgPool2d
            layers.append(pool(2, ceil_mode=True))
        channels = wider
    return nn.Sequential(*layers)


def _decoder(width: int, channels: int, sizes: list[tuple[int, ...]], config: AutoencoderConfig) -> nn.Sequential:
    """Small maps of `width` channels to (V, C, H, W). `sizes` are those of the frame and after each stage."""
    layers: list[nn.Module] = []
    kernel, side = config.kernel_size, config.kernel_size // 2
    for stage in reversed(range(len(config.channels))):
        narrower = config.channels[stage - 1] if stage else config.channels[0]
        small, large = sizes[stage + 1], sizes[stage]
        if config.upsample == "transposed":
            # without more it gives 2 n - 1 pixels of n
            more = (large[0] - 2 * small[0] + 1, large[1] - 2 * small[1] + 1)
            layers.append(nn.ConvTranspose2d(width, narrower, kernel, 2, side, more))
        else:
            layers += [nn.Upsample(size=large, mode=config.upsample), nn.Conv2d(width, narrower, kernel, 1, side)]
        layers.append(nn.ReLU())
        width = narrower
    return nn.Sequential(*layers, nn.Conv2d(width, channels, kernel, 1, side))
