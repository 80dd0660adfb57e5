"""Splits: which clips to learn from, which to choose by, which to be measured on.

Clips of one group, and clips of the same content, stay on one side; labels and sizes are spread as asked. A split that
the manifest states is kept, and checked for the same content on two sides.

How groups are dealt: largest first, each to the side where it lowers most

    Σ over sides s and labels k  (filled[s, k] - share[s] · total[k])² / total[k]

(the idea of scikit-learn's StratifiedGroupKFold, for sides of unequal size and for several labels a clip; the number
of clips counts as one more label). Among equals the order is drawn from the seed.

What this file is not: near-identical clips are found by `scan.py`; whether they belong together is the user's to say.

Shape letters: G groups, S sides, K labels.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unreel.data.content import join, same_content
from unreel.data.manifest import Example, Manifest, labels_of
from unreel.errors import ConfigError, LeakError, ManifestError

SIDES = ("train", "val", "test")
_BINS = 8


@dataclass(frozen=True)
class SplitConfig:
    """How clips are divided.

    Args:
        val: share of all clips to choose the best epoch by. Where the manifest states a split without it, the share
            of train's clips that is taken from train.
        test: share of clips to be measured on; without folds and without a split in the manifest. None: 0.15, and of
            films with labels in time 0.2, so that four fifths of the films are there to learn from and to choose by.
        folds: 0, or the number of folds, at least 2.
        fold: the fold that is the test side, from 0; None where none is chosen yet (one run for each).
        seed: draws among equally good divisions.
    """

    val: float = 0.15
    test: float | None = None
    folds: int = 0
    fold: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        _check_shares(self.val, self.test or 0.0)
        if self.folds == 1 or self.folds < 0:
            raise ConfigError(f"folds must be 0 (none) or at least 2, got {self.folds}")
        if self.fold is not None and not 0 <= self.fold < self.folds:
            raise ConfigError(f"fold must be from 0 to folds - 1 = {self.folds - 1}, got {self.fold}")


class Splits(NamedTuple):
    """Three sides, each in the order of the keys; `split` of every example names its side."""

    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]

    @property
    def examples(self) -> tuple[Example, ...]:
        """All of them: train, val, test."""
        return (*self.train, *self.val, *self.test)


def split(manifest: Manifest, config: SplitConfig | None = None, by_label: bool = True) -> Splits:
    """Divide a manifest.

    The same examples and seed give the same sides, in whatever order the examples come.

    Args:
        manifest: what there is.
        config: how.
        by_label: each side gets its share of every label, and none may be missing where one learns; else labels do not
            count, as where nothing is learned from them, or where they are numbers over time. Captions never count.

    Raises:
        LeakError: the manifest states a split in which the same content, or one group, stands on two sides.
        ManifestError: some examples state a side and others do not, or there are too few groups for the sides.
        ConfigError: folds are asked of a manifest that states a split, or none of them is chosen.
    """
    config, by_label = config or SplitConfig(), by_label and not manifest.captions
    if config.folds and config.fold is None:
        raise ConfigError(f"expected one fold of {config.folds} to be chosen, got none: set fold, from 0")
    examples = sorted(manifest.examples, key=lambda example: example.key)
    if not examples:
        raise ManifestError("expected clips to divide, the manifest holds none")
    dealt = examples if by_label else [replace(example, labels=(), segments=()) for example in examples]
    content = same_content(manifest.root / example.path for example in examples)
    same = [content[str(manifest.root / example.path)] for example in examples]
    groups = _groups(examples, same)
    stated = [example.split is not None for example in examples]
    if all(stated):
        sides = _stated(manifest, dealt, same, groups, config)
    elif any(stated):
        without = [example.key for example, states in zip(examples, stated, strict=True) if not states]
        raise ManifestError(
            f"expected a split in every row or in none, {len(without)} of {len(examples)} have none: {_some(without)}"
        )
    elif config.folds:
        fold = _deal(dealt, groups, (1 / config.folds,) * config.folds, config.seed)
        rest = _carve(dealt, groups, fold != config.fold, config.val * config.folds / (config.folds - 1), config)
        sides = np.where(fold == config.fold, SIDES.index("test"), rest)
    else:
        test = _test_share(examples) if config.test is None else config.test
        _check_shares(config.val, test)
        sides = _deal(dealt, groups, (1 - config.val - test, config.val, test), config.seed)
    train, val, test = (
        tuple(replace(example, split=name) for example, side in zip(examples, sides, strict=True) if side == number)
        for number, name in enumerate(SIDES)
    )
    splits = Splits(train, val, test)
    if by_label:
        _check_labels(splits)
    return splits


def _check_shares(val: float, test: float) -> None:
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise ConfigError(f"val and test must be shares from 0, together below 1, got val={val} test={test}")


def _test_share(examples: Sequence[Example]) -> float:
    return 0.2 if any(example.segments for example in examples) else 0.15


def _groups(examples: Sequence[Example], same: Sequence[str]) -> NDArray[np.int64]:
    """The number of each example's group, (N,): joined by name of the group and by content."""
    first: dict[tuple[str, str], int] = {}
    pairs = []
    for index, (example, content) in enumerate(zip(examples, same, strict=True)):
        pairs.append((first.setdefault(("content", content), index), index))
        if example.group is not None:
            pairs.append((first.setdefault(("group", example.group), index), index))
    return np.unique(join(len(examples), pairs), return_inverse=True)[1]


