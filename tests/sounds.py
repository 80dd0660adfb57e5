"""Sounds in every format; small ones to learn from: chirps that rise or fall, bursts of two tones with their times."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

RATE = 8000
CODECS = {
    ".wav": ("pcm_s16le", "s16"),
    ".flac": ("flac", "s16"),
    ".ogg": ("libopus", "flt"),
    ".mp3": ("libmp3lame", "fltp"),
}
"""Coder and form of samples by the end of a file's name."""


def write_sound(
    path: Path, samples: np.ndarray, rate: int = RATE, codec: str | None = None, form: str | None = None
) -> Path:
    """Write samples (S,) or (S, channels) in -1..1; whole numbers are those of 16 bits.

    Args:
        path: its end says which format.
        samples: what is written.
        rate: samples a second; of Opus 8000, 12000, 16000, 24000 or 48000.
        codec, form: other ones than those of `CODECS`.
    """
    usual = CODECS[path.suffix]
    codec, form = codec or usual[0], form or usual[1]
    layout = "mono" if samples.ndim == 1 else "stereo"
    columns = np.atleast_2d(samples.T)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        stream.format = form
        fifo = av.AudioFifo()
        if samples.size:
            frame = av.AudioFrame.from_ndarray(_in_form(columns, form), format=form, layout=layout)
            frame.sample_rate, frame.pts = rate, 0
            fifo.write(frame)
        while (frame := fifo.read(stream.codec_context.frame_size or 1024, partial=True)) is not None:
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _in_form(columns: np.ndarray, form: str) -> np.ndarray:
    """(channels, S), or (1, S · channels) where the form is not planar."""
    name = form.removesuffix("p")
    if name in ("s16", "s32"):
        bits = int(name[1:])
        whole = columns if columns.dtype.kind == "i" else np.round(columns * 2**15)
        columns = (whole.astype(np.int64) << (bits - 16)).astype(f"i{bits // 8}")
    else:
        columns = (columns / (2**15 if columns.dtype.kind == "i" else 1)).astype("f4" if name == "flt" else "f8")
    return np.ascontiguousarray(columns if form.endswith("p") else columns.T.reshape(1, -1))


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
        write_sound(path, chirp(label == "rising", generator.uniform(0.2, 0.4), generator))
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
        write_sound(folder / f"{index}.wav", sound)
        (folder / f"{index}.csv").write_text("start,end,label\n" + "".join(rows))
    return folder
