"""What the three ways through a clip will cost, told before the run: memory and time, measured on a few frames.

A piece of a real clip goes forward and back through a copy of the model. What autograd keeps of it, and the seconds
that it takes, grow with the frames, so that they tell of the whole:

    whole      (A + G + 2 f) T N            A bytes of activations a frame, G of gradients on their way back,
    recompute  (A + G + 2 f) t + S T / t    f of the frame itself, S of a state, T frames of the longest clip,
    truncated  (A + G + 2 f) t + 2 S        t of a chunk, N clips a batch

each beside what the process holds already and the gradients and moments of the weights. The time of an epoch is that
of a forward and backward pass over all frames, and of one more forward pass for recompute, or of reading where that is
slower. What is left out: validation, the optimiser's step, buffers of the libraries. So these are estimates.

What this file is not: it chooses nothing. The run goes on as it was asked to, with a warning where it will not fit.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from unreel.data import ClipDataset, Film
from unreel.devices import free_memory
from unreel.errors import ReadError
from unreel.models import Model

Way = Literal["whole", "recompute", "truncated"]

FILMS = 32
"""Clips whose length is looked up, spread over all of them."""
PROBE_SECONDS = 1.0
"""About how long the longer piece may take to go forward and back."""


@dataclass(frozen=True)
class Probe:
    """What a frame costs.

    Args:
        activations: bytes that autograd keeps of it.
        gradients: bytes of a gradient on its way back: those of the largest activation.
        frame: bytes of the frame itself.
        state: bytes of the state between two frames.
        weights: bytes of the gradient and the optimiser's moments.
        forward: seconds.
        backward: seconds of a forward and a backward pass.
        read: seconds to read it.
    """

    activations: float
    gradients: float
    frame: float
    state: int
    weights: int
    forward: float
    backward: float
    read: float


@dataclass(frozen=True)
class Cost:
    """What one way costs: bytes beside what the process holds now, and seconds an epoch."""

    way: Way
    memory: float
    seconds: float


def lengths_of(dataset: ClipDataset) -> list[int]:
    """Frames of up to 32 readable clips, spread over the dataset."""
    counts = (dataset.count(index) for index in range(0, len(dataset), -(-len(dataset) // FILMS)))
    return [count for count in counts if isinstance(count, int)]


def probe(model: Model, dataset: ClipDataset, chunk: int, device: torch.device) -> Probe | None:
    """Measure a copy of the model on the first clip that can be read; None where there is none.

    Neither the model nor any generator of random numbers is touched.

    Args:
        model: in train mode it is measured.
        dataset: of the training clips.
        chunk: most frames to try.
        device: where it will be trained.
    """
    for index in range(len(dataset)):
        film = dataset.open(0, index, chunk)
        if not isinstance(film, Film):
            continue
        with film:
            began = time.perf_counter()
            try:
                frames = film.clip.read(0)
            except ReadError:
                continue
        seconds = time.perf_counter() - began
        with torch.random.fork_rng(devices=[]):
            return _measure(copy.deepcopy(model).to(device).train(), frames.to(device), seconds / frames.shape[1])
    return None


def costs(probe: Probe, lengths: Sequence[int], clips: int, chunk: int, batch_size: int, workers: int) -> list[Cost]:
    """The three ways.

    Args:
        probe: what a frame costs.
        lengths: frames of some of the clips.
        clips: how many there are.
        chunk: frames in a chunk.
        batch_size: clips a batch of the way `whole`.
        workers: processes that read for it.
    """
    longest, frames = max(lengths), clips * fmean(lengths)
    a_frame = probe.activations + probe.gradients + 2 * probe.frame
    piece = min(chunk, longest)
    a_chunk = a_frame * piece + probe.weights
    forward, backward = max(probe.forward, probe.read), max(probe.backward, probe.read)
    return [
        Cost(
            "whole",
            a_frame * longest * batch_size + probe.weights,
            frames * max(probe.backward, probe.read / max(1, workers)),
        ),
        Cost("recompute", a_chunk + probe.state * -(-longest // piece), frames * (forward + backward)),
        Cost("truncated", a_chunk + 2 * probe.state, frames * backward),
    ]


def tell(console: Console, chosen: Way, costs: Sequence[Cost], lengths: Sequence[int], device: torch.device) -> None:
    """Print the table, and a warning where the chosen way will not fit.

    Args:
        console: where.
        chosen: the way of the run.
        costs: of the ways that the run could take.
        lengths: frames of some of the clips.
        device: whose memory it is about.
    """
    free = free_memory(device)
    told = f"estimated from a few frames, for clips of up to {max(lengths)}; {_bytes(free)} of memory are free"
    console.print(told, highlight=False, soft_wrap=True)
    table = Table(box=None)
    for heading in ("training.through_time", "memory", "an epoch", ""):
        table.add_column(heading, justify="left" if heading in ("training.through_time", "") else "right")
    for cost in costs:
        note = "chosen" if cost.way == chosen else ""
        if cost.memory > free:
            note += ", does not fit" if note else "does not fit"
        table.add_row(cost.way, _bytes(cost.memory), _time(cost.seconds), note, style="bold" if note else "")
    console.print(table, highlight=False)
    mine = next(cost for cost in costs if cost.way == chosen)
    if mine.memory <= free:
        return
    fitting = [cost for cost in costs if cost.memory <= free]
    advice = (
        f"set training.through_time {fitting[0].way}, which needs about {_bytes(fitting[0].memory)}"
        if fitting
        else "so does every other way: set a smaller training.chunk or data.preprocess.size"
    )
    console.print(
        f"training.through_time {chosen} needs about {_bytes(mine.memory)} and {_bytes(free)} are free: {advice}",
        style="bold yellow",
        highlight=False,
        soft_wrap=True,
    )


def _measure(model: Model, frames: Tensor, read: float) -> Probe:
    _forward_and_back(model, frames[:, :1])  # what happens once: memory is laid out, kernels are chosen
    one = _forward_and_back(model, frames[:, :1])
    count = max(1, min(frames.shape[1], int(PROBE_SECONDS / max(one.forward + one.backward, 1e-9))))
    piece = _forward_and_back(model, frames[:, :count])
    weights = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return Probe(
        activations=piece.kept / count,
        gradients=piece.largest / count,
        frame=frames.numel() * frames.element_size() / frames.shape[1],
        state=piece.state,
        weights=3 * weights,
        forward=piece.forward / count,
        backward=(piece.forward + piece.backward) / count,
        read=read,
    )


@dataclass(frozen=True)
class _Passes:
    kept: int
    largest: int
    state: int
    forward: float
    backward: float


def _forward_and_back(model: nn.Module, frames: Tensor) -> _Passes:
    """Bytes that autograd keeps of frames (1, t, *frame), and of the state behind them; seconds of both ways."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    began = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs, state = model(frames)
    _wait(frames.device)
    between = time.perf_counter()
    outputs.square().mean().backward()
    _wait(frames.device)
    model.zero_grad()
    return _Passes(
        sum(kept.values()),
        max(kept.values(), default=0),
        _size(state),
        between - began,
        time.perf_counter() - between,
    )


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _size(state: Any) -> int:
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    return 0 if state is None else sum(_size(branch) for branch in state)


def _bytes(count: float) -> str:
    for unit in ("KiB", "MiB"):
        count /= 1024
        if count < 1000:
            return f"{count:.3g} {unit}"
    return f"{count / 1024:.3g} GiB"


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