def _stated(
    manifest: Manifest,
    examples: Sequence[Example],
    same: Sequence[str],
    groups: NDArray[np.int64],
    config: SplitConfig,
) -> NDArray[np.int64]:
    if config.folds:
        raise ConfigError("the manifest states a split, so folds cannot be made: take its column away, or set folds=0")
    _check_content(examples, same)
    _check_groups(examples)
    sides = np.array([SIDES.index(example.split or "train") for example in examples])
    if config.val > 0 and not (sides == SIDES.index("val")).any():
        rest = _carve(examples, groups, sides == SIDES.index("train"), config.val, config)
        sides = np.where(sides == SIDES.index("train"), rest, sides)
    return sides


def _carve(
    examples: Sequence[Example],
    groups: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    val: float,
    config: SplitConfig,
) -> NDArray[np.int64]:
    """Train and val among the chosen, (N,); the others are train."""
    if not val:
        return np.zeros(len(examples), dtype=np.int64)
    if val >= 1:
        raise ConfigError(f"val={config.val} leaves nothing to learn from beside {config.folds} folds: make it smaller")
    where: list[int] = np.flatnonzero(chosen).tolist()
    dealt = _deal(
        [examples[i] for i in where], np.unique(groups[where], return_inverse=True)[1], (1 - val, val), config.seed
    )
    sides = np.zeros(len(examples), dtype=np.int64)
    sides[where] = dealt
    return sides


def _deal(
    examples: Sequence[Example], groups: NDArray[np.int64], shares: Sequence[float], seed: int
) -> NDArray[np.int64]:
    """The side of each example, (N,), as this file's docstring says. `groups` (N,) are numbered 0 .. G-1."""
    count = int(groups.max()) + 1
    wanted = [side for side, share in enumerate(shares) if share > 0]
    if count < len(wanted):
        raise ManifestError(
            f"expected at least {len(wanted)} groups for {len(wanted)} sides, found {count} among {len(examples)} "
            "clips: state a split in the manifest, ask for fewer sides (test=0), or give other groups"
        )
    labels = _label_counts(examples)
    sizes = np.zeros((count, labels.shape[1]))
    np.add.at(sizes, groups, labels)
    total = sizes.sum(0)
    target = np.array(shares)[:, None] * total
    filled = np.zeros_like(target)
    drawn = np.random.default_rng(seed).permutation(count)
    order = drawn[np.argsort(-sizes[drawn].max(1), kind="stable")]
    side_of = np.zeros(count, dtype=np.int64)
    for group in order:
        cost = ((2 * (filled[wanted] - target[wanted]) + sizes[group]) * sizes[group] / total).sum(1)
        side_of[group] = wanted[int(cost.argmin())]
        filled[side_of[group]] += sizes[group]
    _fill_empty(side_of, wanted, sizes)
    return side_of[groups]


