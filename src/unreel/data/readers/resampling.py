"""Sound at another sample rate: any stretch of it, the same to the last bit as in the whole.

Between two samples of the source stand `up` - 1 zeros, a low-pass filter smooths them, and every `down`th value is kept
(Crochiere and Rabiner 1983), by scipy.signal.upfirdn. The filter is a sinc in a Kaiser window: it lets pass what lies
below 0.9 of the lower one of the two Nyquist frequencies, and takes off 90 dB from that frequency on, so that nothing
folds back. It is finite, hence a sample depends on a known stretch of the source.

What this file is not: it reads no file. Sound from before the beginning and after the end counts as zero.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, kaiserord, upfirdn

_DECIBELS = 90.0
_TRANSITION = 0.1
_MOST_TAPS = 2**24


class Resampling:
    """Samples of one rate to another.

    Args:
        source: samples a second of what is read.
        target: of what is wanted.

    Raises:
        ValueError: the two have so little in common that the filter would not fit into memory.
    """

    def __init__(self, source: int, target: int) -> None:
        common = math.gcd(source, target)
        self._up, self._down = target // common, source // common
        if max(self._up, self._down) * _taps(1) > _MOST_TAPS:
            raise ValueError(f"{source} and {target} samples a second have too little in common")
        self._filter = _filter(self._up, self._down)
        self._reach = len(self._filter) // 2

    def length(self, samples: int) -> int:
        """Samples that so many samples of the source become."""
        return -(-samples * self._up // self._down)

    def span(self, begin: int, end: int) -> tuple[int, int]:
        """The samples of the source, the second one exclusive, that the samples from `begin` to `end` are made of.

        They may lie before the first or after the last one of the source, where zeros stand for them.
        """
        first = (begin * self._down - self._reach) // self._up
        last = ((end - 1) * self._down + self._reach) // self._up
        return first // self._down * self._down, last + 1  # every `down` samples a new one falls onto an old one

    def run(self, samples: NDArray[np.float64], begin: int, end: int) -> NDArray[np.float64]:
        """The samples from `begin` to `end`, (end - begin,), of those that `span(begin, end)` names."""
        first = self.span(begin, end)[0]
        # the filter's middle stands `reach` behind its beginning
        skipped = begin - first // self._down * self._up + self._reach // self._down
        found = np.asarray(upfirdn(self._filter, samples, self._up, self._down), dtype=np.float64)
        return found[skipped : skipped + end - begin]


def _taps(most: int) -> int:
    """Length of the filter for the larger one of `up` and `down`."""
    return kaiserord(_DECIBELS, _TRANSITION / most)[0]


@lru_cache(maxsize=16)
def _filter(up: int, down: int) -> NDArray[np.float64]:
    """The low-pass filter, 2·reach + 1 long, reach a multiple of `down`."""
    most = max(up, down)
    if most == 1:
        return np.ones(1)
    length, beta = kaiserord(_DECIBELS, _TRANSITION / most)
    reach = math.ceil(length / 2 / down) * down
    window = ("kaiser", beta)
    taps = firwin(2 * reach + 1, (1 - _TRANSITION / 2) / most, window=window)  # type: ignore[arg-type] (a pair it may be)
    return up * np.asarray(taps, dtype=np.float64)
