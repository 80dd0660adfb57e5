"""Keras's `.keras` and `.weights.h5` files, read without Keras: the configuration, and the weights by layer.

A `.keras` file is a zip of `config.json` and `model.weights.h5`; the HDF5 file holds a group for each layer, in it
`vars/0`, `vars/1` ... in the order in which Keras made them, and a group for each part of the layer (the `cell` of a
recurrence, the `forward_layer` of a Bidirectional). Source: keras/src/saving/saving_lib.py of Keras 3.

What this file is not: it builds no layer. Nothing of the file is run or unpickled, nothing is written to disk, and an
HDF5 file that points elsewhere, or claims to hold far more than it does, is refused.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unreel.errors import ConfigError, ReadError

if TYPE_CHECKING:
    import h5py

CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
LARGEST_EXPANSION = 1000
"""What is read may be so many times larger than what is stored; deflate reaches no more, and Keras stores plainly."""


@dataclass(frozen=True)
class Saved:
    """The weights of one layer as Keras saved them.

    Args:
        name: what Keras calls the layer.
        arrays: its own weights, in Keras's order and shapes.
        parts: the layers inside it: "cell", "forward_layer", "layer", "layers" ...
    """

    name: str
    arrays: tuple[Tensor, ...]
    parts: Mapping[str, Saved]

    def part(self, key: str) -> Saved:
        """The layer inside it of that key.

        Raises:
            ConfigError: there is none.
        """
        if key not in self.parts:
            raise ConfigError(f"layer {self.name!r}: expected saved weights of its {key!r}, found {sorted(self.parts)}")
        return self.parts[key]

    def __repr__(self) -> str:
        shapes = ", ".join(str(tuple(array.shape)) for array in self.arrays)
        parts = "".join(f", {key}={part!r}" for key, part in self.parts.items())
        return f"Saved({self.name!r}, [{shapes}]{parts})"


@dataclass(frozen=True)
class KerasFile:
    """What one file holds.

    Args:
        path: the file.
        config: the model as Keras describes it; None for a `.weights.h5`, which has weights alone.
        root: the weights of the model.
    """

    path: str
    config: Mapping[str, Any] | None
    root: Saved

    @property
    def layers(self) -> dict[str, Saved]:
        """The weights of each layer, by the layer's name in Keras."""
        inside = self.root.parts.get("layers")
        # A subclassed model has its layers as attributes, beside the state of its optimizer.
        named = [] if inside is None else list(inside.parts.values())
        named += [part for key, part in self.root.parts.items() if key not in ("layers", "optimizer", "_layers")]
        return {saved.name: saved for saved in named}

    def layer(self, name: str) -> Saved:
        """The weights of the layer that Keras calls `name`.

        Raises:
            ConfigError: there is no such layer. The message lists those there are.
        """
        layers = self.layers
        if name not in layers:
            raise ConfigError(f"{self.path}: no layer {name!r}; the file holds {', '.join(layers) or 'no layer'}")
        return layers[name]


def read_keras(path: str | Path) -> KerasFile:
    """Read a `.keras` or `.weights.h5` file of Keras 3.

    Raises:
        ReadError: the file is missing, cut short, not such a file, or refers to other files.
        ConfigError: h5py is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise ReadError(path, "expected a .keras or .weights.h5 file, there is none")
    with path.open("rb") as file:
        head = file.read(8)
        file.seek(0)
        if head == b"\x89HDF\r\n\x1a\n":
            return KerasFile(str(path), None, _read_weights(path, file))
        if head[:4] != b"PK\x03\x04":
            raise ReadError(path, f"expected a zip (.keras) or an HDF5 file (.weights.h5), it begins with {head[:4]!r}")
        try:
            with zipfile.ZipFile(file) as archive:
                config = _read_config(path, _read_member(path, archive, CONFIG))
                weights = _read_member(path, archive, WEIGHTS)
        except zipfile.BadZipFile as error:
            raise ReadError(path, f"the zip is damaged or cut short: {error}") from error
    return KerasFile(str(path), config, _read_weights(path, io.BytesIO(weights)))


def _read_member(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    if name not in archive.namelist():
        raise ReadError(path, f"expected {name} in the zip, as Keras 3 writes it; it holds {archive.namelist()[:5]}")
    info = archive.getinfo(name)
    if info.file_size > LARGEST_EXPANSION * max(info.compress_size, 1):
        raise ReadError(path, f"{name} claims {info.file_size} bytes from {info.compress_size}: refused")
    return archive.read(name)


def _read_config(path: Path, text: bytes) -> Mapping[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReadError(path, f"{CONFIG} is not JSON: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        raise ReadError(path, f"{CONFIG} does not describe a model")
    return config


def _read_weights(path: Path, file: io.BufferedReader | io.BytesIO) -> Saved:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ConfigError("reading Keras files needs h5py: pip install 'unreel[keras]'") from error
    try:
        with h5py.File(file, "r") as weights:
            if "layer_names" in weights.attrs or "model_config" in weights.attrs:
                raise ReadError(path, "an HDF5 file in the old way of Keras 2: load it in Keras 3, save it as .keras")
            return _read_group(path, weights, "model", set())
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # what h5py says of damage depends on where it is
        raise ReadError(path, f"the HDF5 weights are damaged or cut short: {error}") from error


def _read_group(path: Path, group: h5py.Group, key: str, seen: set[h5py.HLObject]) -> Saved:
    import h5py

    name, arrays, parts = key, (), {}
    for child, item in _members(path, group, seen):
        if child == "vars" and isinstance(item, h5py.Group):
            name = str(item.attrs.get("name", key))
            found = {index: value for index, value in _members(path, item, seen) if isinstance(value, h5py.Dataset)}
            if sorted(found) != sorted(str(index) for index in range(len(found))):
                raise ReadError(path, f"layer {name!r}: expected variables 0, 1, 2 ..., found {sorted(found)}")
            arrays = tuple(_read_array(path, name, found[str(index)]) for index in range(len(found)))
        elif isinstance(item, h5py.Group):
            parts[child] = _read_group(path, item, child, seen)
    return Saved(name, arrays, parts)


def _members(
    path: Path, group: h5py.Group, seen: set[h5py.HLObject]
) -> Iterator[tuple[str, h5py.Group | h5py.Dataset | h5py.Datatype]]:
    """What lies in a group, each object of the file once: a circle of links would have no end."""
    import h5py

    for key in map(str, group):
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise ReadError(path, f"{group.name}/{key} is a link to elsewhere: refused")
        item = group[key]
        if item in seen:
            raise ReadError(path, f"{group.name}/{key} is in the file a second time: refused")
        seen.add(item)
        yield key, item


def _read_array(path: Path, layer: str, data: h5py.Dataset) -> Tensor:
    if data.dtype.kind not in "fiub":
        raise ReadError(path, f"layer {layer!r}: a weight of type {data.dtype}, expected numbers")
    if data.external or data.is_virtual:
        raise ReadError(path, f"layer {layer!r}: a weight that lies in another file: refused")
    claimed, stored = math.prod(data.shape) * data.dtype.itemsize, data.id.get_storage_size()
    if claimed > LARGEST_EXPANSION * stored:
        raise ReadError(path, f"layer {layer!r}: a weight claims {claimed} bytes, {stored} are stored: refused")
    return torch.from_numpy(data[()].astype(data.dtype.newbyteorder("=")).reshape(data.shape))
