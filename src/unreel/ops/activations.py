"""The functions that a gate may end in, and their derivatives told from their outputs.

A derivative told from the output alone is what lets a backward pass keep the gates and forget what went into them.
What this file is not: it knows no gate; `ops/cells.py` says which gate takes which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unreel.errors import ConfigError


@dataclass(frozen=True)
class Activation:
    """One function of a number.

    Args:
        apply: x -> y.
        slope: y -> dy/dx, from the output.
    """

    apply: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


def _inside(y: Tensor) -> Tensor:
    return ((y > 0) & (y < 1)).to(y.dtype)


ACTIVATIONS = {
    "tanh": Activation(torch.tanh, lambda y: 1 - y * y),
    "sigmoid": Activation(torch.sigmoid, lambda y: y * (1 - y)),
    "relu": Activation(torch.relu, lambda y: (y > 0).to(y.dtype)),
    "linear": Activation(lambda x: x, torch.ones_like),
    # Keras 3 and torch.nn.Hardsigmoid, whose own gradient has float32 precision even in float64: relu6(x + 3) / 6
    "hard_sigmoid": Activation(lambda x: ((x + 3) / 6).clamp(0, 1), lambda y: _inside(y) / 6),
    # Keras up to 2.x, and so the older tutorials: 0.2·x + 0.5, cut at 0 and 1
    "hard_sigmoid_keras2": Activation(lambda x: (0.2 * x + 0.5).clamp(0, 1), lambda y: _inside(y) * 0.2),
}


def activation(name: str) -> Activation:
    """The activation of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in ACTIVATIONS:
        raise ConfigError(f"an activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]
