"""Unreel's recurrences on a GPU beside their peers there: inference and training step, in one process.

    KERAS_BACKEND=torch python benchmarks/gpu.py [--precision float32|tf32|bfloat16] [--shapes 0,1] [--rounds 5]
        [--contestants unreel,torch-last] [--out benchmarks/results/DATE_gpu_PRECISION.json]

The networks, shapes, data and calls are those of `conv_lstm.py` and `lstm.py`, in an environment that has Unreel and
PyTorch for CUDA; Keras on torch takes part where it is installed too. Weights, data and states are of one dtype,
without autocast. Calls wait until the device is done. Memory is the most that one warm call has allocated on the
device, less what was allocated before it. Who deviates from the plain loop in float64 by more than `TOLERANCES` is not
timed.

The roofline: the operations of the convolutions at the speed of a large product of matrices, or the least traffic at
that of a large copy, both measured here first, whichever takes longer. The least traffic of inference is x and h; a
training step also writes c, and its backward reads x, h, c and the output's gradient. What this file is not: no figure
of it is in this repository yet, for want of a GPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

import conv_lstm
import lstm
from peers import bare, torch_jobs
from peers.contest import REST, TURN, check
from peers.reports import Entry, failures, is_ours, machine, table, write_report
from peers.serve import Arrays, Job, timed
from peers.worker import HERE, FailedError

MODES = {
    "unreel": "unreel",
    "torch-first": "channels-first",
    "torch-last": "channels-last",
    "torch-first-compile": "channels-first-compile",
    "torch-last-compile": "channels-last-compile",
    "keras-torch": "channels-last",
    "keras-torch-first": "channels-first",
}
DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}
TOLERANCES = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 1e-1}
CALLS = ("inference", "step")
SIDE, COPIED = 8192, 1 << 30  # of the matrices, and bytes of the copy that the roofline is told by


class Device:
    """Where all runs, and in what."""

    def __init__(self, name: str, precision: str) -> None:
        self.name, self.dtype, self.tolerance = name, DTYPES[precision], TOLERANCES[precision]
        self.cuda = name == "cuda"
        torch.backends.fp32_precision = "tf32" if precision == "tf32" else "ieee"

    def whole(self, call: Callable[[], object]) -> Callable[[], None]:
        """The call until the device has done it."""

        def done() -> None:
            call()
            if self.cuda:
                torch.cuda.synchronize()

        return done

    def peak_memory(self, call: Callable[[], object]) -> float:
        """MiB that a call allocates at the most; without a GPU nobody counts."""
        if not self.cuda:
            return 0.0
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        self.whole(call)()
        return (torch.cuda.max_memory_allocated() - before) / 2**20

    def edges(self) -> tuple[float, float]:
        """FLOP/s of a large product of matrices, and bytes/s, read and written, of a large copy."""
        side, copied = (SIDE, COPIED) if self.cuda else (SIDE // 16, COPIED // 64)
        matrix = torch.randn(side, side, device=self.name, dtype=self.dtype)
        source = torch.zeros(copied, device=self.name, dtype=torch.uint8)
        target = torch.empty_like(source)
        product = statistics.median(timed(self.whole(lambda: matrix @ matrix), TURN, None))
        copy = statistics.median(timed(self.whole(lambda: target.copy_(source)), TURN, None))
        return 2 * side**3 / product, 2 * copied / copy


def least_traffic(shape: conv_lstm.Shape, item: int) -> dict[str, float]:
    """Bytes that cannot stay on the chip, for numbers of `item` bytes."""
    n, frames, channels, features, _, side = shape
    places = n * frames * side**2 * item
    return {"inference": places * (channels + features), "step": places * (2 * channels + 5 * features)}


def build(job: str, name: str, arrays: Arrays, device: Device) -> Job:
    if name.startswith("keras"):
        import keras

        from peers import keras_jobs

        keras.config.set_floatx(str(device.dtype).removeprefix("torch."))
        return keras_jobs.build(job, arrays, MODES[name])
    return {"conv_lstm": torch_jobs.conv_lstm, "lstm": torch_jobs.lstm}[job](
        arrays, MODES[name], device.name, device.dtype
    )


def compete(job: str, arrays: Arrays, names: list[str], rounds: int, device: Device) -> dict[str, Entry]:
    """Entries of all contestants: who is right has its turns, one after another."""
    reference = {"conv_lstm": torch_jobs.conv_lstm, "lstm": torch_jobs.lstm}[job]
    right = reference(arrays, "float64", device.name).results()
    entries, ready = {}, {}
    for name in names:
        made = build(job, name, arrays, device)
        try:
            entries[name] = Entry(errors=check(made.results(), right, device.tolerance))
        except FailedError as failure:
            entries[name] = Entry(failed=str(failure))
            continue
        ready[name] = {call: device.whole(made.calls[call]) for call in CALLS}
        for call, whole in ready[name].items():
            timed(whole, 0, None)
            entries[name].memory[call] = device.peak_memory(whole)
            entries[name].seconds[call] = []
    for _ in range(rounds):
        for name, calls in ready.items():
            for call, whole in calls.items():
                time.sleep(REST)
                entries[name].seconds[call].append(statistics.median(timed(whole, TURN, None)))
    return entries


def convolutions(shape: conv_lstm.Shape, arrays: Arrays, rounds: int, device: Device) -> dict[str, float]:
    """Seconds of the bare convolutions, as `peers/bare.py` sums them up."""
    calls = bare.build("conv_lstm", arrays, "", device.name, device.dtype).calls
    with torch.inference_mode():
        spent = {
            name: statistics.median(statistics.median(timed(device.whole(call), TURN / 3, None)) for _ in range(rounds))
            for name, call in calls.items()
        }
    return bare.total(spent, shape[1])


def shares(entries: dict[str, Entry], call: str, roofline: float) -> list[str]:
    medians = {name: entry.median(call) for name, entry in entries.items() if not entry.failed}
    told = ", ".join(f"{name} {roofline / seconds:.0%}" for name, seconds in medians.items())
    return [f"- {call}: the roofline is {roofline * 1e3:.2f} ms; share reached: {told}"]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=DTYPES, default="float32")
    parser.add_argument("--shapes", default=",".join(map(str, range(len(conv_lstm.SHAPES)))))
    parser.add_argument("--contestants", default=",".join(MODES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=100, help="of the LSTM; 0 leaves it out")
    parser.add_argument("--device", default="cuda", help="cpu only shows that this program runs")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("needs a CUDA device, and finds none")
    device = Device(options.device, options.precision)
    names = [name for name in MODES if name in options.contestants.split(",")]
    if importlib.util.find_spec("keras") is None:
        names = [name for name in names if not name.startswith("keras")]
    if not any(map(is_ours, names)):
        raise SystemExit(f"name unreel, and peers out of {', '.join(MODES)}")
    flops, bandwidth = device.edges()
    record = machine(torch.get_num_threads()) | {
        "device": torch.cuda.get_device_name() if device.cuda else "cpu",
        "precision": options.precision,
        "torch": torch.__version__,
        "rounds": options.rounds,
        "tolerance": device.tolerance,
        "product, TFLOP/s": round(flops / 1e12, 1),
        "copy, GB/s": round(bandwidth / 1e9),
        "jobs": [],
    }
    text = ["# Recurrences on a GPU", "", ", ".join(f"{k}: {v}" for k, v in record.items() if k != "jobs")]
    out = options.out or HERE / "results" / f"{time.strftime('%Y-%m-%d')}_gpu_{options.precision}.json"

    def note(title: str, entries: dict[str, Entry], rows: list[str], **more: object) -> None:
        text.extend(["", f"## {title}", *rows, "", *failures(entries)])
        print("\n".join(text[-len(rows) - 4 :]), flush=True)
        contestants = {name: entry.record() for name, entry in entries.items()}
        record["jobs"].append({"job": title, "contestants": contestants, **more})
        write_report(out, record, "\n".join(text) + "\n")

    for shape in (conv_lstm.SHAPES[int(index)] for index in options.shapes.split(",") if index):
        arrays, needed = conv_lstm.make(shape), conv_lstm.flops(shape)
        limit = convolutions(shape, arrays, options.rounds, device)
        entries = compete("conv_lstm", arrays, names, options.rounds, device)
        traffic = least_traffic(shape, device.dtype.itemsize)
        roofline = {call: max(needed[call] / flops, traffic[call] / bandwidth) for call in CALLS}
        rows = [row for call in CALLS for row in ("", *table(entries, call, needed[call], limit[call]))]
        rows += [""] + [line for call in CALLS for line in shares(entries, call, roofline[call])]
        note(f"(N, T, C, F, K, H=W) = {shape}", entries, rows, flops=needed, bare=limit, roofline=roofline)
    if options.batch:
        entries = compete("lstm", lstm.make(options.batch), names, options.rounds, device)
        rows = [row for call in CALLS for row in ("", *table(entries, call))]
        note(f"Sequential CIFAR with LSTM(50), batch {options.batch}", entries, rows)


if __name__ == "__main__":
    main()
