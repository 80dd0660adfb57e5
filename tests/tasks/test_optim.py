"""The learning rate of every step, compared with torch's own schedule, and where parts of training begin."""

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from unreel.tasks import Classify, OptimConfig
from unreel.tasks.optim import Part, begins, one_cycle, rate

from hand_made import Same  # isort: skip


@pytest.mark.parametrize("steps", [3, 10, 11, 345])
@pytest.mark.parametrize("warmup", [0.0, 0.15, 0.5, 0.9])
def test_one_cycle_is_that_of_torch(steps: int, warmup: float) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = OneCycleLR(optimizer, 0.1, steps, pct_start=warmup, cycle_momentum=False)
    for step in range(steps):
        assert 0.1 * one_cycle(step, steps, warmup) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("steps", [1, 2, 10])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_no_step_is_left_without_a_rate(steps: int, warmup: float) -> None:
    """Torch divides by zero where the warm-up is one step."""
    rates = [one_cycle(step, steps, warmup) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    if steps == 10 and warmup == 0.1:
        assert rates[0] == 1


def test_a_task_takes_the_rate_of_its_config_at_each_step() -> None:
    task = Classify(Same(), ["a", "b"], OptimConfig(lr=0.1, warmup=0.1))
    task.total_steps = 345
    chosen = task.configure_optimizers()
    optimizer, schedule = chosen["optimizer"], chosen["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(345):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert max(rates) == pytest.approx(0.1, rel=1e-3)
    assert 30 <= rates.index(max(rates)) <= 38
    assert rates[-1] < 1e-4


def test_each_part_has_its_own_rate() -> None:
    parts = (Part(10), Part(20, 0.5), Part(5, 0.1))
    assert begins(parts) == (0, 10, 30)
    optim = OptimConfig(warmup=0.2)
    got = [rate(step, parts, optim) for step in range(35)]
    wanted = [part.share * one_cycle(step, part.steps, 0.2) for part in parts for step in range(part.steps)]
    assert got == wanted
    assert rate(35, parts, optim) == got[-1], "a schedule is asked once more behind the last step"
    constant = OptimConfig(schedule="constant")
    assert [rate(step, parts, constant) for step in (0, 9, 10, 29, 30, 40)] == [1, 1, 0.5, 0.5, 0.1, 0.1]
