"""The side of the driver: contestants, each a process of its own that answers one request at a time.

A contestant that raises, dies or takes longer than the limit has failed, with its last words as the reason.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).resolve().parents[1]


class FailedError(Exception):
    """A contestant cannot go on; the message says why."""


@dataclass(frozen=True)
class Contestant:
    """Who runs `module` in `mode`; with `backend` under Keras, and `ours` in the driver's own environment."""

    name: str
    module: str
    mode: str = ""
    backend: str = ""
    ours: bool = False


@dataclass(frozen=True)
class Terms:
    """What is the same for all: the peers' Python, a folder for files, threads, seconds that a request may take."""

    peers: Path
    folder: Path
    threads: int
    limit: float


class Worker:
    """A contestant's process. Leave the `with` block to end it."""

    def __init__(self, contestant: Contestant, terms: Terms) -> None:
        self.contestant, self.limit = contestant, terms.limit
        self.log = terms.folder / f"{contestant.name}.log"
        threads = terms.threads
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "JAX_PLATFORMS": "cpu",
            "CUDA_VISIBLE_DEVICES": "",
        }
        if contestant.backend:
            environment["KERAS_BACKEND"] = contestant.backend
        cores = sorted(os.sched_getaffinity(0))[:threads]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable if contestant.ours else terms.peers, "-m", contestant.module, str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=HERE,
                env=environment,
                start_new_session=True,
            )
        os.sched_setaffinity(self.process.pid, cores)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process and whatever it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request and its answer.

        Raises:
            FailedError: no answer within the limit, or the process is dead.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise FailedError(self.last_words()) from None
        if not select.select([self.process.stdout], [], [], self.limit)[0]:
            self.close()
            raise FailedError(f"no answer to {request['do']} within {self.limit:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            raise FailedError(self.last_words())
        return json.loads(line)

    def last_words(self) -> str:
        code = self.process.wait()
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return f"ended with {code}: {lines[-1].strip() if lines else 'no message'}"[:300]


def versions(contestants: list[Contestant], terms: Terms) -> dict[str, str]:
    """Versions of every framework that takes part; one that does not even start says so when its turn comes."""
    found: dict[str, str] = {}
    for contestant in {(c.module, c.backend, c.ours): c for c in contestants}.values():
        with Worker(contestant, terms) as worker:
            try:
                found |= worker.ask(do="versions")["versions"]
            except FailedError as failure:
                print(f"{contestant.name}: {failure}", flush=True)
    return found
