"""MNIST's digits as sequences: 28 steps of 28 numbers, row by row from above, one .npy (28, 28) of bytes a digit.

    python benchmarks/mnist_rows.py DATA/mnist.npz OUT [--val 5000] [--seed 0]

OUT gets train/, val/ and test/ with a folder for each digit. The test side is the official one; the validation side is
drawn from the official training side. An .npz of images itself would be read as pictures of one frame, which is
what the model image_rnn is for; a recurrence over vectors takes arrays (T, D).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="an .npz with x_train, y_train, x_test and y_test")
    parser.add_argument("out", type=Path)
    parser.add_argument("--val", type=int, default=5000, help="digits of the validation side")
    parser.add_argument("--seed", type=int, default=0, help="by which they are drawn")
    options = parser.parse_args()
    with np.load(options.data, allow_pickle=False) as digits:
        images, labels = digits["x_train"], digits["y_train"]
        val, train = np.split(np.random.default_rng(options.seed).permutation(len(images)), [options.val])
        write(options.out / "train", images[train], labels[train])
        write(options.out / "val", images[val], labels[val])
        write(options.out / "test", digits["x_test"], digits["y_test"])


def write(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.integer]) -> None:
    """One file for each of n images (n, T, D) below `folder`, in the folder of its label (n,)."""
    for label in np.unique(labels):
        (folder / str(label)).mkdir(parents=True)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        np.save(folder / str(label) / f"{number:05}.npy", image)


if __name__ == "__main__":
    main()
