"""The side of the contestant: answer one JSON line with one JSON line, until the pipe closes.

Requests, each `{"do": ..., ...}`:

    build    {"job", "arrays", "mode"}      make a job from a file of arrays            -> {"calls": [names]}
    time     {"call", "seconds"}            an untimed call if it is short, then timed ones -> {"seconds": [...]}
    memory   {"call", "free"}               resident memory, in bytes                   -> {"resident", "peak"}
    results  {"path"}                       write the job's results as .npz             -> {}
    versions                                                                            -> {"versions": {...}}

Nothing is caught: a job that raises ends its process, and the driver reads why in the last lines of standard error.
The answers leave by a copy of standard output; what libraries print there goes to standard error.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
MOST_CALLS = 50
SHORT = 5.0


@dataclass(frozen=True)
class Job:
    """What a contestant can do with the arrays it was given; each call returns when the work is done."""

    calls: dict[str, Callable[[], object]]
    results: Callable[[], Arrays]


Build = Callable[[str, Arrays, str], Job]


def resident(field: str) -> int:
    """Bytes of resident memory of this process: VmRSS now, VmHWM at its highest since the last `forget_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def forget_peak(free: bool) -> None:
    """Let VmHWM start again from VmRSS; `free` first gives what malloc holds in reserve back to the system."""
    if free:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def timed(call: Callable[[], object], seconds: float, last: float | None) -> list[float]:
    """Seconds of each call, for about `seconds` in all; given time, and where calls are short, an untimed one first."""
    if seconds > 0 and (last is None or last < SHORT):
        call()
    spent: list[float] = []
    while not spent or (sum(spent) < seconds and len(spent) < MOST_CALLS):
        started = time.perf_counter()
        call()
        spent.append(time.perf_counter() - started)
    return spent


def serve(build: Build, versions: dict[str, str]) -> None:
    """Answer requests on standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    job: Job | None = None
    last: dict[str, float] = {}
    for line in sys.stdin:
        request = json.loads(line)
        do = request["do"]
        answer: dict[str, Any] = {}
        if do == "versions":
            answer = {"versions": versions}
        elif do == "build":
            job, last = None, {}
            with np.load(request["arrays"]) as arrays:
                job = build(request["job"], dict(arrays), request["mode"])
            answer = {"calls": list(job.calls)}
        elif job is None:
            raise RuntimeError(f"{do} before build")
        elif do == "time":
            call = request["call"]
            spent = timed(job.calls[call], request["seconds"], last.get(call))
            last[call] = min(spent)
            answer = {"seconds": spent}
        elif do == "memory":
            forget_peak(request["free"])
            before = resident("VmRSS")
            if request["call"] is not None:
                job.calls[request["call"]]()
            answer = {"resident": before, "peak": resident("VmHWM")}
        elif do == "results":
            np.savez(request["path"], **job.results())
        else:
            raise ValueError(f"no such request: {do}")
        print(json.dumps(answer), file=answers, flush=True)