def _fill_empty(side_of: NDArray[np.int64], wanted: Sequence[int], sizes: NDArray[np.float64]) -> None:
    """Give every wanted side a group: the smallest one of the side that has most."""
    for side in wanted:
        if not (side_of == side).any():
            rich = np.bincount(side_of).argmax()
            members = np.flatnonzero(side_of == rich)
            side_of[members[sizes[members, -1].argmin()]] = side


def _label_counts(examples: Sequence[Example]) -> NDArray[np.float64]:
    """How often each label stands in each example, and a last column of ones, (N, K + 1).

    Numbers (regression: hardly one twice) count as labels by the eighth of the clips that they fall in.
    """
    names = [labels_of(example) for example in examples]
    numbers = as_numbers(names)
    if numbers is not None:
        edges = np.quantile(numbers, np.linspace(0, 1, _BINS + 1)[1:-1])
        names = [(str(label),) for label in np.searchsorted(edges, numbers)]
    index = {label: column for column, label in enumerate(sorted({label for labels in names for label in labels}))}
    counts = np.zeros((len(examples), len(index) + 1))
    counts[:, -1] = 1
    for row, labels in enumerate(names):
        for label in set(labels):
            counts[row, index[label]] = 1
    return counts


def as_numbers(names: Sequence[tuple[str, ...]]) -> NDArray[np.float64] | None:
    """The first label of each example as a number, (N,), where labels are numbers rather than names; else None.

    They are numbers where every example has one and hardly any stands there twice.
    """
    distinct = {labels[0] for labels in names if labels}
    if any(not labels for labels in names) or len(distinct) <= max(2 * _BINS, len(names) // 4):
        return None
    try:
        numbers = [float(labels[0]) for labels in names]
    except ValueError:
        return None
    return np.array(numbers) if all(map(math.isfinite, numbers)) else None


def _check_content(examples: Sequence[Example], same: Sequence[str]) -> None:
    by_content: dict[str, list[Example]] = {}
    for example, content in zip(examples, same, strict=True):
        by_content.setdefault(content, []).append(example)
    leaks = []
    for alike in by_content.values():
        if len({example.split for example in alike}) == 1:
            continue
        alike.sort(key=lambda example: example.start or 0.0)
        reach: dict[str | None, tuple[float, Example]] = {}
        for example in alike:
            begin, end = example.start or 0.0, math.inf if example.end is None else example.end
            leaks.extend(
                f"{other.key} ({side}) = {example.key} ({example.split})"
                for side, (until, other) in reach.items()
                if side != example.split and begin < until
            )
            if example.split not in reach or end > reach[example.split][0]:
                reach[example.split] = (end, example)
    if leaks:
        raise LeakError(
            f"expected the sides of the split to share nothing, the same content stands on two sides {len(leaks)} "
            f"times: {_some(leaks)}. Take one of each pair away, or take the split away and let it be made"
        )


def _check_groups(examples: Sequence[Example]) -> None:
    sides: dict[str, set[str]] = {}
    for example in examples:
        if example.group is not None and example.split is not None:
            sides.setdefault(example.group, set()).add(example.split)
    torn = [f"{group!r} ({', '.join(sorted(found))})" for group, found in sorted(sides.items()) if len(found) > 1]
    if torn:
        raise LeakError(
            f"expected each group on one side of the split, {len(torn)} stand on several: {_some(torn)}. "
            "Take the column of the split away and let it be made, or that of the groups if they do not matter"
        )


def _check_labels(splits: Splits) -> None:
    labels = {name: {label for example in getattr(splits, name) for label in labels_of(example)} for name in SIDES}
    everywhere = labels["train"] | labels["val"] | labels["test"]
    if as_numbers([labels_of(example) for example in splits.examples]) is not None:
        return
    unseen = sorted(everywhere - labels["train"])
    if unseen:
        raise ManifestError(
            f"expected clips of every label to learn from, the train side has none of {_some(unseen)}: these labels "
            "have too few groups, so add clips, leave the labels out, or state a split in the manifest"
        )
    for name in ("val", "test"):
        missing = sorted(everywhere - labels[name])
        if missing and getattr(splits, name):
            warnings.warn(f"the {name} side has no clip of {_some(missing)}: too few groups of them", stacklevel=3)


def _some(names: Sequence[str], most: int = 20) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
