"""An epoch of the tutorials' CIFAR-10 networks: `unreel train` beside Keras on TensorFlow, in one run.

    python benchmarks/cifar_epoch.py DATA PEERS/bin/python [--form sequential] [--images 50000] [--rounds 3]
        [--contestants unreel,keras-tf] [--batch 100] [--threads 2] [--out benchmarks/results/DATE_cifar_epoch.json]

DATA is what `unreel train` takes, with a train and a test side of 32 x 32 images. Every contestant trains on the same
images with batches of one size, Adam, the same learning rate and a clipped gradient. Each first does an epoch that is
not timed: frames are decoded and kept, graphs are compiled; then they take turns. One that has not learned (a test
accuracy of 0.2) or has another number of parameters is not timed. PEERS is made as `conv_lstm.py` tells.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from peers.contest import read_results, write_arrays
from peers.reports import machine, write_report
from peers.serve import Arrays
from peers.worker import HERE, Contestant, FailedError, Terms, Worker, versions
from unreel.data import load
from unreel.data.readers import open_source

CONTESTANTS = (
    Contestant("unreel", "peers.unreel_epochs", ours=True),
    Contestant("keras-tf", "peers.keras_epochs", "graph", "tensorflow"),
    Contestant("keras-tf-xla", "peers.keras_epochs", "xla", "tensorflow"),
)
PARAMETERS = {"sequential": 22_110, "parallel": 1_299_410}
TEST_IMAGES = 1000
LEARNED = 0.2
LEARNING_RATE = 1e-3


def images(data: Path, side: str, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Up to `most` images (n, 32, 32, 3), spread over the side, and the numbers of their classes."""
    manifest = load(data)
    names = {name: number for number, name in enumerate(manifest.classes)}
    examples = [example for example in manifest.examples if example.split == side]
    examples = examples[:: -(-len(examples) // most)]
    pixels = []
    for example in examples:
        with open_source(manifest.root / example.path) as source:
            pixels.append(source.read([0])[0].permute(1, 2, 0).numpy())
    return np.stack(pixels), np.array([names[example.labels[0]] for example in examples])


def ready(worker: Worker, form: str, arrays: Path) -> float:
    """Build the job, do the epoch that is not timed, and give the test accuracy after it.

    Raises:
        FailedError: the contestant cannot do it, or has not learned.
    """
    worker.ask(do="build", job=form, arrays=str(arrays), mode=worker.contestant.mode)
    worker.ask(do="time", call="epoch", seconds=0)
    found = read_results(worker, arrays.with_name("results.npz"))
    if int(found["parameters"]) != PARAMETERS[form]:
        raise FailedError(f"{found['parameters']} parameters, not {PARAMETERS[form]}")
    if not float(found["accuracy"]) >= LEARNED:
        raise FailedError(f"has not learned: test accuracy {float(found['accuracy']):.3f}")
    return float(found["accuracy"])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="images with a train and a test side")
    parser.add_argument("peers", type=Path, help="Python of the peers' environment")
    parser.add_argument("--form", choices=PARAMETERS, default="sequential")
    parser.add_argument("--contestants", default=",".join(contestant.name for contestant in CONTESTANTS))
    parser.add_argument("--images", type=int, default=50_000, help="for training, at most")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=1800, help="seconds that one request may take")
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"{time.strftime('%Y-%m-%d')}_cifar_epoch.json")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    wanted = options.contestants.split(",")
    if unknown := set(wanted) - {contestant.name for contestant in CONTESTANTS}:
        raise SystemExit(f"no contestant is called {', '.join(sorted(unknown))}")
    contestants = [contestant for contestant in CONTESTANTS if contestant.name in wanted]
    arrays: Arrays = {"batch": np.asarray(options.batch), "lr": np.asarray(LEARNING_RATE)}
    for name, side, most in (("", "train", options.images), ("_test", "test", TEST_IMAGES)):
        arrays["x" + name], arrays["y" + name] = images(options.data, side, most)
    record = machine(options.threads) | {
        "form": options.form,
        "images": len(arrays["x"]),
        "batch": options.batch,
        "rounds": options.rounds,
    }
    spent: dict[str, list[float]] = {}
    accuracy: dict[str, float] = {}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        terms = Terms(options.peers, Path(folder), options.threads, options.limit)
        record["versions"] = versions(contestants, terms)
        full = write_arrays(Path(folder) / "full.npz", arrays)
        workers: dict[str, Worker] = {}
        for contestant in contestants:
            worker = stack.enter_context(Worker(contestant, terms))
            try:
                accuracy[contestant.name] = ready(worker, options.form, full)
                workers[contestant.name], spent[contestant.name] = worker, []
            except FailedError as failure:
                failed[contestant.name] = str(failure)
                worker.close()
            print(f"  {contestant.name}: {failed.get(contestant.name, 'ready')}", flush=True)
        for turn in range(options.rounds):
            for name, worker in workers.items():
                spent[name] += worker.ask(do="time", call="epoch", seconds=0)["seconds"]
            print(f"  round {turn + 1} of {options.rounds}", flush=True)
    medians = {name: statistics.median(seconds) for name, seconds in spent.items()}
    peers = [median for name, median in medians.items() if name != "unreel"]
    text = [
        f"# An epoch of CIFAR-10, {options.form}",
        "",
        ", ".join(f"{key}: {value}" for key, value in record.items()),
        "",
    ]
    text += [
        "| | seconds | least to most | images/s | speed, best peer = 1 | test accuracy after one epoch |",
        "|--|--:|--|--:|--:|--:|",
    ]
    for name, median in sorted(medians.items(), key=lambda item: item[1]):
        speed = f"{min(peers) / median:.2f}" if peers else ""
        text.append(
            f"| {name} | {median:.2f} | {min(spent[name]):.2f} to {max(spent[name]):.2f} | "
            f"{len(arrays['x']) / median:.0f} | {speed} | {accuracy[name]:.3f} |"
        )
    text += [f"- {name} failed: {why}" for name, why in failed.items()]
    print("\n".join(text))
    record |= {"seconds": spent, "accuracy": accuracy, "failed": failed}
    write_report(options.out, record, "\n".join(text) + "\n")


if __name__ == "__main__":
    main()
