"""The loop over time as one operator of a graph, for torch.export: any number of frames, no operator of our own.

`torch.export` writes down what runs. A loop in Python would be written down as often as it ran, and the program would
be right for that number of frames only; torch's `scan` operator holds one step of it instead, in ATen, and so runs
where Unreel is not installed. What this file is not: the arithmetic is that of the plain loop in `ops/scan.py`, which
hands its step over.

Shape letters: N clips, T frames, S positions in space, H hidden features, G gates.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan as torch_scan

from unreel.ops.cells import State

Step = Callable[[Tensor, State], State]
"""(x·W + b of a frame (N, *S, G·H), the state before it) -> the state after it, of the same dtypes."""


def loop_in_graph(step: Step, zx: Tensor, state: State, members: int) -> tuple[list[Tensor], State]:
    """As `ops.scan.loop`, written into the graph as one operator."""

    def carry(before: State, zx_t: Tensor) -> tuple[State, State]:
        after = tuple(member.contiguous() for member in step(zx_t, before))
        return after, tuple(member.clone() for member in after[:members])

    # neither the operator's inputs nor its outputs may share memory
    start = tuple(member.clone(memory_format=torch.contiguous_format) for member in state)
    end, series = torch_scan(carry, start, zx.movedim(1, 0).contiguous())
    return [member.movedim(0, 1) for member in series], end
