"""Pictures: a few frames of a clip as images inside the page; of sound and of vectors, all of them as one picture.

What this file is not: it chooses no clips. Frames that cannot be shown (the file is gone or broken, or a frame is no
picture) give the reason in place of the images: a report never fails because the data moved.
"""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unreel.data import Reading
from unreel.data.readers import open_source
from unreel.data.readers.audio import is_sound_name
from unreel.data.readers.geometry import PLANES
from unreel.data.readers.source import Source
from unreel.errors import ReadError, UnreelError
from unreel.reports.spectrograms import frames_between, grey_field, read_vectors, spectrogram

FRAMES = 8
HEIGHT = 96  # pixels; higher frames are made smaller


@dataclass(frozen=True)
class Pictures:
    """Frames of one clip.

    Args:
        images: `data:` addresses, in the order of time.
        times: seconds of each image in its file.
        captions: what is written on each: its seconds, or of a scan its plane and number.
        missing: why there are no images; empty where there are.
        wide: whether the one image shows the whole clip, time running to the right.
    """

    images: tuple[str, ...] = ()
    times: tuple[float, ...] = ()
    captions: tuple[str, ...] = ()
    missing: str = ""
    wide: bool = False


def pictures(
    root: Path | None,
    file: str,
    start: float | None,
    end: float | None,
    frames: int = FRAMES,
    reading: Reading | None = None,
    alone: int = HEIGHT,
) -> Pictures:
    """Frames of `file` at equal distances from `start` to `end`; of a scan as many slices from the midst of each plane;
    of a sound the spectrogram in between, of other vectors one picture likewise.

    Args:
        root: folder that `file` starts from, None where it is not known.
        file: as it stands in predictions.jsonl.
        start, end: seconds, None for the file's own start and end.
        frames: how many, about; fewer where the clip has fewer.
        reading: what readers must know besides; None for the settings by default.
        alone: pixels that the only frame of a clip is high at most.
    """
    if root is None:
        return Pictures(missing="the configuration does not say where the data lies")
    path = root / file
    try:
        with open_source(path, reading) as source:
            if len(source.frame_shape) == 1:
                vectors, (begin, _) = read_vectors(source, path, start, end)
                picture = spectrogram(vectors) if is_sound_name(file) else grey_field(vectors)
                return Pictures((address(picture),), (begin,), (f"from {begin:.2f} s",), wide=True)
            pixels, times, captions = _frames(source, path, start, end, frames)
    except (UnreelError, OSError) as error:
        return Pictures(missing=getattr(error, "reason", str(error)))
    height = alone if len(pixels) == 1 else HEIGHT
    return Pictures(tuple(address(one, height) for one in pixels), times, captions)


def read_pictures(
    path: Path, start: float | None, end: float | None, frames: int, reading: Reading | None = None
) -> tuple[list[NDArray[np.uint8]], tuple[float, ...], tuple[str, ...]]:
    """Frames, each (H, W, 1 or 3), their seconds and captions. Arguments as for `pictures`.

    Raises:
        ReadError: the file cannot be read, or its frames are no pictures.
    """
    with open_source(path, reading) as source:
        return _frames(source, path, start, end, frames)


def _frames(
    source: Source, path: Path, start: float | None, end: float | None, frames: int
) -> tuple[list[NDArray[np.uint8]], tuple[float, ...], tuple[str, ...]]:
    inside = frames_between(source, path, start, end)
    times = source.times.numpy()
    views = None if source.views is None else source.views.numpy()
    chosen = _spread(inside, frames) if views is None else _of_each(views, inside, frames)
    pixels = source.read(chosen.tolist()).numpy()
    if pixels.ndim != 4:
        raise ReadError(path, f"a frame of shape {pixels.shape[1:]} is no picture")
    captions = [f"{times[index]:.2f} s" if views is None else _place(views, index) for index in chosen.tolist()]
    return list(as_bytes(pixels)), tuple(float(time) for time in times[chosen]), tuple(captions)


def _spread(inside: NDArray[np.int64], frames: int) -> NDArray[np.int64]:
    """From the first to the last."""
    return inside[np.unique(np.linspace(0, len(inside) - 1, frames).round().astype(int))]


def _of_each(views: NDArray[np.int64], inside: NDArray[np.int64], frames: int) -> NDArray[np.int64]:
    """The middle of each of as many equal parts of every view: the first and last slices show nothing."""
    several = [inside[views[inside] == view] for view in np.unique(views[inside])]
    count = math.ceil(frames / len(several))
    middles = [np.unique(((np.arange(count) + 0.5) * len(slices) / count).astype(int)) for slices in several]
    return np.concatenate([slices[places] for slices, places in zip(several, middles, strict=True)])


def _place(views: NDArray[np.int64], index: int) -> str:
    """Plane and number of a slice, counted from 1."""
    same = np.flatnonzero(views == views[index])
    return f"{PLANES[views[index]]} {int(np.searchsorted(same, index)) + 1} of {len(same)}"


def as_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """(n, C, H, W) of any kind -> uint8 (n, H, W, 1 or 3); floats are stretched from their least to their greatest."""
    pixels = pixels[:, :3] if pixels.shape[1] == 3 else pixels[:, :1]
    if pixels.dtype != np.uint8:
        low, high = np.nanmin(pixels), np.nanmax(pixels)
        pixels = np.nan_to_num(255 * (pixels - low) / max(high - low, 1e-12))
    return pixels.astype(np.uint8).transpose(0, 2, 3, 1)


def address(pixels: NDArray[np.uint8], height: int = HEIGHT) -> str:
    """A `data:` address of a picture (H, W, 1 or 3), made smaller where it is higher than `height` pixels."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    small = image.height <= height
    if not small:
        image = image.resize((max(1, round(image.width * height / image.height)), height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # A tiny picture is kept exact; a photograph would be ten times larger as PNG.
    if small and image.width * image.height <= HEIGHT**2:
        image.save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        image.save(buffer, "JPEG", quality=82)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
