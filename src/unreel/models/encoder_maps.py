"""Encoders of maps: a frame to a vector of features for each of its places, for models that look at places.

Any encoder of `models/encoders.py`, run up to the map by which it is explained; what comes after the map is cut off, so
that it costs no time and holds no weight. What this file is not: it makes no encoder of its own, and weighs no place.

Shape letters: V frames, C channels, H' W' places of the map, P = H'·W', D features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unreel.errors import ConfigError
from unreel.models.encoders import Encoder, EncoderConfig, build_encoder


class MapEncoder(Encoder):
    """A net from frames (V, *frame) to the features (V, P, D) of their places, row after row of the map.

    Args:
        encoder: is cut behind its last map. One without maps gives one place, its features.
        frame_shape: (C, H, W), or (D,).

    Attributes:
        features: D.
        grid: (H', W').
    """

    grid: tuple[int, int]

    def __init__(self, encoder: Encoder, frame_shape: tuple[int, ...]) -> None:
        super().__init__(encoder.net, encoder.features, encoder._frozen, encoder._last_map)
        self.grid = (1, 1)
        if not self._last_map:
            return
        self.last_map.register_forward_hook(_stop)
        found = self._cut(frame_shape)
        self.features = found.shape[1]
        self.grid = (found.shape[2], found.shape[3])
        left = set(self.net.modules())
        self._frozen = tuple(part for part in self._frozen if part in left)

    def forward(self, frames: Tensor) -> Tensor:
        """Give features (V, P, D) for frames (V, *frame)."""
        try:
            return super().forward(frames).unsqueeze(1)
        except _ReachedError as reached:
            return reached.map.flatten(2).transpose(1, 2)

    def _cut(self, frame_shape: tuple[int, ...]) -> Tensor:
        """Take away the parts that the map does not need, and give the map (1, D, H', W') of one frame.

        A part is not needed if it has parameters, does not run before the map, and the map depends on none of them.
        """
        ran: set[nn.Module] = set()
        handles = [
            part.register_forward_pre_hook(lambda module, inputs: ran.add(module)) for part in self.net.modules()
        ]
        wanted = [(parameter, parameter.requires_grad) for parameter in self.net.parameters()]
        training = {part: part.training for part in self.net.modules()}
        with torch.enable_grad():
            for parameter, _ in wanted:
                parameter.requires_grad_(True)
            self.net.eval()
            found = self._run_to_map(torch.zeros(1, *frame_shape))
            gradients = torch.autograd.grad(found.sum(), [parameter for parameter, _ in wanted], allow_unused=True)
        for handle in handles:
            handle.remove()
        for part, mode in training.items():
            part.training = mode
        needed: set[nn.Parameter] = set()
        for (parameter, requires), gradient in zip(wanted, gradients, strict=True):
            parameter.requires_grad_(requires)
            if gradient is not None:
                needed.add(parameter)
        for parent in list(self.net.modules()):
            for name, part in list(parent.named_children()):
                parameters = list(part.parameters())
                if parameters and part not in ran and not needed.intersection(parameters):
                    delattr(parent, name)
        return found.detach()

    def _run_to_map(self, frames: Tensor) -> Tensor:
        try:
            self.net(frames)
        except _ReachedError as reached:
            return reached.map
        raise ConfigError("the encoder's map is not computed on the way to its features; choose another CNN")


class _ReachedError(Exception):
    """The net has made its last map: there is nothing more to run."""

    def __init__(self, found: Tensor) -> None:
        super().__init__("the last map is there")
        self.map = found


def _stop(module: nn.Module, inputs: object, output: Tensor) -> None:
    raise _ReachedError(output)


def build_map_encoder(config: EncoderConfig, frame_shape: tuple[int, ...]) -> MapEncoder:
    """Build the encoder that the config names, up to its last map.

    Args:
        config: which one. "identity" gives each frame as one place.
        frame_shape: (C, H, W), or (D,) for "identity".

    Raises:
        ConfigError: as `build_encoder`; or the encoder has no map of places behind its first layers, as a transformer.
    """
    encoder = build_encoder(config, frame_shape)
    stages = [stage["module"] for stage in getattr(encoder.net, "feature_info", ())]
    placeless = not encoder._last_map or (stages and encoder._last_map not in stages)
    if config.name != "identity" and placeless:
        raise ConfigError(
            f"attention looks at the places of a CNN's map, and {config.name!r} gives none behind its first layers; "
            "choose a CNN such as resnet18, or a form without attention"
        )
    return MapEncoder(encoder, frame_shape)
