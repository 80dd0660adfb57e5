"""Why the tutorial's parallel CNN-RNN on CIFAR-10 stayed at 0.10: its run, and the same with one thing changed.

    python benchmarks/untrained_parallel.py DATA [--images 5000] [--steps 200] [--batch 100] [--threads 2] [--seed 0]

The tutorial feeds pixels from 0 to 255, and its Keras (2.0) took the cross-entropy of probabilities cut at 1e-7 and
1 - 1e-7. Told of each run, with Adam at 1e-3 and weights drawn as Keras draws them: the typical size of an output
before softmax, and the share of images whose loss has no gradient at all, at the beginning and at the end; loss and
test accuracy at the end. The network is Unreel's `ImageRNN` of the form `parallel`, as the tutorial has it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from cifar_epoch import images
from unreel.models import ImageRNN, ImageRNNConfig

TEST_IMAGES = 1000
EPSILON = 1e-7


def of_cut_probabilities(outputs: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy (N,) as Keras 2.0 computed it behind a softmax layer."""
    probabilities = outputs.softmax(1).clamp(EPSILON, 1 - EPSILON)
    return -probabilities.log().gather(1, labels[:, None])[:, 0]


def of_outputs(outputs: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, labels, reduction="none")


RUNS: dict[str, tuple[bool, Callable[[Tensor, Tensor], Tensor]]] = {
    "as in the tutorial": (False, of_cut_probabilities),
    "cross-entropy of the outputs": (False, of_outputs),
    "pixels of mean 0, deviation 1": (True, of_cut_probabilities),
    "both, as in Unreel": (True, of_outputs),
}


def drawn_as_keras_draws(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)


def state(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> tuple[float, float]:
    """Median size of an output, and share of images whose loss has no gradient."""
    with torch.no_grad():
        outputs, _ = model(x)
    outputs.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(outputs, y).sum(), outputs)
    return float(outputs.detach().abs().median()), float((gradient == 0).all(1).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sides = {}
    for side, most in (("train", options.images), ("test", TEST_IMAGES)):
        pixels, labels = images(options.data, side, most)
        sides[side] = torch.from_numpy(pixels).permute(0, 3, 1, 2).unsqueeze(1).float(), torch.from_numpy(labels)
    x, y = sides["train"]
    print(f"{len(y)} images, {options.steps} steps of {options.batch}, seed {options.seed}, torch {torch.__version__}")
    print("| | output at first | without gradient | output at last | without gradient | loss | test accuracy | s |")
    print("|--|--:|--:|--:|--:|--:|--:|--:|")
    for name, (normalised, loss) in RUNS.items():
        torch.manual_seed(options.seed)
        model = ImageRNN(ImageRNNConfig(form="parallel"), (3, 32, 32), 10)
        drawn_as_keras_draws(model)
        if normalised:
            model.normalize.set_(x.mean((0, 1, 3, 4)), x.std((0, 1, 3, 4)))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        first = state(model, loss, x[:500], y[:500])
        started, losses = time.perf_counter(), []
        for _ in range(options.steps):
            chosen = torch.randint(len(y), (options.batch,))
            value = loss(model(x[chosen])[0], y[chosen]).mean()
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(float(value.detach()))
        seconds = time.perf_counter() - started
        last = state(model, loss, x[:500], y[:500])
        with torch.no_grad():
            told = torch.cat([model(part)[0].argmax(1) for part in sides["test"][0].split(250)])
        accuracy = float((told == sides["test"][1]).float().mean())
        recent = losses[-20:]
        print(
            f"| {name} | {first[0]:.3g} | {first[1]:.0%} | {last[0]:.3g} | {last[1]:.0%} | "
            f"{sum(recent) / len(recent):.3f} | {accuracy:.3f} | {seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
