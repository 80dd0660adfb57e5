"""Augmentation of sound: masks over time and frequency, other voices, loudness, a shift, noise. On log-mel frames.

Masks are those of SpecAugment (Park et al. 2019, arXiv 1904.08779): f mels, f from 0 to F, and t frames, t from 0 to
the smaller of W and p·T, at random places, are replaced by the mean of the clip. Noise is white: at each frame the
power of each bin is drawn as that of Gaussian noise is distributed (exponentially), goes through the mel filters and
is added to the energies. That powers of independent sounds add is true of their mean; what is left out is how two
phases happen to meet in one window. A warp multiplies all frequencies, as a vocal tract of another length does
(Jaitly and Hinton 2013). A gain makes the whole clip louder or softer, as another microphone or distance does. A
shift shows the clip as if it had begun earlier, in silence, or later.

What this file is not: it reads nothing and knows no label; whoever shifts a clip asks `Shifted.heard` when each of its
frames was heard, so that labels in time move along.

Shape letters: T frames, M mels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from unreel.data.readers.spectrogram import (
    FLOOR,
    SoundConfig,
    decibels,
    energies,
    hz_to_mel,
    mel_filters,
    mel_to_hz,
)
from unreel.errors import ConfigError

SILENCE = 10 * math.log10(FLOOR)
"""Decibels of a frame in which nothing is heard."""


@dataclass(frozen=True)
class SoundAugmentConfig:
    """What is done to sound at random.

    Args:
        frequency_masks: bands of mels that are masked.
        frequency_width: F, mels in each at most.
        time_masks: stretches of time that are masked.
        time_width: W, seconds in each at most.
        time_share: p, share of the clip in each at most, 0 to 1.
        warp: share by which all frequencies rise or fall at most, 0 to below 1.
        gain: decibels by which the clip becomes louder or softer at most.
        shift: seconds that the clip moves earlier or later at most; only of clips that are read whole.
        noise: decibels from the clip's mean energy down to that of white noise, the least and the most; None for none.

    Raises:
        ConfigError: a number is out of range.
    """

    frequency_masks: int = 0
    frequency_width: int = 8
    time_masks: int = 0
    time_width: float = 0.1
    time_share: float = 0.2
    warp: float = 0.0
    gain: float = 0.0
    shift: float = 0.0
    noise: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("frequency_masks", "frequency_width", "time_masks", "time_width", "warp", "gain", "shift"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not (0 <= self.time_share <= 1 and 0 <= self.warp < 1):
            raise ConfigError(
                f"time_share must be from 0 to 1 and warp below 1, got time_share={self.time_share} warp={self.warp}"
            )
        if self.noise is not None:
            object.__setattr__(self, "noise", tuple(self.noise))  # YAML and JSON know lists only
            if len(self.noise) != 2 or not -math.inf < self.noise[0] <= self.noise[1] < math.inf:
                raise ConfigError(f"noise must be (least, most) decibels, got {self.noise}")


class Shifted(NamedTuple):
    """A clip that was moved.

    Args:
        frames: (T, M), silence where the clip has not begun, or has ended.
        heard: (T,) seconds of the source at which each frame was heard.
    """

    frames: Tensor
    heard: Tensor


def shift_sound(frames: Tensor, times: Tensor, config: SoundAugmentConfig, seed: int) -> Shifted:
    """Move a clip by up to `config.shift` seconds. The same seed gives the same shift.

    Args:
        frames: (T, M) decibels.
        times: (T,) seconds, at equal distances.
        config: how far.
        seed: draws.
    """
    if not config.shift or len(frames) < 2:
        return Shifted(frames, times)
    step = float(times[-1] - times[0]) / (len(times) - 1)
    most = min(int(config.shift / step), len(frames) - 1)
    by = int(torch.randint(-most, most + 1, (), generator=_generator(seed)))
    moved = frames.roll(by, 0)
    silent = slice(0, by) if by >= 0 else slice(by, None)
    moved[silent] = SILENCE
    return Shifted(moved, times - by * step)


def augment_sound(frames: Tensor, config: SoundAugmentConfig, sound: SoundConfig, seed: int) -> Tensor:
    """Frames (T, M) with warp, gain, noise and masks. The same seed gives the same change; no global generator is used.

    Args:
        frames: (T, M) decibels, which stay as they are.
        config: what is done.
        sound: how the frames were made.
        seed: draws.
    """
    draws = _generator(seed)
    if config.warp:
        factor = 1 + config.warp * (2 * float(torch.rand((), generator=draws)) - 1)
        frames = warp_frequencies(frames, factor, sound)
    if config.gain:
        by = config.gain * (2 * float(torch.rand((), generator=draws)) - 1)
        frames = torch.where(frames > SILENCE, (frames + by).clamp(min=SILENCE), frames)
    if config.noise is not None:
        frames = _with_noise(frames, config.noise, sound, draws)
    if not (config.frequency_masks or config.time_masks):
        return frames
    t, mels = frames.shape
    mean, frames = frames.mean(), frames.clone()
    for _ in range(config.frequency_masks):
        frames[:, _stretch(min(config.frequency_width, mels), mels, draws)] = mean
    longest = int(min(config.time_width / sound.seconds, config.time_share * t))
    for _ in range(config.time_masks):
        frames[_stretch(longest, t, draws)] = mean
    return frames


def warp_frequencies(frames: Tensor, factor: float, sound: SoundConfig) -> Tensor:
    """Frames (T, M) of the same sound with all frequencies multiplied by `factor`; beyond the ends as at the ends."""
    low, high = hz_to_mel(sound.fmin), hz_to_mel(sound.highest)
    step = (high - low) / (sound.mels + 1)
    middles = low + step * torch.arange(1, sound.mels + 1, dtype=torch.float64)
    # what is heard in a mel was heard in the one whose frequency is `factor` times lower
    heard = 2595 * (1 + mel_to_hz(middles) / factor / 700).log10()
    places = ((heard - low) / step - 1).clamp(0, sound.mels - 1)
    below = places.floor().long().clamp(max=max(0, sound.mels - 2))
    share = (places - below).to(frames.dtype)
    above = (below + 1).clamp(max=sound.mels - 1)
    return frames[:, below] * (1 - share) + frames[:, above] * share


def _with_noise(frames: Tensor, decibels_down: tuple[float, float], sound: SoundConfig, draws: Generator) -> Tensor:
    least, most = decibels_down
    down = least + (most - least) * float(torch.rand((), generator=draws))
    filters = mel_filters(sound)
    energy = energies(frames)
    power = energy.sum() / len(frames) / 10 ** (down / 10) / filters.sum()  # of the noise, in each bin of each frame
    bins = torch.empty(len(frames), filters.shape[1]).exponential_(generator=draws)
    return decibels(energy + power * (bins @ filters.T))


def _stretch(longest: int, whole: int, draws: Generator) -> slice:
    """A stretch of 0 to `longest` places within `whole`, each length and each place alike."""
    size = int(torch.randint(longest + 1, (), generator=draws))
    begin = int(torch.randint(whole - size + 1, (), generator=draws))
    return slice(begin, begin + size)


def _generator(seed: int) -> Generator:
    return Generator().manual_seed(seed)
