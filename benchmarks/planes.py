"""One plane, three planes through one CNN, three planes through three CNNs: parameters and AUC in one table.

    python benchmarks/planes.py DATA/adrenalmnist3d_64.npz --out runs/planes [--config configs/adrenal.yaml]
        [--seeds 3] [--epochs N] [--slices K] [--only three_shared ...]

Everything but planes, encoders and, where asked for, the options above is as the configuration says. Each row is an
ordinary run with its own control and report in its own folder below --out; a finished one is not trained again, and one
that was stopped goes on. AUC is that of the test side, of the weights chosen on validation; with several seeds the mean
and the lowest and highest seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from unreel import experiment
from unreel.config import RunConfig, load_config
from unreel.models import ScanRNNConfig
from unreel.runs import Run, build_model

ROWS: Mapping[str, tuple[Sequence[str], str]] = {
    "axial": (["axial"], "shared"),
    "sagittal": (["sagittal"], "shared"),
    "coronal": (["coronal"], "shared"),
    "three_shared": (["axial", "sagittal", "coronal"], "shared"),
    "three_separate": (["axial", "sagittal", "coronal"], "separate"),
}
"""Planes, and how many encoders look at them, of each row of the table."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/planes"))
    parser.add_argument("--config", type=Path, default=Path(__file__).parents[1] / "configs" / "adrenal.yaml")
    parser.add_argument("--seeds", type=int, default=None)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--slices", type=int, default=None, help="slices of each plane")
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS))
    options = parser.parse_args()
    config = load_config(options.config)
    config = replace(
        config,
        seeds=options.seeds or config.seeds,
        data=replace(config.data, path=str(options.data)),
        training=replace(config.training, epochs=options.epochs or config.training.epochs),
    )
    if options.slices is not None:
        sampling = replace(config.data.sampling, frames=options.slices)
        config = replace(config, data=replace(config.data, sampling=sampling))
    rows = [row(name, config, options.out / name) for name in options.only]
    print("| planes | CNNs | parameters | AUC | without recurrence |")
    print("|--|--|--|--|--|")
    print("\n".join(rows))


def row(name: str, config: RunConfig, out: Path) -> str:
    """Train what is not trained yet, and give the row of the table."""
    planes, encoders = ROWS[name]
    config = as_row(config, planes, encoders)
    if not any((out / file).is_file() for file in ("metrics.json", "summary.json")):
        console = Console(stderr=True)
        begun = (out / "config.yaml").is_file()
        experiment.resume(out, console) if begun else experiment.fit(config, out, console)
    parameters = sum(p.numel() for p in build_model(config, *looked_at(out)).parameters())
    counted = len(planes) if encoders == "separate" else 1
    said = [f"{', '.join(planes)}", str(counted), f"{parameters:,}", *numbers(out)]
    return f"| {' | '.join(said)} |"


def as_row(config: RunConfig, planes: Sequence[str], encoders: str) -> RunConfig:
    """The configuration with these planes and encoders."""
    if not isinstance(config.model, ScanRNNConfig):
        raise SystemExit(f"expected a configuration of scan_rnn, got {config.model.name}")
    volume = replace(config.data.volume, planes=tuple(planes))
    model = replace(config.model, encoders=encoders)
    return replace(config, data=replace(config.data, volume=volume), model=model)


def looked_at(out: Path) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Labels and shape of a slice, of a finished run or of the first of several."""
    run = Run.load(next(file.parent for file in sorted(out.rglob("labels.json"))))
    return run.labels, run.frame_shape


def numbers(out: Path) -> list[str]:
    """AUC of the model and of its control, each with what is known of its spread."""
    several = out / "summary.json"
    found = json.loads((several if several.is_file() else out / "metrics.json").read_text(encoding="utf-8"))
    tables = [found["test"], found.get("controls", {}).get("per_frame_cnn")]
    seeds: list[list[float]] = [[], []]
    for run in found.get("runs", ()):
        seeds[0].append(run["test"]["auroc"]["value"])
        seeds[1].append(run["controls"]["per_frame_cnn"]["auroc"]["value"])
    return [shown(table, values) for table, values in zip(tables, seeds, strict=True)]


def shown(table: Mapping[str, Any] | None, seeds: Sequence[float]) -> str:
    if table is None:
        return "–"
    auroc = table["auroc"]
    if seeds:
        return f"{auroc['value']:.3f} (seeds {min(seeds):.3f} to {max(seeds):.3f})"
    return f"{auroc['value']:.3f} [{auroc['low']:.3f}, {auroc['high']:.3f}]"


if __name__ == "__main__":
    main()
