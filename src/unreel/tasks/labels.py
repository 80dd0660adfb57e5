"""Label names as they stand in a manifest, put into the order of outputs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from unreel.errors import ManifestError
from unreel.tasks.base import Labelled


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which "2" stands before "10" and case does not matter first."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts] + [(2, 0, name)]


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names in natural order."""
    return tuple(sorted(set(names), key=natural_key))


def sorted_labels(examples: Sequence[Labelled], at_least: int) -> tuple[str, ...]:
    """All clip labels that occur, in natural order.

    Raises:
        ManifestError: fewer than `at_least` different ones.
    """
    names = in_order(label for example in examples for label in example.labels)
    if len(names) < at_least:
        raise ManifestError(
            f"expected at least {at_least} different labels, found {list(names)} in {len(examples)} clips; "
            "check the label column or the names of the class folders"
        )
    return names
