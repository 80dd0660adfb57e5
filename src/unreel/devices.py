"""Where tensors are computed when nobody says it."""

from __future__ import annotations

import torch


def best_device(accelerator: str = "auto") -> torch.device:
    """The accelerator of this machine, or the CPU where there is none or `accelerator` is "cpu"."""
    found = None if accelerator == "cpu" else torch.accelerator.current_accelerator(check_available=True)
    return found or torch.device("cpu")
