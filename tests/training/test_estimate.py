"""The estimate of the three ways: bytes against what is known of a model, and the peak of a real training step."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from unreel.data import AugmentConfig, ClipDataset, Example, PreprocessConfig, SamplingConfig
from unreel.devices import free_memory
from unreel.models import CNNRNN, CNNRNNConfig, EncoderConfig
from unreel.training import estimate
from unreel.training.estimate import Cost, Probe

GIB = 2**30


def dataset(root: Path, *names: str) -> ClipDataset:
    size = PreprocessConfig((6, 6), channels="grey")
    return ClipDataset(
        [Example(name) for name in names], root, SamplingConfig("all"), size, AugmentConfig(flip=True), training=True
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for index, length in enumerate((5, 9)):
        np.save(tmp_path / f"{index}.npy", np.zeros((length, 1, 8, 8), np.uint8))
    (tmp_path / "bad.npy").write_text("no array")
    return tmp_path


class Squared(nn.Module):
    """Keeps one float of each value of a frame for the backward pass, and a state of 3 floats."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(7))

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        return (frames.float() * self.weight[0]).square(), (torch.zeros(1, 3),)


def test_bytes_of_a_model_that_can_be_counted_by_hand() -> None:
    frames = torch.ones(1, 4, 1, 6, 6, dtype=torch.uint8)
    found = estimate._measure(Squared(), frames, read=0.5)  # type: ignore[arg-type]
    # kept: the float frames for the weight's gradient, and the product for the square's; the scalar is a weight's view
    assert found.activations == 2 * 36 * 4
    assert found.gradients == 36 * 4
    assert (found.frame, found.state, found.weights, found.read) == (36, 3 * 4, 3 * 7 * 4, 0.5)
    assert 0 < found.forward < found.backward


def test_a_probe_touches_nothing(root: Path) -> None:
    encoder = EncoderConfig(channels=(4,), features=6, norm="batch", dropout=0.5)
    model = CNNRNN(CNNRNNConfig(encoder=encoder, recurrence="gru", hidden_size=5), (1, 6, 6), 2, "frame").eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    found = estimate.probe(model, dataset(root, "bad.npy", "1.npy"), 4, torch.device("cpu"))
    assert found is not None
    assert found.frame == 36
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training
    assert estimate.probe(model, dataset(root, "bad.npy"), 4, torch.device("cpu")) is None


def test_lengths_are_those_of_readable_clips(root: Path) -> None:
    assert estimate.lengths_of(dataset(root, "0.npy", "bad.npy", "1.npy")) == [5, 9]


def test_the_three_ways_by_hand() -> None:
    probe = Probe(activations=10, gradients=2, frame=1, state=5, weights=100, forward=1, backward=3, read=0.5)
    whole, recompute, truncated = estimate.costs(probe, [8, 20], clips=10, chunk=8, batch_size=4, workers=2)
    assert (whole.memory, recompute.memory, truncated.memory) == (14 * 20 * 4 + 100, 14 * 8 + 100 + 15, 14 * 8 + 110)
    assert (whole.seconds, recompute.seconds, truncated.seconds) == (140 * 3, 140 * 4, 140 * 3)
    slow = Probe(activations=10, gradients=2, frame=1, state=5, weights=100, forward=1, backward=3, read=4)
    assert [cost.seconds for cost in estimate.costs(slow, [14], 10, 8, 1, 2)] == [140 * 3, 140 * 8, 140 * 4]


def told(monkeypatch: pytest.MonkeyPatch, chosen: estimate.Way, *gib: float) -> str:
    monkeypatch.setattr(estimate, "free_memory", lambda device: 8 * GIB)
    ways: tuple[estimate.Way, ...] = ("whole", "recompute", "truncated")
    found = [Cost(way, size * GIB, 90.0 * 60) for way, size in zip(ways, gib, strict=True)]
    console = Console(file=io.StringIO(), width=120)
    estimate.tell(console, chosen, found, [1000], torch.device("cpu"))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_way_that_will_not_fit_is_told_with_one_that_will(monkeypatch: pytest.MonkeyPatch) -> None:
    text = told(monkeypatch, "whole", 30, 3, 2)
    assert "whole needs about 30 GiB and 8 GiB are free: set training.through_time recompute" in text
    assert "which needs about 3 GiB" in text
    assert "clips of up to 1000; 8 GiB of memory are free" in text
    assert "90 min" in text
    assert "chosen" in next(line for line in text.splitlines() if line.strip().startswith("whole"))


def test_what_fits_is_not_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "are free:" not in told(monkeypatch, "recompute", 30, 3, 2)
    assert "a smaller training.chunk" in told(monkeypatch, "truncated", 300, 30, 20)


def test_free_memory_is_some_and_not_more_than_there_is() -> None:
    assert 0 < free_memory(torch.device("cpu")) <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="needs resident memory as Linux counts it")
@pytest.mark.parametrize("way", ["whole", "recompute"])
def test_the_estimate_is_near_the_peak_of_a_real_step(way: str) -> None:
    script = (
        "import sys, torch\n"
        "from unreel.models import CNNRNN, CNNRNNConfig\n"
        "from unreel.nn.through_time import recompute\n"
        "from unreel.training import estimate\n"
        "model = CNNRNN(CNNRNNConfig(), (3, 64, 64), 6, 'frame')\n"
        "frames = torch.randint(0, 255, (1, 320, 3, 64, 64), dtype=torch.uint8)\n"
        "probe = estimate._measure(model, frames[:, :16], 0.0)\n"
        "costs = {cost.way: cost.memory for cost in estimate.costs(probe, [320], 1, 16, 1, 0)}\n"
        "peak = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) * 1024\n"
        "print(5, file=open('/proc/self/clear_refs', 'w', buffering=1))\n"  # the peak is now what is held
        "before = peak()\n"
        "read = lambda index: frames[:, 16 * index : 16 * index + 16]\n"
        "outputs = model(frames)[0] if sys.argv[1] == 'whole' else recompute(model, read, 20)\n"
        "outputs.square().mean().backward()\n"
        "print(costs[sys.argv[1]], peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, way],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    estimated, real = map(float, done.stdout.split())
    assert 0.5 < estimated / real < 2, (estimated, real)
