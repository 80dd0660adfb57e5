"""Natural order of names: "frame9" before "frame10", case not looked at first."""

from __future__ import annotations

import re


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key of a name: runs of digits count as numbers, and stand before text."""
    parts = re.findall(r"(\d+)|(\D+)", name)
    return [(0, int(digits), "") if digits else (1, 0, text.casefold()) for digits, text in parts], name
