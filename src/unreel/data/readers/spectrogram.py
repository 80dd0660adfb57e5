"""Log-mel spectrograms: samples of sound to frames of features.

    P_t[k]  = |Σ_n w[n] x[t·hop - fft/2 + n] e^(-2πi kn/fft)|²      fft bins of a Hann window, by torch.stft
    E_t[m]  = Σ_k filter[m, k] P_t[k]                                mel energies
    frame_t = 10 log10(max(E_t, 1e-10))                              decibels

Filters are triangles over frequency, of height 1, whose corners lie at equal distances on the mel scale of
O'Shaughnessy (1987) as HTK has it, mel(f) = 2595 log10(1 + f / 700). These are the numbers of

    librosa.power_to_db(librosa.feature.melspectrogram(..., htk=True, norm=None, pad_mode="constant"), top_db=None)

and of torchaudio's MelSpectrogram with its default filters.

What this file is not: it opens no file (`audio.py`) and changes no sample rate (`resampling.py`).

Shape letters: S samples, T frames, M mels, B bins of the Fourier transform.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from unreel.errors import ConfigError

FLOOR = 1e-10
"""Energies below this count as this: silence has -100 dB."""


@dataclass(frozen=True)
class SoundConfig:
    """How sound becomes frames: M mel energies in decibels, for each step of `hop` milliseconds.

    Args:
        sample_rate: samples a second; sound of another rate is brought to it.
        window: milliseconds that a frame looks at; the Fourier transform takes the next power of two of its samples.
        hop: milliseconds from frame to frame.
        mels: M.
        fmin: Hz, where the lowest filter begins.
        fmax: Hz, where the highest one ends; None for half of the sample rate.

    Raises:
        ConfigError: a number is out of range, or a filter is so narrow that no bin falls into it.
    """

    sample_rate: int = 16000
    window: float = 25.0
    hop: float = 10.0
    mels: int = 64
    fmin: float = 0.0
    fmax: float | None = None

    def __post_init__(self) -> None:
        if self.sample_rate < 1 or self.mels < 1:
            raise ConfigError(
                f"sample_rate and mels must be at least 1, got sample_rate={self.sample_rate} mels={self.mels}"
            )
        if self.window_samples < 2 or self.hop_samples < 1:
            raise ConfigError(
                f"window must hold 2 samples at least and hop 1, got window={self.window} ms and hop={self.hop} ms "
                f"at {self.sample_rate} Hz"
            )
        if not 0 <= self.fmin < self.highest <= self.sample_rate / 2:
            raise ConfigError(
                f"fmin and fmax must be 0 ≤ fmin < fmax ≤ {self.sample_rate / 2:g} Hz, half of sample_rate, "
                f"got fmin={self.fmin} fmax={self.fmax}"
            )
        empty = (mel_filters(self).sum(1) == 0).nonzero().flatten().tolist()
        if empty:
            raise ConfigError(
                f"{len(empty)} of {self.mels} mels are narrower than {self.sample_rate / self.fft:.3g} Hz, from one "
                f"bin of a window of {self.window} ms to the next, so nothing falls into them: set fewer mels or a "
                "longer window"
            )

    @property
    def window_samples(self) -> int:
        """Samples of a window."""
        return round(self.sample_rate * self.window / 1000)

    @property
    def hop_samples(self) -> int:
        """Samples from frame to frame."""
        return round(self.sample_rate * self.hop / 1000)

    @property
    def fft(self) -> int:
        """Samples of the Fourier transform; the window stands in its middle."""
        return 2 ** math.ceil(math.log2(self.window_samples))

    @property
    def highest(self) -> float:
        """Hz, where the highest filter ends."""
        return self.sample_rate / 2 if self.fmax is None else self.fmax

    @property
    def seconds(self) -> float:
        """From frame to frame."""
        return self.hop_samples / self.sample_rate

    def frames(self, samples: int) -> int:
        """T of so many samples: a frame for each hop that begins in them, and for one that begins where they end."""
        return 1 + samples // self.hop_samples


def hz_to_mel(hz: float) -> float:
    """mel(f) = 2595 log10(1 + f / 700)."""
    return 2595 * math.log10(1 + hz / 700)


def mel_to_hz(mels: Tensor) -> Tensor:
    """The inverse of `hz_to_mel`, element by element."""
    return 700 * (10 ** (mels / 2595) - 1)


@lru_cache(maxsize=16)
def mel_filters(config: SoundConfig) -> Tensor:
    """(M, B) float32, B = fft / 2 + 1: how much of each bin goes into each mel. Not to be written into."""
    bins = torch.linspace(0, config.sample_rate / 2, config.fft // 2 + 1, dtype=torch.float64)
    low, high = hz_to_mel(config.fmin), hz_to_mel(config.highest)
    corners = mel_to_hz(torch.linspace(low, high, config.mels + 2, dtype=torch.float64))[:, None]
    rising = (bins - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - bins) / (corners[2:] - corners[1:-1])
    return torch.minimum(rising, falling).clamp_min(0).float()


def log_mel(samples: Tensor, config: SoundConfig) -> Tensor:
    """Frames (T, M) float32 in decibels, of samples that hold T whole windows, (T - 1) · hop + fft of them.

    Args:
        samples: (S,) float32, at the sample rate of `config`, a full scale of -1..1.
        config: which frames.
    """
    spectrum = torch.stft(
        samples,
        config.fft,
        config.hop_samples,
        config.window_samples,
        _window(config.window_samples),
        center=False,
        return_complex=True,
    )
    power = spectrum.real.square() + spectrum.imag.square()
    return decibels(power.T @ mel_filters(config).T)


def decibels(energies: Tensor) -> Tensor:
    """10 log10 of energies, none below the floor."""
    return 10 * energies.clamp_min(FLOOR).log10()


def energies(decibels: Tensor) -> Tensor:
    """The inverse of `decibels`; what lies at the floor is nothing."""
    return torch.where(decibels > 10 * math.log10(FLOOR), 10 ** (decibels / 10), 0.0)


@lru_cache(maxsize=16)
def _window(samples: int) -> Tensor:
    return torch.hann_window(samples)
