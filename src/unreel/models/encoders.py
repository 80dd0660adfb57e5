"""Encoders: a frame to a vector of features. A small CNN of our own, any CNN of timm, or nothing at all.

What this file is not: an encoder sees single frames, (V, *frame) to (V, D), and knows nothing of time, of clips or of
normalisation. "small" is the Conv-Pool-Flatten stack of the CNN-LSTM tutorials.

Shape letters: V frames, C channels, H W pixels, D features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from unreel.errors import ConfigError
from unreel.nearest import nearest


@dataclass(frozen=True)
class EncoderConfig:
    """Which encoder, and how it is made. A field that the named encoder does not use must keep its default.

    Args:
        name: "small", "identity" (frames are feature vectors already), or the name of a timm model.
        channels: small: one convolution and one halving of H and W for each entry.
        kernel_size: small: odd size of the convolutions, which keep H and W.
        norm: small: after each convolution. "group" (up to 8 groups) keeps a clip independent of its batch mates in
            training too; "batch" does not.
        downsample: small: how each layer halves H and W: "pool", max-pooling after the convolution as in the tutorials;
            or "stride", a convolution of stride 2, which costs a quarter of it.
        head: small: "flatten" keeps where in the picture a feature is, "average" pools over H and W.
        features: small: D, by a linear layer and ReLU after the head; None leaves the head's own size.
        dropout: small: probability to drop a feature at the very end, in train mode.
        pretrained: timm: download the weights that timm names for the model, as safetensors.
        weights: timm: a local .safetensors file of the same model, instead of a download.
        frozen: timm: no weight is trained, and every layer, BatchNorm too, stays in eval mode.
        unfreeze_from: timm: with frozen, the stage at which training begins, such as "layer4" or "blocks.5".

    Raises:
        ConfigError: a field is out of range or does not apply.
    """

    name: str = "small"
    channels: tuple[int, ...] = (16, 32, 64)
    kernel_size: int = 3
    norm: Literal["none", "batch", "group"] = "group"
    downsample: Literal["pool", "stride"] = "pool"
    head: Literal["flatten", "average"] = "flatten"
    features: int | None = 128
    dropout: float = 0.0
    pretrained: bool = False
    weights: str | None = None
    frozen: bool = False
    unfreeze_from: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))  # YAML and JSON know lists only
        small = {"channels", "kernel_size", "norm", "downsample", "head", "features", "dropout"}
        applies = {"small": small, "identity": set()}.get(
            self.name, {"pretrained", "weights", "frozen", "unfreeze_from"}
        )
        for field in fields(self):
            if field.name != "name" and field.name not in applies and getattr(self, field.name) != field.default:
                raise ConfigError(
                    f"{field.name}={getattr(self, field.name)!r} does not apply to the encoder {self.name!r}, "
                    f"which takes {', '.join(sorted(applies)) or 'no options'}; leave it out"
                )
        if not self.channels or min(self.channels) < 1:
            raise ConfigError(f"channels must be one or more positive numbers, got {self.channels}")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ConfigError(f"kernel_size must be odd and positive, got {self.kernel_size}")
        _check_choice("norm", self.norm, ("none", "batch", "group"))
        _check_choice("downsample", self.downsample, ("pool", "stride"))
        _check_choice("head", self.head, ("flatten", "average"))
        if self.features is not None and self.features < 1:
            raise ConfigError(f"features must be at least 1, or None, got {self.features}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {self.dropout}")
        if self.pretrained and self.weights is not None:
            raise ConfigError("pretrained downloads weights and weights names a file: give one of the two")
        if self.unfreeze_from is not None and not self.frozen:
            raise ConfigError("unfreeze_from says where freezing ends, so it needs frozen=True")

    @property
    def has_pretrained_weights(self) -> bool:
        """Whether weights come from elsewhere, so that frames must be normalised as they were there."""
        return self.pretrained or self.weights is not None


class Encoder(nn.Module):
    """A net from frames to features, and what of it is frozen.

    Args:
        net: (V, *frame) to (V, D).
        features: D.
        frozen: parts of net that stay in eval mode whatever `train` is told.
        last_map: name of the part of net that gives the last map (V, C, H', W'), after its activation; "" for net
            itself, whose features are then a map without places.
    """

    def __init__(self, net: nn.Module, features: int, frozen: Sequence[nn.Module] = (), last_map: str = "") -> None:
        super().__init__()
        self.net = net
        self.features = features
        self._frozen = tuple(frozen)
        self._last_map = last_map

    @property
    def last_map(self) -> nn.Module:
        """The part that gives the last map of each frame."""
        return self.net.get_submodule(self._last_map)

    def forward(self, frames: Tensor) -> Tensor:
        """Give features (V, D) for frames (V, *frame)."""
        if frames.ndim == 4:
            # Channels last in memory is the faster layout of convolutions, by up to two on CPU. Copied, because
            # `contiguous` sees nothing to do for one channel, and the layout then never takes hold.
            frames = torch.empty_like(frames, memory_format=torch.channels_last).copy_(frames)
        return self.net(frames)

    def train(self, mode: bool = True) -> Encoder:
        """Set train mode for what is not frozen."""
        super().train(mode)
        for part in self._frozen:
            part.training = False
        return self


def build_encoder(config: EncoderConfig, frame_shape: tuple[int, ...]) -> Encoder:
    """Build the encoder that the config names.

    Args:
        config: which one.
        frame_shape: (C, H, W), or (D,) for "identity".

    Raises:
        ConfigError: the name is unknown, the frame does not suit it, or weights cannot be had.
    """
    if config.name == "identity":
        if len(frame_shape) != 1:
            raise ConfigError(f"the encoder 'identity' takes frames (D,), got {frame_shape}; choose 'small' or a CNN")
        return Encoder(nn.Identity(), frame_shape[0])
    if len(frame_shape) != 3:
        raise ConfigError(
            f"the encoder {config.name!r} takes frames (C, H, W), got {frame_shape}; "
            f"feature vectors (D,) go to 'identity', the frames of sound to --model.name crdnn"
        )
    if config.name == "small":
        return _small(config, frame_shape)
    return _timm(config, frame_shape)


def pretrained_statistics(config: EncoderConfig, channels: int) -> tuple[list[float], list[float]] | None:
    """Mean and deviation (C numbers each) that pretrained weights expect of pixels in 0..1; None without such weights.

    Frames with other than three channels get the average over the three.
    """
    if not config.has_pretrained_weights:
        return None
    import timm

    expected = timm.get_pretrained_cfg(config.name)
    if expected is None:
        raise ConfigError(f"timm knows no pretrained weights of {config.name!r}; leave pretrained and weights out")
    mean, std = ([float(number) for number in numbers] for numbers in (expected.mean, expected.std))
    if channels != len(mean):
        mean, std = ([math.fsum(numbers) / len(numbers)] * channels for numbers in (mean, std))
    return mean, std


def _small(config: EncoderConfig, frame_shape: tuple[int, ...]) -> Encoder:
    channels, height, width = frame_shape
    halvings = len(config.channels)
    if min(height, width) < 2**halvings:
        raise ConfigError(
            f"{halvings} halvings need frames of at least {2**halvings} pixels a side, got {(height, width)}; "
            f"give fewer channels, or larger frames"
        )
    layers: list[nn.Module] = []
    last_map = ""
    strided = config.downsample == "stride"
    for width_out in config.channels:
        layers.append(
            nn.Conv2d(channels, width_out, config.kernel_size, 2 if strided else 1, padding=config.kernel_size // 2)
        )
        if config.norm == "batch":
            layers.append(nn.BatchNorm2d(width_out))
        elif config.norm == "group":
            layers.append(nn.GroupNorm(math.gcd(8, width_out), width_out))
        last_map = str(len(layers))
        layers.append(nn.ReLU())
        if not strided:
            layers.append(nn.MaxPool2d(2))
        channels = width_out
    size = channels
    if config.head == "average":
        layers.append(nn.AdaptiveAvgPool2d(1))
    else:
        for _ in range(halvings):  # a stride rounds up, a pooling down
            height, width = ((height + 1) // 2, (width + 1) // 2) if strided else (height // 2, width // 2)
        size *= height * width
    layers.append(nn.Flatten())
    if config.features is not None:
        layers += [nn.Linear(size, config.features), nn.ReLU()]
        size = config.features
    if config.dropout:
        layers.append(nn.Dropout(config.dropout))
    return Encoder(nn.Sequential(*layers), size, last_map=last_map)


def _timm(config: EncoderConfig, frame_shape: tuple[int, ...]) -> Encoder:
    import timm

    if not timm.is_model(config.name):
        known = ["small", "identity", *timm.list_models()]
        raise ConfigError(
            f"encoder must be 'small', 'identity' or a model of timm, got {config.name!r}{nearest(config.name, known)}"
        )
    net = timm.create_model(config.name, pretrained=False, num_classes=0, in_chans=frame_shape[0])
    if config.weights is not None:
        _load_weights(net, config.name, Path(config.weights), frame_shape[0])
    elif config.pretrained:
        _load_weights(net, config.name, _download(config.name), frame_shape[0])
    frozen = _freeze(net, config) if config.frozen else []
    # What a net makes of a frame is asked of the net: timm's own figures differ from model to model.
    was_training = net.training
    with torch.no_grad(), _told_of_maps(net) as maps:
        features = net.eval()(torch.zeros(1, *frame_shape))
    net.train(was_training)
    if features.ndim != 2:
        raise ConfigError(
            f"the encoder must give one vector a frame, {config.name!r} gives {tuple(features.shape[1:])}; "
            f"choose a CNN that classifies images"
        )
    last_map = _last_map(maps, frame_shape, [stage["module"] for stage in getattr(net, "feature_info", ())])
    return Encoder(net, features.shape[1], frozen, last_map).train(was_training)


@contextmanager
def _told_of_maps(net: nn.Module) -> Iterator[list[tuple[str, tuple[int, int]]]]:
    """Parts that give four sizes, (V, C, H', W') of a CNN, and the last two, in the order in which they run."""
    found: list[tuple[str, tuple[int, int]]] = []
    handles: list[RemovableHandle] = []
    for name, part in net.named_modules():

        def tell(part: nn.Module, inputs: object, output: object, name: str = name) -> None:
            if isinstance(output, Tensor) and output.ndim == 4:
                found.append((name, (output.shape[2], output.shape[3])))

        if name:
            handles.append(part.register_forward_hook(tell))
    yield found
    for handle in handles:
        handle.remove()


def _last_map(parts: Sequence[tuple[str, tuple[int, int]]], frame_shape: tuple[int, ...], stages: Sequence[str]) -> str:
    """The last part that gives a map: a stage, if there are any, and with more than one place, if there are any.

    Within a stage something may go around the part. Parts that run more than once, and those whose sizes are not the
    frame's divided by one number, such as the heads and tokens of a transformer, give no map. "" where nothing does.
    """
    names = [name for name, _ in parts]
    maps = [(name, size) for name, size in parts if names.count(name) == 1 and _divides(frame_shape[1:], size)]
    maps = [part for part in maps if part[0] in stages] or maps
    maps = [part for part in maps if part[1] != (1, 1)] or maps
    return maps[-1][0] if maps else ""


def _divides(frame: tuple[int, ...], size: tuple[int, int]) -> bool:
    return any(
        all(small in (length // by, -(-length // by)) for length, small in zip(frame, size, strict=True))
        for by in range(1, max(frame) + 1)
    )


def _download(name: str) -> Path:
    import timm
    from huggingface_hub import hf_hub_download

    source = timm.get_pretrained_cfg(name)
    if source is None or not source.hf_hub_id:
        raise ConfigError(f"timm names no weights to download for {name!r}; give a local file by weights=...")
    try:
        return Path(hf_hub_download(source.hf_hub_id, "model.safetensors"))
    except OSError as error:
        raise ConfigError(
            f"pretrained weights of {name!r} cannot be downloaded from {source.hf_hub_id} ({type(error).__name__}); "
            f"download its model.safetensors elsewhere and give the file by weights=..."
        ) from error


def _load_weights(net: nn.Module, name: str, path: Path, channels: int) -> None:
    """Load a state dict of the same timm model, with or without its classifier, made for any number of channels."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"weights must be a readable .safetensors file, got {path}: {error}") from error
    _adapt_first_convolutions(net, state, channels)
    wanted = net.state_dict()
    wrong = [key for key in wanted if key not in state or state[key].shape != wanted[key].shape]
    if wrong:
        raise ConfigError(
            f"{path} does not hold the weights of {name!r}: {len(wrong)} of {len(wanted)} tensors are missing or of "
            f"another shape, such as {', '.join(wrong[:3])}; give the file of this very model"
        )
    net.load_state_dict({key: state[key] for key in wanted})


