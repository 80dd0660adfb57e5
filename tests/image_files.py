"""Files of many labelled images, written byte by byte as their originals are."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

NAMES = ("airplane", "automobile", "bird")


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def write_idx(path: Path, array: np.ndarray) -> Path:
    code = {"uint8": 0x08, "int32": 0x0C, "float32": 0x0D}[array.dtype.name]
    header = struct.pack(">HBB", 0, code, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    data = header + array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_cifar_binary(path: Path, images: np.ndarray, labels: list[int]) -> Path:
    """Records of one byte of label and 3,072 of pixels, (n, 3, 32, 32) channel after channel."""
    path.write_bytes(b"".join(bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True)))
    return path


def python2_string(text: bytes) -> bytes:
    return b"U" + bytes([len(text)]) + text if len(text) < 256 else b"T" + struct.pack("<i", len(text)) + text


def python2_array(array: np.ndarray) -> bytes:
    """What Python 2 and its NumPy wrote, protocol 2: cnumpy.core.multiarray _reconstruct ... and so on."""
    shape = b"".join(b"M" + struct.pack("<H", size) for size in array.shape)
    return b"".join(
        (
            b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85q\x03U\x01bq\x04\x87q\x05Rq\x06",
            b"(K\x01(" + shape + b"tq\x07cnumpy\ndtype\nq\x08U\x02u1q\tK\x00K\x01\x87q\nRq\x0b",
            b"(K\x03U\x01|q\x0cNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\rb\x89",
            python2_string(array.tobytes()) + b"q\x0etq\x0fb",
        )
    )


def write_cifar_python(path: Path, images: np.ndarray, labels: list[int]) -> Path:
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    path.write_bytes(
        b"\x80\x02}q\x10("
        + python2_string(b"batch_label")
        + python2_string(b"training batch 1 of 5")
        + python2_string(b"labels")
        + b"]q\x11("
        + numbers
        + b"e"
        + python2_string(b"data")
        + python2_array(images.reshape(len(images), -1))
        + b"u."
    )
    return path


def write_cifar_names(path: Path, names: tuple[str, ...] = NAMES) -> Path:
    if path.suffix == ".txt":
        path.write_text("\n".join(names) + "\n\n")
    else:
        listed = b"".join(python2_string(name.encode()) for name in names)
        path.write_bytes(b"\x80\x02}(" + python2_string(b"label_names") + b"](" + listed + b"eu.")
    return path
