"""Checkpoints without pickle: one safetensors file whose header carries the rest of the state as JSON.

Lightning's own format is a pickle. This plugin stores the same nested dict: tensors as tensors, and everything around
them (counters, learning rates, positions of loops and loaders) as JSON text in the file's metadata. A file is
written beside its place and then renamed, so that a kill leaves either the old one or the new one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unreel.errors import RunError

# JSON knows neither tensors, tuples nor keys that are no strings: each stands as a dict with one of these keys
_TENSOR, _TUPLE, _ITEMS = "$tensor", "$tuple", "$items"
_HEADER, _FORMAT = "unreel.checkpoint", "unreel.format"

FORMAT = "2"
"""Of what a checkpoint holds. Give it the next number when a state that an earlier commit saved cannot be resumed."""


class SafetensorsIO(CheckpointIO):
    """Saves and loads Lightning's checkpoint dict as safetensors and JSON."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write `checkpoint` to `path` at once or not at all.

        Raises:
            TypeError: a value is neither a tensor nor plain JSON; the message names where it stands.
        """
        tensors: dict[str, Tensor] = {}
        text = json.dumps(_pack(checkpoint, "", tensors))
        save_atomically(tensors, Path(path), {_HEADER: text, _FORMAT: FORMAT})

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> Any:
        """Read what `save_checkpoint` wrote, tensors on the CPU.

        Raises:
            RunError: the file is missing, cut off, no checkpoint, or one of another format.
        """
        header = _header(Path(path))
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        return _unpack(json.loads(header), tensors)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete the file, if it is there."""
        Path(path).unlink(missing_ok=True)


def check_resumable(path: Path) -> None:
    """Refuse, without reading its tensors, a file that `SafetensorsIO` cannot load.

    Raises:
        RunError: as there.
    """
    _header(path)


def _header(path: Path) -> str:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: expected a checkpoint of Unreel, but it cannot be read ({error})") from error
    if _HEADER not in metadata:
        raise RunError(f"{path}: expected a checkpoint of Unreel, got a safetensors file without its header")
    found = metadata.get(_FORMAT, "1")
    if found != FORMAT:
        raise RunError(
            f"{path}: expected a checkpoint of format {FORMAT}, got {found}, which another version of Unreel wrote. "
            "The run's weights predict and evaluate as before; to train on, take that version, or begin anew: "
            f"unreel train --config {path.parent / 'config.yaml'} --out ANOTHER_FOLDER"
        )
    return metadata[_HEADER]


def save_atomically(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors to a safetensors file beside `path`, then rename it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    # safetensors refuses tensors that share memory, and views
    save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}, partial, metadata)
    os.replace(partial, path)


def _pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value
        return {_TENSOR: name}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, tuple):
        return {_TUPLE: [_pack(item, f"{name}/{index}", tensors) for index, item in enumerate(value)]}
    if isinstance(value, list):
        return [_pack(item, f"{name}/{index}", tensors) for index, item in enumerate(value)]
    if isinstance(value, dict):
        packed = [(key, _pack(item, f"{name}/{key}", tensors)) for key, item in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in packed):
            return dict(packed)
        return {_ITEMS: [[_pack(key, f"{name}/key", tensors), item] for key, item in packed]}
    raise TypeError(f"checkpoint{name} is a {type(value).__name__}: expected a tensor or plain value")


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return torch.clone(tensors[value[_TENSOR]])
    if _TUPLE in value:
        return tuple(_unpack(item, tensors) for item in value[_TUPLE])
    if _ITEMS in value:
        return {_unpack(key, tensors): _unpack(item, tensors) for key, item in value[_ITEMS]}
    return {key: _unpack(item, tensors) for key, item in value.items()}
