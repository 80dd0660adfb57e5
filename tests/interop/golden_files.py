"""Read the golden files that `make_goldens.py` made with the real Keras."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "goldens"


@dataclass(frozen=True)
class Golden:
    """One case: what Keras was fed and what it said, in Keras's order of axes.

    Args:
        model: the bytes of `model.keras`.
        weights: those of `model.weights.h5`, where there is one.
        inputs: of each call.
        outputs: of each call, one after another.
        lengths: the frames that the mask left.
    """

    model: bytes
    weights: bytes | None
    inputs: list[np.ndarray]
    outputs: list[list[np.ndarray]]
    lengths: np.ndarray | None


def names() -> list[str]:
    """Every case as "family/name"."""
    found = []
    for path in sorted(FOLDER.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            found += [f"{path.stem}/{name.split('/')[0]}" for name in archive.namelist() if name.endswith("/x0.npy")]
    return found


def versions(family: str) -> dict[str, str]:
    """What made a family."""
    with zipfile.ZipFile(FOLDER / f"{family}.zip") as archive:
        return json.loads(archive.read("versions.json"))


def read(name: str) -> Golden:
    """The case of that name."""
    family, case = name.split("/")
    with zipfile.ZipFile(FOLDER / f"{family}.zip") as archive:
        files = {path.removeprefix(f"{case}/"): path for path in archive.namelist() if path.startswith(f"{case}/")}

        def array(key: str) -> np.ndarray:
            return np.load(io.BytesIO(archive.read(files[key])), allow_pickle=False)

        calls = range(sum(key.startswith("x") for key in files))
        parts = [range(sum(key.startswith(f"y{call}_") for key in files)) for call in calls]
        return Golden(
            archive.read(files["model.keras"]),
            archive.read(files["model.weights.h5"]) if "model.weights.h5" in files else None,
            [array(f"x{call}.npy") for call in calls],
            [[array(f"y{call}_{part}.npy") for part in parts[call]] for call in calls],
            array("mask.npy").sum(1) if "mask.npy" in files else None,
        )


def put_model(golden: Golden, folder: Path) -> Path:
    """The saved model as a file."""
    path = folder / "model.keras"
    path.write_bytes(golden.model)
    return path
