"""Encoders of maps: a frame to a vector of features for each of its places, for models that look at places.

Any encoder of `models/encoders.py`, run up to the map by which it is explained; what comes after the map is cut off, so
that it costs no time and holds no weight. A map that is finer than asked for is averaged in blocks.
What this file is not: it makes no encoder of its own, and weighs no place.

Shape letters: V frames, C channels, H' W' places, P = H'·W', D features.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from threading import get_ident

import torch
from torch import Tensor, nn
from torch.nn import functional

from unreel.errors import ConfigError
from unreel.models.encoders import Encoder, EncoderConfig, build_encoder


class MapEncoder(Encoder):
    """A net from frames (V, *frame) to the features (V, P, D) of their places, row after row of the map.

    Args:
        encoder: its net is cut behind its last map. One without maps gives one place, its features.
        frame_shape: (C, H, W), or (D,).
        grid_size: highest H' and W'. Of a finer map the mean of each block is taken, blocks as small as that allows.

    Attributes:
        features: D.
        grid: (H', W').
    """

    grid: tuple[int, int]

    def __init__(self, encoder: Encoder, frame_shape: tuple[int, ...], grid_size: int) -> None:
        super().__init__(encoder.net, encoder.features, encoder._frozen, encoder._last_map)
        self.grid = (1, 1)
        if not self._last_map:
            return
        found = self._cut(torch.zeros(1, *frame_shape))
        self.features = found.shape[1]
        height, width = found.shape[2:]
        self._block = ceil(max(height, width) / grid_size)
        self.grid = (ceil(height / self._block), ceil(width / self._block))
        left = set(self.net.modules())
        self._frozen = tuple(part for part in self._frozen if part in left)

    def forward(self, frames: Tensor) -> Tensor:
        """Give features (V, P, D) for frames (V, *frame)."""
        if not self._last_map:
            return super().forward(frames).unsqueeze(1)
        found = self._map_of(frames)
        if self._block > 1:
            found = functional.avg_pool2d(found, self._block, ceil_mode=True, count_include_pad=False)
        return found.flatten(2).transpose(1, 2)

    def _map_of(self, frames: Tensor) -> Tensor:
        """The map (V, D, H', W') of frames, as whoever watches the part that makes it leaves it."""
        maps: list[Tensor] = []
        ours = get_ident()

        def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
            if get_ident() == ours:  # another thread may run the same net
                maps.append(output)

        handle = self.last_map.register_forward_hook(keep)
        try:
            super().forward(frames)
        finally:
            handle.remove()
        return maps[0]

    def _cut(self, frames: Tensor) -> Tensor:
        """Put nothing in the place of parts that the map does not need, and give the map of frames.

        A part is not needed if nothing of it runs before the map, and the map depends on none of its parameters.
        """
        training = [(part, part.training) for part in self.net.modules()]
        trained = [(parameter, parameter.requires_grad) for parameter in self.net.parameters()]
        with torch.enable_grad(), _told_of_parts(self.net, self.last_map) as before:
            for parameter, _ in trained:
                parameter.requires_grad_(True)
            self.net.eval()
            found = self._map_of(frames)
            gradients = torch.autograd.grad(found.sum(), [parameter for parameter, _ in trained], allow_unused=True)
        for part, mode in training:
            part.training = mode
        needed: set[object] = set(before)
        for (parameter, mode), gradient in zip(trained, gradients, strict=True):
            parameter.requires_grad_(mode)
            if gradient is not None:
                needed.add(parameter)
        _empty(self.net, needed)
        return found.detach()


@contextmanager
def _told_of_parts(net: nn.Module, last: nn.Module) -> Iterator[set[nn.Module]]:
    """The parts of a net that have begun to run before `last` is done."""
    found: set[nn.Module] = set()
    done = False

    def begins(part: nn.Module, inputs: object) -> None:
        if not done:
            found.add(part)

    def ends(part: nn.Module, inputs: object, output: object) -> None:
        nonlocal done
        done = True

    handles = [part.register_forward_pre_hook(begins) for part in net.modules()]
    handles.append(last.register_forward_hook(ends))
    yield found
    for handle in handles:
        handle.remove()


def _empty(parent: nn.Module, needed: set[object]) -> None:
    """Put identities in the place of parts none of whose modules and parameters is needed."""
    for name, part in list(parent.named_children()):
        is_list = isinstance(part, nn.ModuleList | nn.ModuleDict)
        if is_list or not needed.isdisjoint(part.modules()) or not needed.isdisjoint(part.parameters()):
            _empty(part, needed)
        else:
            setattr(parent, name, nn.Identity())


def build_map_encoder(config: EncoderConfig, frame_shape: tuple[int, ...], grid_size: int) -> MapEncoder:
    """Build the encoder that the config names, up to its last map.

    Args:
        config: which one. "identity" gives each frame as one place.
        frame_shape: (C, H, W), or (D,) for "identity".
        grid_size: highest H' and W', see `MapEncoder`.

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
    return MapEncoder(encoder, frame_shape, grid_size)
