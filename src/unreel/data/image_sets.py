"""Image sets: a manifest read off files of many labelled images, or volumes, with the sides that they state.

    mnist.npz                                   x_train y_train x_test y_test, perhaps x_val y_val; or, as MedMNIST has
                                                them, train_images train_labels val_images ... test_labels; images,
                                                or the volumes (n, X, Y, Z) of its 3D sets
    root/data_batch_1.bin ... test_batch.bin    the original CIFAR-10, binary version, with batches.meta.txt beside
    root/data_batch_1 ... test_batch            the version for Python, with batches.meta
    root/train-images-idx3-ubyte.gz ...         IDX files of the MNIST family: train or t10k, images and labels, gzipped
                                                or not

The files of CIFAR-10 and IDX may also lie in the only folder below root that has some. Each image becomes an example of
one frame, addressed as `readers/image_arrays.py` tells, each volume one of slices, see `readers/stacks.py`. Labels are
the names in batches.meta(.txt), else their numbers.

What this file is not: no pixel is looked at here.

Shape letters: n images of a file, K labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unreel.data.manifest import SPLIT_NAMES, Example, Manifest
from unreel.data.readers.image_arrays import are_images, load_cifar, load_idx, read_plain
from unreel.data.readers.npz import array_of, array_shapes
from unreel.data.readers.source import one_line
from unreel.data.readers.stacks import are_volumes
from unreel.errors import ManifestError, ReadError

_SIDES = "|".join(SPLIT_NAMES)
_KERAS = re.compile(rf"x_({_SIDES})")
_MEDMNIST = re.compile(rf"({_SIDES})_images")
_CIFAR = re.compile(r"(?:(?P<train>data_batch_\d+)|test_batch)(?P<binary>\.bin)?")
_IDX = re.compile(r"(?P<set>.*?)(?P<side>train|t10k|test|val)(?P<kind>-images)[-.]idx\d-ubyte(?P<packed>\.gz)?")

Found = tuple[str, str, NDArray[Any]]
"""What stands before the row of an image in its path, the side, and the labels."""


def from_npz(path: str | Path) -> Manifest:
    """The manifest of an .npz that holds images or volumes, and labels, by side. No pixel is decompressed.

    Raises:
        ManifestError: it cannot be read, has no such arrays, or they do not fit.
    """
    path = Path(path)
    try:
        shapes = array_shapes(path)
        pairs = _pairs(list(shapes))
        if not pairs:
            wanted = "expected arrays x_train and y_train, or train_images and train_labels"
            raise ValueError(f"{wanted}; found {', '.join(shapes) or 'none'}")
        examples = [
            example
            for images, labels, side in pairs
            for example in _examples(f"{path.name}!{images}/", side, _labels(path, shapes[images], labels))
        ]
    except (ReadError, ValueError) as error:
        raise ManifestError(f"{path}: {getattr(error, 'reason', error)}") from error
    return Manifest(path.parent, tuple(examples))


def from_files(root: str | Path) -> Manifest | None:
    """The manifest of a folder with the original files of CIFAR-10, or with IDX files; None where there are none.

    A file that is broken or torn is left out, and stands in `Manifest.broken` with the reason.

    Raises:
        ManifestError: no file is left, or there are files of several sets.
    """
    root = Path(root)
    folders = [root, *(folder for folder in _inside(root) if folder.is_dir())]
    for read in (_cifar, _idx):
        holding = [folder for folder in folders if any(_takes(read, file) for file in _inside(folder))]
        if holding[1:] and holding[0] != root:
            names = ", ".join(folder.name for folder in holding)
            raise ManifestError(f"{root}: expected one set of images, found them in {names}: name one of these folders")
        if holding:
            return _collected(root, holding[0], read)
    return None


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # whoever reads the folder as class folders passes it over too
        return []


def _takes(read: Callable[..., Any], file: Path) -> bool:
    return (_CIFAR if read is _cifar else _IDX).fullmatch(file.name) is not None and file.is_file()


def _collected(root: Path, folder: Path, read: Callable[[Path, dict[str, str]], Iterator[Found]]) -> Manifest:
    broken: dict[str, str] = {}
    inside = folder.relative_to(root)
    examples = [
        example
        for before, side, labels in read(folder, broken)
        for example in _examples((inside / before).as_posix() + "!", side, labels)
    ]
    broken = {(inside / name).as_posix(): reason for name, reason in broken.items()}
    if not examples:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(broken.items())[:3])
        raise ManifestError(f"{root}: expected images with labels, none of {len(broken)} files can be used: {reasons}")
    return Manifest(root, tuple(examples), broken=broken)


def _cifar(folder: Path, broken: dict[str, str]) -> Iterator[Found]:
    """Batches of CIFAR-10; the binary ones where both versions lie there."""
    files = {file: match for file in _inside(folder) if (match := _CIFAR.fullmatch(file.name))}
    binary = any(match["binary"] for match in files.values())
    names = _class_names(folder, binary, broken)
    for file, match in files.items():
        if bool(match["binary"]) != binary:
            continue
        try:
            _, numbers = load_cifar(file)
            if names is not None and numbers.max() >= len(names):
                raise ReadError(file, f"expected labels of {len(names)} names, got {numbers.max()}")
        except ReadError as error:
            broken[file.name] = error.reason
            continue
        yield file.name, "train" if match["train"] else "test", numbers if names is None else names[numbers]


def _class_names(folder: Path, binary: bool, broken: dict[str, str]) -> NDArray[np.str_] | None:
    meta = folder / ("batches.meta.txt" if binary else "batches.meta")
    if not meta.is_file():
        return None
    try:
        if binary:
            return np.array(meta.read_text(encoding="utf-8").split())
        names = read_plain(meta)["label_names"]
        return np.array([name.decode("utf-8") if isinstance(name, bytes) else str(name) for name in names])
    except (OSError, ValueError, KeyError, TypeError) as error:
        broken[meta.name] = f"expected names of classes, they are numbers now: {one_line(error)}"
        return None


def _idx(folder: Path, broken: dict[str, str]) -> Iterator[Found]:
    """Images and labels of IDX files; of a file that lies there twice, the unpacked one."""
    here = {file.name for file in folder.iterdir() if file.is_file()}
    found = {name: match for name in sorted(here) if (match := _IDX.fullmatch(name))}
    if len(sets := {match["set"] for match in found.values()}) > 1:
        raise ManifestError(
            f"{folder}: expected one set of images, found {sorted(sets)}: give each a folder of its own"
        )
    for name, match in found.items():
        if match["packed"] and name.removesuffix(".gz") in found:
            continue
        begin = match["set"] + match["side"]
        labels = [
            other for other in sorted(here) if re.fullmatch(re.escape(begin) + r"-labels[-.]idx1-ubyte(\.gz)?", other)
        ]
        try:
            if not labels:
                raise ReadError(name, f"expected its labels in {begin}-labels-idx1-ubyte beside it, there are none")
            images, numbers = load_idx(folder / name), load_idx(folder / labels[0])
            if not are_images(images.shape):
                raise ValueError(f"expected images (n, H, W), (n, H, W, C) or (n, C, H, W), got {images.shape}")
            _check_labels(len(images), numbers)
        except (ReadError, ValueError) as error:
            broken[name] = getattr(error, "reason", str(error))
            continue
        yield name, "test" if match["side"] == "t10k" else match["side"], numbers


def _pairs(names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Names of images and of their labels, and the side, of all pairs that are whole."""
    found = []
    for name in names:
        keras, medmnist = _KERAS.fullmatch(name), _MEDMNIST.fullmatch(name)
        labels = f"y_{keras[1]}" if keras else f"{medmnist[1]}_labels" if medmnist else ""
        if match := keras or medmnist:
            if labels not in names:
                raise ValueError(f"expected an array {labels} for {name}, found {list(names)}")
            found.append((name, labels, SPLIT_NAMES[match[1]]))
    return found


def _labels(path: Path, shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """The labels of images or volumes of this shape."""
    if not are_images(shape) and not are_volumes(shape):
        wanted = "images (n, H, W), (n, H, W, C) or (n, C, H, W) of 1, 3 or 4 channels, or volumes (n, X, Y, Z)"
        raise ValueError(f"expected {wanted}, got {shape}")
    labels = array_of(path, name)
    _check_labels(shape[0], labels)
    return labels


def _check_labels(count: int, labels: NDArray[Any]) -> None:
    if labels.ndim not in (1, 2) or len(labels) != count or labels.dtype.kind not in "buifU":
        raise ValueError(f"expected a label for each of {count}, got {labels.shape} of {labels.dtype}")


def _examples(before: str, side: str, labels: NDArray[Any]) -> Iterator[Example]:
    """Labels (n,) or (n, 1): one each; (n, K): the numbers of the columns that are not 0."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        said = [tuple(str(label) for label in row.nonzero()[0]) for row in labels]
    else:
        said = [(str(label),) for label in labels.reshape(-1).tolist()]
    for row, label in enumerate(said):
        yield Example(f"{before}{row}", label, split=side)
