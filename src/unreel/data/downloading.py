"""Download: public sets of images by name, with their checksums, into a folder that `load` understands.

Fetching, checking and unpacking are torchvision's. A file that is there already and whole is not fetched again.

What this file is not: nothing else in Unreel reaches for the internet, but for pretrained weights where they are asked
for.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tarfile import TarError
from zlib import error as ZlibError

from torchvision.datasets import KMNIST, MNIST, FashionMNIST
from torchvision.datasets.utils import download_url, extract_archive

from unreel.errors import ConfigError, DownloadError
from unreel.nearest import nearest

SECONDS = 30.0
"""A server that is silent for longer is given up."""


@dataclass(frozen=True)
class ImageSet:
    """Where a set of images is to be had.

    Args:
        mirrors: addresses, to be tried one after another, that the names of the files are put behind.
        files: name and MD5 of each file.
    """

    mirrors: tuple[str, ...]
    files: tuple[tuple[str, str], ...]


IMAGE_SETS = {
    "cifar10": ImageSet(
        ("https://www.cs.toronto.edu/~kriz/",), (("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),)
    ),
    **{
        name: ImageSet(tuple(kind.mirrors), tuple(kind.resources))
        for name, kind in (("mnist", MNIST), ("fashion_mnist", FashionMNIST), ("kmnist", KMNIST))
    },
}
"""The sets that have a name here. Those of the MNIST family are where torchvision says."""


def download(name: str, folder: str | Path) -> Path:
    """Fetch a set of `IMAGE_SETS` into `folder/NAME`, and give that folder.

    Raises:
        ConfigError: no set has this name.
        DownloadError: a file cannot be fetched, or came damaged.
    """
    if name not in IMAGE_SETS:
        raise ConfigError(f"expected one of {', '.join(IMAGE_SETS)}, got {name!r}{nearest(name, IMAGE_SETS)}")
    return fetch(IMAGE_SETS[name], Path(folder) / name)


def fetch(images: ImageSet, folder: Path) -> Path:
    """Fetch the files of a set into a folder, and unpack archives there. As `download`."""
    for file, md5 in images.files:
        failures = []
        for mirror in images.mirrors:
            try:
                with _patience():
                    download_url(mirror + file, folder, file, md5)
                break
            except (OSError, HTTPException, RuntimeError) as error:  # torchvision's RuntimeError: another MD5
                failures.append(f"{mirror}: {' '.join(str(error).split())}")
        else:
            raise DownloadError(
                f"{file} cannot be downloaded ({'; '.join(failures)}): where there is internet, fetch it from "
                f"{images.mirrors[0]}{file} and put it into {folder}"
            )
        if ".tar" in file:
            try:
                extract_archive(folder / file, folder)
            except (OSError, EOFError, TarError, ZlibError) as error:
                raise DownloadError(f"{folder / file}: cannot be unpacked: {error}") from error
    return folder


@contextmanager
def _patience() -> Iterator[None]:
    """Let no connection be silent for ever; torchvision gives no other way to say so."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
