"""Where tensors are computed when nobody says it, and which process speaks where several train together."""

from __future__ import annotations

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only


def leads() -> bool:
    """Whether this process is the first of those that train together: the one that measures and writes."""
    return getattr(rank_zero_only, "rank", 0) == 0


def best_device(accelerator: str = "auto") -> torch.device:
    """The accelerator of this machine, or the CPU where there is none or `accelerator` is "cpu"."""
    found = None if accelerator == "cpu" else torch.accelerator.current_accelerator(check_available=True)
    return found or torch.device("cpu")
