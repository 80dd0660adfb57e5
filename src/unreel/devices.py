"""Where tensors are computed when nobody says it, and which process speaks where several train together."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where Linux says how much memory a container may have, in version 2 and 1 of its control groups."""


def leads() -> bool:
    """Whether this process is the first of those that train together: the one that measures and writes."""
    return getattr(rank_zero_only, "rank", 0) == 0


def best_device(accelerator: str = "auto") -> torch.device:
    """The accelerator of this machine, or the CPU where there is none or `accelerator` is "cpu"."""
    found = None if accelerator == "cpu" else torch.accelerator.current_accelerator(check_available=True)
    return found or torch.device("cpu")


def free_memory(device: torch.device) -> int:
    """Bytes that this process may still take on `device`: of a CPU, what the system could give without swapping."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    system = Path("/proc/meminfo")
    if system.is_file():  # on Linux
        rows = dict(line.split(":") for line in system.read_text(encoding="ascii").splitlines())
        free = 1024 * int(rows["MemAvailable"].split()[0])
    for limit in CONTAINER_LIMITS:
        if limit.is_file() and (text := limit.read_text(encoding="ascii").strip()) != "max":
            free = min(free, int(text))
    return free
