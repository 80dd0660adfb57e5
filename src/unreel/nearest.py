"""The name that was probably meant, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str]) -> str:
    """` - did you mean X?`, or nothing where no name comes near."""
    matches = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" - did you mean {matches[0]}?" if matches else ""
