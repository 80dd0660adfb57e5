"""Whether a captioner says one thing of all clips: the line that a person is told then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

FEW = 0.05
"""Captions are almost all the same if there are no more different ones than this share of different references."""
MOST = 0.5
"""Or if one of them is said of more than this share of the clips, and no reference is."""


def sameness(written: Sequence[str], references: Sequence[Sequence[str]]) -> str:
    """A line if (almost) all written captions are the same while the references are not, else nothing."""
    said = Counter(written)
    first = Counter(texts[0] for texts in references if texts)
    wanted = len(first)
    [(most, often)] = said.most_common(1)
    varied = len(said) > max(1, FEW * wanted) and often <= MOST * said.total()
    if varied or not first or max(first.values()) > MOST * first.total():
        return ""
    return (
        f"captions are almost all the same: {len(said)} different of {said.total()} clips, {often} times {most!r}; "
        f"of as many references {wanted} are different"
    )
