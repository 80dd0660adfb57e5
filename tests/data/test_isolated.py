"""Work in other processes: every item has a result, whatever some of them do."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from unreel.data.isolated import Lost, isolated


def work(item: str) -> str:
    if item == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "exit":
        os._exit(3)
    if item == "hang":
        time.sleep(600)
    return item.upper()


@pytest.mark.parametrize("workers", [1, 3])
def test_every_item_has_a_result(workers: int) -> None:
    items = ["a", "crash", "b", "exit", "hang", "c", "d", "crash"]
    found = dict(isolated(work, items, workers, seconds=0.5))
    assert [found[number] for number in (0, 2, 5, 6)] == ["A", "B", "C", "D"]
    assert found[1] == found[7] == Lost("the process that read it ended, exit code -9")
    assert found[3] == Lost("the process that read it ended, exit code 3")
    assert found[4] == Lost("took longer than 0.5 s")


def test_no_items_no_results() -> None:
    assert list(isolated(work, [], 2, seconds=1)) == []


def test_stopping_early_ends_the_processes() -> None:
    results = isolated(work, ["a", "hang", "hang"], 2, seconds=60)
    assert next(results) == (0, "A")
    begin = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begin < 5


def test_a_process_that_cannot_begin_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(count: int) -> None:
        os._exit(4)

    monkeypatch.setattr("unreel.data.isolated.torch.set_num_threads", end)
    function: Callable[[str], str] = work
    with pytest.raises(RuntimeError, match="exit code 4"):
        list(isolated(function, ["a"], 1, seconds=1))
