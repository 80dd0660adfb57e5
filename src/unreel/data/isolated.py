"""A function over many items in processes of their own, so that an item that crashes or hangs costs only itself.

What an item may take is counted in seconds of computing, which the system counts for each process: on a busy machine,
or one that stood still for a while, a good item takes long by the clock and is not lost for that. By the clock it may
take `PATIENCE` times as long, for there are calls that wait for ever and compute nothing.

What this file is not: `concurrent.futures.ProcessPoolExecutor` gives up all work when one process dies, and cannot end
a call that hangs; where neither is to be feared it is the better choice.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE = 10
"""How many times longer an item may take by the clock than it may compute."""


@dataclass(frozen=True)
class Lost:
    """What stands in the place of a result that never came."""

    reason: str


@dataclass
class _Worker:
    """A process, and the number of the item it is at: None before its first."""

    process: BaseProcess
    connection: Connection
    item: int | None = None
    deadline: float = math.inf


def isolated(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, seconds: float
) -> Iterator[tuple[int, Result | Lost]]:
    """Number and result of each item, in the order in which they are done.

    Args:
        function: of a module, so that another process finds it.
        items: what to call it with.
        workers: how many processes, at least 1.
        seconds: an item that computes longer, or takes `PATIENCE` times as long by the clock, is lost, and its process
            killed.

    Raises:
        RuntimeError: a process ends before it has begun.
    """
    waiting = iter(enumerate(items))
    team = [_start(function, seconds) for _ in range(min(workers, len(items)))]
    try:
        while team:
            soonest = min(worker.deadline for worker in team) - time.monotonic()
            ready = wait([worker.connection for worker in team], None if soonest == math.inf else max(0.0, soonest))
            for worker in list(team):
                late = time.monotonic() > worker.deadline
                if worker.connection not in ready and not late:
                    continue
                item = worker.item
                result = _receive(worker, seconds) if worker.connection in ready else _late(seconds)
                if isinstance(result, Lost):
                    _end(worker)
                    team.remove(worker)
                    team.append(_start(function, seconds))
                elif not _give(worker, waiting, seconds):
                    _end(worker)
                    team.remove(worker)
                if item is not None:
                    yield item, result
    finally:
        for worker in team:
            _end(worker)


def _start(function: Callable[[Any], Any], seconds: float) -> _Worker:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_work, args=(theirs, function, seconds), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _work(connection: Connection, function: Callable[[Any], Any], seconds: float) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which ends us
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # the timer's: it ends us wherever we are, in foreign code too
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.send(None)  # ready: the time of the first item begins now
    while True:
        # where processes are forked, we and our siblings hold the other end of the connection too: that it is open
        # does not tell that the parent lives
        if parent.sentinel in wait([connection, parent.sentinel]):
            return
        try:
            item = connection.recv()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_PROF, seconds)
        result = function(item)
        signal.setitimer(signal.ITIMER_PROF, 0)
        connection.send(result)


def _give(worker: _Worker, waiting: Iterator[tuple[int, object]], seconds: float) -> bool:
    """Hand out the next item, if there is one."""
    number, item = next(waiting, (None, None))
    if number is None:
        return False
    worker.item, worker.deadline = number, time.monotonic() + PATIENCE * seconds
    worker.connection.send(item)
    return True


def _receive(worker: _Worker, seconds: float) -> Any:
    try:
        return worker.connection.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        code = worker.process.exitcode
        if worker.item is None:
            raise RuntimeError(f"a process ended before it began, exit code {code}") from None
        return _late(seconds) if code == -signal.SIGPROF else Lost(f"the process that read it ended, exit code {code}")


def _late(seconds: float) -> Lost:
    return Lost(f"took longer than {seconds:g} s")


def _end(worker: _Worker) -> None:
    worker.connection.close()
    worker.process.kill()
    worker.process.join()
    worker.process.close()
