"""Measure: a number with its interval, as it stands in metrics.json, and the words and digits a reader sees."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TITLES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "macro_ap": "Mean average precision",
    "auroc": "AUROC",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "ap": "Average precision",
    "edit": "Edit score",
    "f1_at_10": "Segment F1@10",
    "f1_at_25": "Segment F1@25",
    "f1_at_50": "Segment F1@50",
    "mae": "Mean absolute error",
    "rmse": "Root mean squared error",
    "r2": "R²",
    "mse": "Mean squared error",
    "psnr": "PSNR, dB",
    "auc": "AUC of frames",
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr",
    "cider_d": "CIDEr-D",
    "distinct": "Distinct captions",
    "vocabulary": "Vocabulary used",
    "loss": "Loss",
    "majority": "Most frequent class, always",
    "mean": "Mean of training, always",
    "rate": "How often each holds, always",
    "mean_frame": "Mean frame of training, always",
    "previous_frame": "The frame before",
    "perceptron": "Perceptron on single frames",
    "per_frame_cnn": "CNN on single frames",
    "bag_of_words": "Words without their order",
    "plain_cnn": "Plain CNN of as many parameters",
    "unordered_frames": "The same without the order of frames",
    "constant": "Best single caption, always",
    "nearest": "Copied from the nearest clip",
}
PLAIN_NUMBERS = {
    "mae",
    "rmse",
    "r2",
    "mse",
    "psnr",
    "loss",
    "cider",
    "cider_d",
}  # not a share of one, so not shown as percent
LOWER_IS_BETTER = {"mae", "rmse", "mse", "loss"}


@dataclass(frozen=True)
class Measure:
    """One measured number.

    Args:
        name: key in metrics.json, such as `accuracy`.
        value: the number.
        low, high: its interval, None where none was computed.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def title(self) -> str:
        """Name for a reader."""
        return title(self.name)

    @property
    def shown(self) -> str:
        """The number for a reader: `97.4 %`, or `0.31` for what is not a share."""
        return show(self.name, self.value)

    @property
    def interval(self) -> str:
        """`93.4 – 99.1 %`, empty where there is none."""
        if self.low is None or self.high is None:
            return ""
        if self.name in PLAIN_NUMBERS:
            return f"{show(self.name, self.low)} – {show(self.name, self.high)}"
        return f"{100 * self.low:.1f} – {100 * self.high:.1f} %"

    @property
    def is_percent(self) -> bool:
        """Whether it is a share of one."""
        return self.name not in PLAIN_NUMBERS

    @property
    def lower_is_better(self) -> bool:
        """Whether it is an error."""
        return self.name in LOWER_IS_BETTER


def title(name: str) -> str:
    """A name in metrics.json in a reader's words."""
    return TITLES.get(name, name.replace("_", " ").capitalize())


def show(name: str, value: float) -> str:
    """A number in the digits that suit its measure."""
    if name in ("cider", "cider_d"):
        return f"{value:.3f}"
    return f"{value:.4g}" if name in PLAIN_NUMBERS else f"{100 * value:.1f} %"


def read_measures(raw: Mapping[str, Any] | None) -> dict[str, Measure]:
    """Measures by name, from `{"accuracy": 0.9}` or `{"accuracy": {"value": 0.9, "low": 0.8, "high": 1.0}}`.

    A value that is no finite number (an AUROC of one class) is left out.
    """
    found = {}
    for name, entry in (raw or {}).items():
        entry = entry if isinstance(entry, Mapping) else {"value": entry}
        if _finite(entry.get("value")):
            low, high = (entry[end] if _finite(entry.get(end)) else None for end in ("low", "high"))
            found[name] = Measure(name, entry["value"], low, high)
    return found


def main_measure(metrics: Mapping[str, Any], measures: Mapping[str, Measure]) -> Measure | None:
    """The measure that was watched in training, or the first one where that was the loss.

    An autoencoder is there to find anomalies: where they are known, it is how well it does.
    """
    if metrics.get("task") == "reconstruct" and "auc" in measures:
        return measures["auc"]
    watched = str(metrics.get("monitor", "")).removeprefix("val_")
    return measures.get(watched) or next(iter(measures.values()), None)


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
