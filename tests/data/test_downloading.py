"""Downloads, from a server of the test's own: whole, damaged, absent; and the names that there are."""

from __future__ import annotations

import hashlib
import socket
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from unreel.data.downloading import IMAGE_SETS, ImageSet, download, fetch
from unreel.errors import ConfigError, DownloadError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """Address, the folder that is served, and the paths that were asked for."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as http:
        http.seen = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/", folder, http.seen  # type: ignore[attr-defined]
        http.shutdown()
        thread.join()


def served(folder: Path, name: str, data: bytes) -> tuple[str, str]:
    (folder / name).write_bytes(data)
    return name, hashlib.md5(data).hexdigest()


def nobody() -> str:
    """An address where no one listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


def test_files_come_once_and_archives_are_unpacked(server, tmp_path: Path) -> None:
    address, folder, seen = server
    (tmp_path / "inner.bin").write_bytes(b"pixels")
    with tarfile.open(folder / "set.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "inner.bin", "set/inner.bin")
    packed = ("set.tar.gz", hashlib.md5((folder / "set.tar.gz").read_bytes()).hexdigest())
    images = ImageSet((address,), (packed, served(folder, "labels.gz", b"labels")))
    assert fetch(images, tmp_path / "out") == tmp_path / "out"
    assert (tmp_path / "out" / "set" / "inner.bin").read_bytes() == b"pixels"
    assert (tmp_path / "out" / "labels.gz").read_bytes() == b"labels"
    asked = len(seen)
    fetch(images, tmp_path / "out")
    assert len(seen) == asked
    assert socket.getdefaulttimeout() is None


def test_the_next_mirror_is_tried(server, tmp_path: Path) -> None:
    address, folder, _ = server
    fetch(ImageSet((nobody(), address), (served(folder, "a.gz", b"a"),)), tmp_path / "out")
    assert (tmp_path / "out" / "a.gz").read_bytes() == b"a"


def test_what_came_damaged_is_refused_and_fetched_anew(server, tmp_path: Path) -> None:
    address, folder, _ = server
    images = ImageSet((address,), (served(folder, "a.gz", b"whole"),))
    (folder / "a.gz").write_bytes(b"torn")
    with pytest.raises(DownloadError, match=r"a\.gz cannot be downloaded .*corrupted"):
        fetch(images, tmp_path / "out")
    (folder / "a.gz").write_bytes(b"whole")
    fetch(images, tmp_path / "out")


def test_without_internet_one_line_says_what_to_do(tmp_path: Path) -> None:
    address = nobody()
    with pytest.raises(DownloadError) as caught:
        fetch(ImageSet((address,), (("a.gz", "0" * 32),)), tmp_path / "out")
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"a.gz cannot be downloaded ({address}: ")
    assert said.endswith(f"where there is internet, fetch it from {address}a.gz and put it into {tmp_path / 'out'}")


def test_an_archive_that_is_none_is_refused(server, tmp_path: Path) -> None:
    address, folder, _ = server
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        fetch(ImageSet((address,), (served(folder, "a.tar.gz", b"none"),)), tmp_path / "out")


def test_names(tmp_path: Path) -> None:
    assert set(IMAGE_SETS) == {"cifar10", "mnist", "fashion_mnist", "kmnist"}
    for images in IMAGE_SETS.values():
        assert all(mirror.endswith("/") for mirror in images.mirrors)
        assert all(len(md5) == 32 for _, md5 in images.files)
    with pytest.raises(ConfigError, match=r"expected one of cifar10, .* got 'cifar' - did you mean cifar10\?"):
        download("cifar", tmp_path)
    assert not list(tmp_path.iterdir())