def _adapt_first_convolutions(net: nn.Module, state: dict[str, Tensor], channels: int) -> None:
    """Fit convolutions that look at the pixels to `channels`, as timm does: summed for one, repeated for more."""
    from timm.models import adapt_input_conv

    first = getattr(net, "default_cfg", {}).get("first_conv") or ()
    for layer in (first,) if isinstance(first, str) else first:
        key = f"{layer}.weight"
        if key in state and state[key].shape[1] == 3 and channels != 3:
            state[key] = adapt_input_conv(channels, state[key])


def _freeze(net: nn.Module, config: EncoderConfig) -> list[nn.Module]:
    """Stop the gradient of everything before the stage, in order of definition, and give the parts to keep in eval."""
    stage = config.unfreeze_from
    modules: Mapping[str, nn.Module] = dict(net.named_modules())
    if stage is not None and (stage not in modules or not stage):
        stages = [name for name in modules if name and name.count(".") < 2]
        raise ConfigError(f"{config.name!r} has no stage {stage!r}{nearest(stage, stages)}; it has {', '.join(stages)}")
    names = list(modules)
    before = names if stage is None else names[: names.index(stage)]
    around = [] if stage is None else [name for name in before if not name or stage.startswith(f"{name}.")]
    frozen = [modules[name] for name in before if name not in around]
    for part in [*frozen, *(modules[name] for name in around)]:
        for parameter in part.parameters(recurse=False):
            parameter.requires_grad_(False)
    return frozen


def _check_choice(what: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigError(f"{what} must be one of {', '.join(choices)}, got {value!r}")
