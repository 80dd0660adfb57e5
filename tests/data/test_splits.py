"""Splits: nothing shared between sides, labels and sizes as asked, the same whatever the order of files."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unreel.data.manifest import Example, Manifest, Segment
from unreel.data.splits import SIDES, SplitConfig, as_numbers, split
from unreel.errors import ConfigError, LeakError, ManifestError

NOWHERE = Path("no-such-folder")  # contents cannot be read, so each path is its own


def grouped(draw_groups: list[tuple[int, str]]) -> Manifest:
    """Groups of so many clips and of one label, and twelve clips without a group."""
    examples = [
        Example(f"{number}-{clip}", (label,), group=f"g{number}")
        for number, (clips, label) in enumerate(draw_groups)
        for clip in range(clips)
    ]
    examples += [Example(f"single-{number}", ("ab"[number % 2],)) for number in range(12)]
    return Manifest(NOWHERE, tuple(examples))


groups = st.lists(st.tuples(st.integers(1, 6), st.sampled_from("ab")), max_size=30)


@given(groups, st.integers(0, 5), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_groups_stay_whole_and_the_order_of_files_does_not_matter(
    drawn: list[tuple[int, str]], seed: int, shuffler: random.Random
) -> None:
    manifest = grouped(drawn)
    splits = split(manifest, SplitConfig(seed=seed))
    assert sorted(example.key for example in splits.examples) == sorted(example.key for example in manifest.examples)
    for name in SIDES:
        assert {example.split for example in getattr(splits, name)} == {name}
    sides: dict[str, set[str | None]] = {}
    for example in splits.examples:
        if example.group is not None:
            sides.setdefault(example.group, set()).add(example.split)
    assert all(len(found) == 1 for found in sides.values())
    shuffled = list(manifest.examples)
    shuffler.shuffle(shuffled)
    assert split(replace(manifest, examples=tuple(shuffled)), SplitConfig(seed=seed)) == splits


@given(st.integers(0, 1000), st.floats(0.1, 0.3), st.floats(0.1, 0.3))
@settings(max_examples=30, deadline=None)
def test_without_groups_every_label_is_spread_as_asked(seed: int, val: float, test: float) -> None:
    counts = {"a": 100, "b": 60, "c": 25}
    examples = tuple(Example(f"{label}{i}", (label,)) for label, count in counts.items() for i in range(count))
    splits = split(Manifest(NOWHERE, examples), SplitConfig(val=val, test=test, seed=seed))
    for side, share in zip(splits, (1 - val - test, val, test), strict=True):
        found = Counter(example.labels[0] for example in side)
        for label, count in counts.items():
            assert abs(found[label] - share * count) <= 2


def test_with_groups_sizes_come_near() -> None:
    rng = np.random.default_rng(0)
    drawn = [(int(rng.integers(1, 7)), "ab"[int(rng.integers(2))]) for _ in range(80)]
    manifest = grouped(drawn)
    total = Counter(example.labels[0] for example in manifest.examples)
    for side, share in zip(split(manifest), (0.7, 0.15, 0.15), strict=True):
        found = Counter(example.labels[0] for example in side)
        assert all(abs(found[label] - share * total[label]) <= 4 for label in "ab")


def test_the_seed_draws() -> None:
    manifest = grouped([(2, "a"), (2, "b")] * 10)
    found = {tuple(e.key for e in split(manifest, SplitConfig(seed=seed)).test) for seed in range(5)}
    assert len(found) == 5


def test_folds_are_a_partition_of_whole_groups() -> None:
    manifest = grouped([(3, "a"), (2, "b")] * 8)
    tests = []
    for fold in range(4):
        splits = split(manifest, SplitConfig(val=0.2, folds=4, fold=fold, seed=7))
        tests += [example.key for example in splits.test]
        assert abs(len(splits.test) - len(manifest) / 4) <= 3
        assert abs(len(splits.val) - 0.2 * len(manifest)) <= 3
        assert not {e.group for e in splits.train if e.group} & {e.group for e in splits.test if e.group}
    assert sorted(tests) == sorted(example.key for example in manifest.examples)


def test_val_is_a_share_of_all_clips_with_folds_too() -> None:
    examples = tuple(Example(f"{i}", ("ab"[i % 2],)) for i in range(100))
    splits = split(Manifest(NOWHERE, examples), SplitConfig(val=0.3, folds=5, fold=2))
    assert [len(side) for side in splits] == [50, 30, 20]


def test_the_same_content_is_one_group(tmp_path: Path) -> None:
    for i in range(30):
        (tmp_path / f"{i}.bin").write_bytes(bytes([i // 3]) * 9)
    examples = tuple(Example(f"{i}.bin", ("ab"[i % 2],)) for i in range(30))
    for seed in range(3):
        side = {e.path: e.split for e in split(Manifest(tmp_path, examples), SplitConfig(seed=seed)).examples}
        for first in range(0, 30, 3):
            assert len({side[f"{i}.bin"] for i in range(first, first + 3)}) == 1


def stated(*rows: tuple[str, str, float | None, float | None]) -> tuple[Example, ...]:
    return tuple(Example(path, ("x",), start=start, end=end, split=side) for path, side, start, end in rows)


def test_a_stated_split_is_kept_and_val_carved_from_train() -> None:
    examples = tuple(Example(f"{i}", ("ab"[i % 2],), split="train" if i < 80 else "test") for i in range(100))
    splits = split(Manifest(NOWHERE, examples), SplitConfig(val=0.25))
    assert [len(side) for side in splits] == [60, 20, 20]
    assert {e.path for e in splits.test} == {f"{i}" for i in range(80, 100)}
    with_val = tuple(replace(e, split="val") if i < 10 else e for i, e in enumerate(examples))
    assert [len(side) for side in split(Manifest(NOWHERE, with_val))] == [70, 10, 20]


def test_a_stated_split_that_leaks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"same")
    (tmp_path / "b.bin").write_bytes(b"same")
    leak = stated(("a.bin", "train", None, None), ("b.bin", "test", None, None))
    with pytest.raises(LeakError, match=r"a\.bin \(train\) = b\.bin \(test\)"):
        split(Manifest(tmp_path, leak), SplitConfig(val=0))
    overlap = stated(("a.bin", "train", 0, 9), ("a.bin", "train", 1, 2), ("b.bin", "test", 5, 6))
    with pytest.raises(LeakError, match=r"a\.bin@0-9 \(train\) = b\.bin@5-6 \(test\)"):
        split(Manifest(tmp_path, overlap), SplitConfig(val=0))
    apart = stated(("a.bin", "train", 0, 5), ("b.bin", "test", 5, None))
    assert [len(side) for side in split(Manifest(tmp_path, apart), SplitConfig(val=0))] == [1, 0, 1]


def test_a_stated_split_that_tears_a_group_is_refused() -> None:
    examples = tuple(Example(f"{i}", ("x",), group="g", split="train" if i else "test") for i in range(4))
    with pytest.raises(LeakError, match=r"'g' \(test, train\)"):
        split(Manifest(NOWHERE, examples))


def test_what_cannot_be_divided_is_refused() -> None:
    one_group = Manifest(NOWHERE, tuple(Example(f"{i}", ("x",), group="g") for i in range(9)))
    with pytest.raises(ManifestError, match="at least 3 groups for 3 sides, found 1"):
        split(one_group)
    with pytest.raises(ManifestError, match="none"):
        split(Manifest(NOWHERE, ()))
    some = Manifest(NOWHERE, (Example("a", ("x",), split="train"), Example("b", ("x",))))
    with pytest.raises(ManifestError, match="1 of 2 have none: b"):
        split(some)
    with pytest.raises(ConfigError, match="states a split"):
        split(Manifest(NOWHERE, stated(("a", "train", None, None))), SplitConfig(folds=2, fold=0))
    with pytest.raises(ConfigError, match="one fold of 2"):
        split(one_group, SplitConfig(folds=2))
    unseen = Manifest(NOWHERE, (*stated(("a", "train", None, None)), Example("b", ("y",), split="test")))
    with pytest.raises(ManifestError, match="train side has none of y"):
        split(unseen, SplitConfig(val=0))


def test_three_groups_of_any_size_fill_three_sides() -> None:
    for sizes in ((10, 10, 10), (50, 9, 9), (1, 1, 1)):
        examples = tuple(Example(f"{g}-{i}", ("x",), group=f"{g}") for g, n in enumerate(sizes) for i in range(n))
        assert all(split(Manifest(NOWHERE, examples)))


def test_a_label_missing_from_a_side_is_told() -> None:
    examples = tuple(Example(f"{i}", ("rare" if i == 0 else "x",)) for i in range(40))
    with pytest.warns(UserWarning, match="no clip of rare"):
        split(Manifest(NOWHERE, examples))


def test_several_labels_a_clip_are_spread() -> None:
    rng = np.random.default_rng(0)
    examples = tuple(
        Example(f"{i}", tuple(label for label, share in (("a", 0.5), ("b", 0.2)) if rng.random() < share), segments=s)
        for i in range(200)
        for s in [(Segment(0, 1, "c"),) if rng.random() < 0.3 else ()]
    )
    total = Counter(label for e in examples for label in [*e.labels, *(s.label for s in e.segments)])
    side = split(Manifest(NOWHERE, examples), SplitConfig(test=0.25)).test
    found = Counter(label for e in side for label in [*e.labels, *(s.label for s in e.segments)])
    assert all(abs(found[label] - total[label] / 4) <= 4 for label in "abc")


def test_numbers_are_spread_by_size() -> None:
    rng = np.random.default_rng(0)
    values = rng.lognormal(size=300)
    examples = tuple(Example(f"{i}", (f"{value:.6f}",)) for i, value in enumerate(values))
    splits = split(Manifest(NOWHERE, examples), SplitConfig(val=0.2, test=0.2))
    middle = np.median(values)
    for side in splits:
        assert abs(np.mean([float(e.labels[0]) > middle for e in side]) - 0.5) < 0.05
    assert as_numbers([("1",), ("2",)] * 50) is None
    assert as_numbers([()] * 50) is None


@pytest.mark.parametrize(
    "values", [{"val": 0.6, "test": 0.5}, {"val": -0.1}, {"folds": 1}, {"fold": 0}, {"folds": 3, "fold": 3}]
)
def test_settings_are_checked(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        SplitConfig(**values)  # type: ignore[arg-type]
