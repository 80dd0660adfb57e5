"""Where tensors are computed when nobody says it, with which memory, and which process of several speaks."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where Linux says how much memory a container may have, in version 2 and 1 of its control groups."""

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Numbers of two settings in glibc's malloc.h; see mallopt(3)."""


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


def keep_freed_memory() -> None:
    """Let this process, and those forked from it, use freed memory again instead of giving it back to the system.

    glibc gives each large block back when it is freed. A training step on the CPU then asks for its activations anew,
    and the system clears every page of them: up to 40 % of a step (docs/performance.md). For a process of one's own,
    such as a verb of the command line; it holds the most memory that it ever used until it ends. Without glibc nothing
    happens.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)
