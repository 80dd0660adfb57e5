"""Work in other processes: every item has a result, whatever some of them do."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from unreel.data.isolated import Lost, isolated


def work(item: str) -> str:
    if item == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "exit":
        os._exit(3)
    if item == "hang":
        time.sleep(600)
    while item == "spin":
        pass
    if item == "slow":  # little to compute, and much waiting for the machine
        time.sleep(1.0)
    return item.upper()


def compute(seconds: float) -> float:
    begin = time.process_time()
    while time.process_time() - begin < seconds:
        pass
    return seconds


@pytest.mark.parametrize("workers", [1, 3])
def test_every_item_has_a_result(workers: int) -> None:
    items = ["a", "crash", "b", "exit", "hang", "c", "d", "crash", "spin"]
    found = dict(isolated(work, items, workers, seconds=0.1))
    assert [found[number] for number in (0, 2, 5, 6)] == ["A", "B", "C", "D"]
    assert found[1] == found[7] == Lost("the process that read it ended, exit code -9")
    assert found[3] == Lost("the process that read it ended, exit code 3")
    assert found[4] == found[8] == Lost("took longer than 0.1 s")


def test_waiting_for_the_machine_is_not_taking_long() -> None:
    assert dict(isolated(work, ["slow", "a", "slow"], 1, seconds=0.3)) == {0: "SLOW", 1: "A", 2: "SLOW"}


def test_what_was_computed_for_one_item_is_not_counted_for_the_next() -> None:
    items = [0.3] * 4
    assert list(dict(isolated(compute, items, 1, seconds=0.8)).values()) == items


def test_no_items_no_results() -> None:
    assert list(isolated(work, [], 2, seconds=1)) == []


def test_stopping_early_ends_the_processes() -> None:
    results = isolated(work, ["a", "hang", "hang"], 2, seconds=60)
    assert next(results) == (0, "A")
    begin = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begin < 5


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs /proc to see other processes")
def test_processes_end_when_their_parent_is_killed() -> None:
    def tell_their_numbers_and_wait() -> None:
        results = isolated(own_number, ["a", "b", "c", "d", "wait"], 3, seconds=60)
        for _, number in results:
            said.send(number)

    told, said = multiprocessing.get_context("fork").Pipe(duplex=False)
    parent = multiprocessing.get_context("fork").Process(target=tell_their_numbers_and_wait)
    parent.start()
    numbers = {told.recv() for _ in range(4)}
    parent.kill()
    parent.join()
    deadline = time.monotonic() + 20
    while any(lives(number) for number in numbers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [number for number in numbers if lives(number)]


def own_number(item: str) -> int:
    time.sleep(2 if item == "wait" else 0.2)
    return os.getpid()


def lives(number: int) -> bool:
    state = Path(f"/proc/{number}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_process_that_cannot_begin_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(count: int) -> None:
        os._exit(4)

    monkeypatch.setattr("unreel.data.isolated.torch.set_num_threads", end)
    function: Callable[[str], str] = work
    with pytest.raises(RuntimeError, match="exit code 4"):
        list(isolated(function, ["a"], 1, seconds=1))
