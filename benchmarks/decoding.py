"""Frames per second of Unreel's video reader beside plain PyAV and OpenCV, on the same files in the same run.

    python benchmarks/decoding.py DATA [--clips 24] [--rounds 7] [--spread 16]

DATA is a folder of videos, searched to the bottom. Two jobs: all frames of a clip, and some spread evenly over it; each
with one thread, and with as many as each library takes by itself. Every job ends with one array (n, H, W, 3) of RGB
uint8. Peers do it as a good user would, writing into an array made beforehand, in two ways where it is not plain which
is faster; the faster one counts:

- PyAV decodes on up to the last wanted frame and converts the wanted ones.
- OpenCV grabs on and retrieves the wanted ones, or sets the position for each.

Before the clock starts all must have delivered the same frames up to the arithmetic of colour conversion.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from unreel.data.readers import open_source

SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm")
Frames = NDArray[np.uint8]
Job = tuple[Path, list[int]]


def unreel(job: Job, threads: int | None) -> Frames:
    path, indices = job
    with open_source(path) as source:
        return source.read(indices).permute(0, 2, 3, 1).numpy()


def pyav(job: Job, threads: int | None) -> Frames:
    path, indices = job
    row = {index: at for at, index in enumerate(indices)}
    with av.open(path) as container:
        stream = container.streams.video[0]
        if threads is None:
            stream.thread_type = "AUTO"
        else:
            stream.thread_count = threads
        frames = np.empty((len(indices), stream.height, stream.width, 3), np.uint8)
        for index, frame in enumerate(container.decode(stream)):
            if index in row:
                frames[row[index]] = frame.to_ndarray(format="rgb24", threads=threads)
                if index == indices[-1]:
                    break
    return frames


def _capture(job: Job, threads: int | None) -> tuple[cv2.VideoCapture, Frames]:
    path, indices = job
    parameters = [] if threads is None else [cv2.CAP_PROP_N_THREADS, threads]
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, parameters)
    size = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    return capture, np.empty((len(indices), *size, 3), np.uint8)


def opencv(job: Job, threads: int | None) -> Frames:
    capture, frames = _capture(job, threads)
    image, at = None, 0
    for row, index in enumerate(job[1]):
        while at <= index:
            capture.grab()
            at += 1
        _, image = capture.retrieve(image)
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=frames[row])
    capture.release()
    return frames


def opencv_seeking(job: Job, threads: int | None) -> Frames:
    capture, frames = _capture(job, threads)
    image = None
    for row, index in enumerate(job[1]):
        capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        _, image = capture.read(image)
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=frames[row])
    capture.release()
    return frames


READERS: dict[str, Callable[[Job, int | None], Frames]] = {"unreel": unreel, "PyAV": pyav, "OpenCV": opencv}


def check(jobs: Sequence[Job]) -> None:
    """Refuse to compare readers that do not deliver the same frames."""
    for job in jobs:
        ours = unreel(job, None)
        for name in ("PyAV", "OpenCV"):
            theirs = READERS[name](job, None)
            if theirs.shape != ours.shape:
                sys.exit(f"{job[0]}: unreel reads {ours.shape}, {name} reads {theirs.shape}: nothing to compare")
            for row, index in enumerate(job[1]):
                apart = np.abs(ours[row].astype(np.int16) - theirs[row]).mean()
                if apart > 2:
                    sys.exit(f"{job[0]}: frame {index} of unreel and {name} differ by {apart:.1f} of 255 in the mean")


def measure(jobs: Sequence[Job], threads: int | None, rounds: int, seeks: bool) -> dict[str, list[float]]:
    """Seconds of each reader for all jobs, one entry a round; readers take turns within a round."""
    readers = READERS | ({"OpenCV seeking": opencv_seeking} if seeks else {})
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for turn in range(rounds):
        names = list(readers)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            for job in jobs:
                readers[name](job, threads)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of videos")
    parser.add_argument("--clips", type=int, default=24, help="how many, spread over the folder")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--spread", type=int, default=16, help="frames of a clip in the spread job")
    args = parser.parse_args()
    paths = sorted(path for path in args.data.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        sys.exit(f"{args.data} holds no video ({' '.join(SUFFIXES)})")
    paths = [paths[at] for at in np.linspace(0, len(paths) - 1, min(args.clips, len(paths))).round().astype(int)]
    lengths = {}
    for path in paths:
        with open_source(path) as source:
            lengths[path] = len(source)
    jobs = {
        "whole clip": [(path, list(range(length))) for path, length in lengths.items()],
        f"{args.spread} spread frames": [
            (path, sorted({round(at) for at in np.linspace(0, length - 1, args.spread).tolist()}))
            for path, length in lengths.items()
        ],
    }
    check(jobs["whole clip"])
    default_torch, default_cv = torch.get_num_threads(), cv2.getNumThreads()
    print(f"PyAV {av.__version__}, OpenCV {cv2.__version__}; {len(paths)} clips, frames per second")
    print(f"{'job':18} {'threads':>8} {'unreel':>8} {'PyAV':>8} {'OpenCV':>8} {'unreel / faster peer':>22}")
    for name, todo in jobs.items():
        for threads in (None, 1):
            torch.set_num_threads(threads or default_torch)
            cv2.setNumThreads(threads or default_cv)
            seconds = measure(todo, threads, args.rounds, seeks=name != "whole clip")
            frames = sum(len(indices) for _, indices in todo)
            rate = {reader: frames / statistics.median(taken) for reader, taken in seconds.items()}
            rate["OpenCV"] = max(rate["OpenCV"], rate.pop("OpenCV seeking", 0.0))
            columns = " ".join(f"{rate[reader]:8.0f}" for reader in READERS)
            ratio = rate["unreel"] / max(rate["PyAV"], rate["OpenCV"])
            print(f"{name:18} {threads or 'default':>8} {columns} {ratio:22.2f}")


if __name__ == "__main__":
    main()
