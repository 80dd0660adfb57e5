"""Readout: of what a model speaks, and how many numbers it says. What every model asks of it before it is built."""

from __future__ import annotations

from typing import Literal, get_args

from unreel.errors import ConfigError

Readout = Literal["clip", "frame"]
"""One answer for the clip, or one for each frame."""


def check_readout(readout: str, num_outputs: int) -> None:
    """Refuse what no model can be built for.

    Args:
        readout: must be one of `Readout`.
        num_outputs: K, numbers of an answer; must be at least 1.

    Raises:
        ConfigError: it is not.
    """
    if readout not in get_args(Readout):
        raise ConfigError(f"readout must be 'clip' or 'frame', got {readout!r}")
    if num_outputs < 1:
        raise ConfigError(f"num_outputs must be at least 1, got {num_outputs}")
