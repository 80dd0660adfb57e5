"""The physical limit: every convolution that a ConvLSTM's mathematics needs, each alone and warm.

    python -m peers.bare THREADS

A job of `serve.py`. Each is called in every way it can be had, and the fastest counts (`total`): in channels-first and
channels-last, a step at a time or, where no step waits for the one before, all steps in one call; input and state
apart, or side by side. From a zero state, T - 1 steps need a product of the state. Gates, biases and all movement of
data are left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from peers.serve import Arrays, Job, serve

# part -> sums that each give it, as (call, times): the fastest sum counts; T frames, S = T - 1 steps from a state
Ways = dict[str, list[list[tuple[str, int]]]]
LAYOUTS = ("first", "last")


def ways(frames: int) -> Ways:
    steps = frames - 1
    inner = [[("input, step", frames)], [("input, all", 1)]]
    inner_weights = [[("weights of input, step", frames)], [("weights of input, all", 1)]]
    weights = [
        [*inner_way, state_way]
        for inner_way in inner_weights
        for state_way in (("weights of state, step", steps), ("weights of state, all", 1))
    ]
    return {
        "forward": [[*way, ("state, step", steps)] for way in inner] + [[("input, step", 1), ("both, step", steps)]],
        "to the state": [[("to state, step", steps)]],
        "to the weights": [*weights, [("weights of input, step", 1), ("weights of both, step", steps)]],
    }


def total(seconds: dict[str, float], frames: int) -> dict[str, float]:
    """Seconds of each part and of inference and training step, from the seconds of every call."""
    fastest = {}
    for call, spent in seconds.items():
        name = call.partition(": ")[2]
        fastest[name] = min(spent, fastest.get(name, spent))
    parts = {
        part: min(sum(n * fastest[c] for c, n in way) for way in several) for part, several in ways(frames).items()
    }
    return parts | {"inference": parts["forward"], "step": sum(parts.values())}


def build(name: str, arrays: Arrays, mode: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Job:
    if name != "conv_lstm":
        raise ValueError(f"no bare convolutions of {name}")
    x, kernel, recurrent, cotangent = (
        torch.from_numpy(arrays[key]).to(device, dtype) for key in ("x", "kernel", "recurrent_kernel", "cotangent")
    )
    n = len(x)
    frames = x.transpose(0, 1).flatten(0, 1)
    state = torch.tanh(cotangent.transpose(0, 1).flatten(0, 1))
    gates = torch.cat((state, state, state, state), 1)
    padding = [kernel.shape[-1] // 2] * 2
    job: dict[str, Callable[[], object]] = {}

    def add(layout: str) -> None:
        form = torch.channels_last if layout == "last" else torch.contiguous_format

        def laid(tensor: Tensor) -> Tensor:
            return tensor.contiguous(memory_format=form)

        def forward(tensor: Tensor, weight: Tensor):
            return lambda: functional.conv2d(tensor, weight, padding=padding)

        def backward(gradient: Tensor, tensor: Tensor, weight: Tensor, wanted: list[bool]):
            return lambda: torch.ops.aten.convolution_backward(
                gradient, tensor, weight, None, [1, 1], padding, [1, 1], False, [0, 0], 1, wanted
            )

        xs, hs, zs, w, u = (laid(tensor) for tensor in (frames, state, gates, kernel, recurrent))
        one_x, one_h, one_z = (laid(tensor[:n]) for tensor in (xs, hs, zs))
        both, wu = laid(torch.cat((one_x, one_h), 1)), laid(torch.cat((w, u), 1))
        data, weight = [True, False, False], [False, True, False]
        calls = {
            "input, step": forward(one_x, w),
            "input, all": forward(xs, w),
            "state, step": forward(one_h, u),
            "both, step": forward(both, wu),
            "to state, step": backward(one_z, one_h, u, data),
            "weights of input, step": backward(one_z, one_x, w, weight),
            "weights of input, all": backward(zs, xs, w, weight),
            "weights of state, step": backward(one_z, one_h, u, weight),
            "weights of state, all": backward(zs[n:], hs[n:], u, weight),
            "weights of both, step": backward(one_z, both, wu, weight),
        }
        job.update({f"{layout}: {name}": call for name, call in calls.items()})

    for layout in LAYOUTS:
        add(layout)
    return Job(job, dict)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    with torch.inference_mode():
        serve(build, {"torch": torch.__version__})
