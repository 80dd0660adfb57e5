"""The demo: everything that Unreel does, on moving digits, offline, in minutes.

Clips are made, looked at, learned from and measured; new clips are predicted; a report is written. What stands here is
what a user would type, with a configuration that suits such small clips.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from unreel import experiment, inference
from unreel.config import DataConfig, RunConfig, TrainingConfig
from unreel.data import PreprocessConfig
from unreel.demo_data import make_moving_digits
from unreel.models import CNNRNNConfig, EncoderConfig
from unreel.tasks import OptimConfig


def configuration(clips: Path) -> RunConfig:
    """Raw frames, a CNN of two layers, an LSTM: small enough for minutes on two cores."""
    return RunConfig(
        data=DataConfig(
            path=str(clips),
            preprocess=PreprocessConfig(size=(32, 32), channels="grey"),
            cache="memory",
            batch_size=16,
        ),
        model=CNNRNNConfig(encoder=EncoderConfig(channels=(8, 16), norm="none", features=None), hidden_size=64),
        optim=OptimConfig(lr=2e-3),
        training=TrainingConfig(epochs=15, accelerator="cpu"),
    )


def run(out: Path, console: Console) -> None:
    """Make clips in `out/clips`, train in `out/run` (or go on with it), predict, and say where all lies."""
    clips, folder = out / "clips", out / "run"
    if not (clips / "manifest.csv").is_file():
        console.print(f"making 600 clips of moving digits in {clips} ...")
        make_moving_digits(clips)
    if (folder / "config.yaml").is_file():
        run = experiment.resume(folder, console)
    else:
        run = experiment.fit(configuration(clips), folder, console)
    console.print(experiment.headline(folder), highlight=False)
    some = [clips / example.path for example in run.splits().test[:4]]
    run.write_rows("new.jsonl", inference.predict(run, some))
    console.print(
        f"""
clips        {clips}
report       {folder / "report.html"}
predictions  {folder / "predictions.jsonl"}, and of four files as if they were new: {folder / "new.jsonl"}

the same by hand:
  unreel scan {clips}
  unreel train {clips} --config {folder / "config.yaml"} --out {out / "again"}
  unreel predict {folder} {clips / "left"}
""",
        highlight=False,
        soft_wrap=True,
    )
