"""Small sounds to learn from: chirps that rise or fall, and bursts of two tones with their times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE = 8000


def chirp(rising: bool, seconds: float, generator: np.random.Generator) -> np.ndarray:
    """From about 500 to about 2500 Hz, or the other way, in a little noise."""
    samples = round(seconds * RATE)
    hertz = np.linspace(500, 2500, samples) * generator.uniform(0.9, 1.1)
    tone = np.sin(2 * np.pi * np.cumsum(hertz if rising else hertz[::-1]) / RATE)
    return 0.3 * tone + 0.01 * generator.standard_normal(samples)


def write_chirps(folder: Path, clips: int = 24, seed: int = 0) -> Path:
    """Class folders `rising` and `falling`; wav, flac and ogg; groups of two clips in their names."""
    generator = np.random.default_rng(seed)
    for index in range(clips):
        label = ("falling", "rising")[index % 2]
        path = folder / label / f"s{index // 4:02d}_{index}.{('wav', 'flac', 'ogg')[index % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, chirp(label == "rising", generator.uniform(0.2, 0.4), generator), RATE)
    return folder


def write_events(folder: Path, films: int = 12, seconds: float = 1.5, seed: int = 0) -> Path:
    """Sounds with bursts of a low and a high tone, which may overlap, and a table of them beside each."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for index in range(films):
        at = np.arange(round(seconds * RATE)) / RATE
        sound = 0.01 * generator.standard_normal(len(at))
        rows = []
        for label, hertz in (("low", 500), ("high", 2000)):
            start = generator.uniform(0.05, seconds - 0.6)
            end = start + generator.uniform(0.2, 0.5)
            sound += 0.3 * np.sin(2 * np.pi * hertz * at) * ((at >= start) & (at < end))
            rows.append(f"{start:.4f},{end:.4f},{label}\n")
        soundfile.write(folder / f"{index}.wav", sound, RATE)
        (folder / f"{index}.csv").write_text("start,end,label\n" + "".join(rows))
    return folder
