"""Films with a label for each frame and head, joined from real and drawn footage: can a model of films learn them?

    python benchmarks/films.py DATA OUT [--films 42 10 20] [--frames 192] [--piece 32] [--size 48] [--seed 0]

DATA holds fights/sources.csv (path, label, source of each clip) and mnist.npz. OUT gets train/, val/ and test/ with
pairs of arrays as docs/guides/tagging.md tells of them, heads.txt, and made_from.csv, the clips and digits of each.
Films to learn from are cut into pieces; those to choose by and to be measured on are whole.

A film is a row of shots: clips of fights and of other doings in front of surveillance cameras. Some shots fade in, some
fade out; in some there is snow, or the picture freezes. Digits stand over them or pass, leaving the picture at one edge
and coming back at the other. So there are heads of three kinds:

- one frame tells: `digit`, `noise`;
- one frame tells half: it shows a digit, but not whether it goes `left` or `right`; darkness, but not whether it is
  that of `fade_in` or `fade_out`. Both of a pair visit the same places and brightnesses;
- one frame tells little: `fight`, and `freeze`, whose frames look like any others. All footage has grain, as of a cheap
  camera, another one in each picture: a frozen picture differs even from one in which nothing happens.

No source of clips, and no kind of digit, stands on two sides of the split.

Shape letters: T frames of a film, L pictures before some freeze, K heads, S height and width in pixels.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unreel.data import (
    Example,
    ManifestConfig,
    PreprocessConfig,
    SamplingConfig,
    SplitConfig,
    choose,
    preprocess,
    read_manifest,
    split,
)
from unreel.data.readers import open_source

HEADS = ("digit", "left", "right", "fade_in", "fade_out", "freeze", "noise", "fight")
SIDES = ("train", "val", "test")
DIGITS = {"train": (0, 1, 2, 3, 4, 5), "val": (6, 7), "test": (8, 9)}
SHARES = SplitConfig(val=0.15, test=0.25)  # of the clips

SHOT = 30  # frames at most; clips of fights are about 2 s long
GRAIN = 8.0  # standard deviation, of 255
FADE, SNOW, FREEZE = (6, 11), (6, 13), (6, 15)  # frames, from and below
DIGIT, REST = (12, 31), (6, 19)  # frames with a digit, and frames without one after them
FADES, SNOWS, FREEZES = 0.4, 0.35, 0.35  # share of shots in which it happens
SPEED = (0.8, 2.0)  # pixels a frame where S is 48
INK = (255.0, 215.0, 60.0)

Floats = NDArray[np.float32]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Made:
    """What a film is made from: a `clip` or a `digit`, its name, and its source or kind."""

    what: str
    name: str
    source: str


@dataclass(frozen=True)
class Shot:
    """Pixels (L, 3, S, S) uint8 of a clip, and whether it is of a fight."""

    pixels: NDArray[np.uint8]
    fight: bool
    made: Made


@dataclass(frozen=True)
class Digit:
    """Ink of a digit, square, 0 to 1."""

    ink: Floats
    made: Made


@dataclass
class Reel:
    """A film in the making.

    Args:
        pixels: (L, 3, S, S).
        holds: (K, L) bool.
        light: (L,) from 0, dark, to 1.
        snow: (L,) from 0, none, to 1, nothing but snow.
        shown: (L,) how many frames each picture stays.
        made_from: clips and digits.
    """

    pixels: Floats
    holds: NDArray[np.bool_]
    light: Floats
    snow: Floats
    shown: NDArray[np.int64]
    made_from: list[Made] = field(default_factory=list)

    def say(self, head: str, begin: int, end: int) -> None:
        self.holds[HEADS.index(head), begin:end] = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--films", type=int, nargs=3, default=(42, 10, 20), help="on each side: train, val, test")
    parser.add_argument("--frames", type=int, default=192, help="T")
    parser.add_argument("--piece", type=int, default=32, help="frames of a piece to learn from")
    parser.add_argument("--size", type=int, default=48, help="S")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write_films(options.data, options.out, options.films, options.frames, options.piece, options.size, options.seed)


def write_films(data: Path, out: Path, films: Sequence[int], frames: int, piece: int, size: int, seed: int) -> None:
    """Write as many films to each side as `films` says, those to learn from in pieces."""
    clips = split(read_manifest(data / "fights" / "sources.csv", ManifestConfig(group_column="source")), SHARES)
    with np.load(data / "mnist.npz", allow_pickle=False) as digits:
        images, kinds = digits["x_train"], digits["y_train"]
    made_from: list[tuple[str, str, str, str]] = []
    number = 0
    for place, side in enumerate(SIDES):
        (out / side).mkdir(parents=True)
        there = np.flatnonzero(np.isin(kinds, DIGITS[side])).tolist()
        examples = over_and_over(clips[place], np.random.default_rng([seed, place, 0]))
        indices = over_and_over(there, np.random.default_rng([seed, place, 1]))
        shots = (read_shot(data / "fights", example, size) for example in examples)
        drawn = (read_digit(images[index], index, kinds[index], size) for index in indices)
        for film in range(films[place]):
            pixels, labels, made = make_film(shots, drawn, frames, np.random.default_rng([seed, place, 2, film]))
            cuts = range(0, frames, piece if side == "train" else frames)
            for begin, end in pairwise([*cuts, frames]):
                np.save(out / side / f"scene_{number}.npy", pixels[begin:end])
                np.save(out / side / f"category_{number}.npy", labels[:, None, begin:end, None])
                made_from += [(f"{side}/scene_{number}.npy", one.what, one.name, one.source) for one in made]
                number += 1
    (out / "heads.txt").write_text("\n".join(HEADS) + "\n")
    with (out / "made_from.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("film", "what", "name", "source"), *made_from])


def over_and_over(items: Sequence[Item], rng: np.random.Generator) -> Iterator[Item]:
    """All items in a drawn order, then in another one, without end."""
    while True:
        for index in rng.permutation(len(items)):
            yield items[index]


@cache
def read_shot(root: Path, example: Example, size: int) -> Shot:
    with open_source(root / example.path) as source:
        chosen = choose(len(source), SamplingConfig("uniform", frames=SHOT))
        pixels = preprocess(source.read(chosen.tolist()), PreprocessConfig(size=(size, size)))
    made = Made("clip", example.path, example.group or example.path)
    return Shot(pixels.numpy(), example.labels == ("fight",), made)


def read_digit(image: NDArray[np.uint8], index: int, kind: int, size: int) -> Digit:
    """The inner 20 × 20 pixels of an image, at the scale of a picture of S."""
    side = round(size * 20 / 48)
    ink = np.asarray(Image.fromarray(image[4:24, 4:24]).resize((side, side)), dtype=np.float32) / 255
    return Digit(ink, Made("digit", f"image {index}", str(kind)))


def make_film(
    shots: Iterator[Shot], digits: Iterator[Digit], frames: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[Made]]:
    """Pixels (T, 3, S, S), labels (K, T), 0 or 1, and what it is made from."""
    reel = splice(shots, frames, rng)
    add_digits(reel, digits, rng)
    pixels, labels = develop(reel, rng)
    return pixels[:frames], labels[:, :frames], reel.made_from


def splice(shots: Iterator[Shot], frames: int, rng: np.random.Generator) -> Reel:
    """Shots one after another, at least `frames` pictures; what fades, snows and freezes is drawn."""
    chosen: list[Shot] = []
    while sum(len(shot.pixels) for shot in chosen) < frames:
        chosen.append(next(shots))
    pixels = [shot.pixels[..., ::-1] if rng.random() < 0.5 else shot.pixels for shot in chosen]
    count, size = sum(map(len, pixels)), pixels[0].shape[-1]
    grain = rng.normal(0, GRAIN, (count, 1, size, size))
    reel = Reel(
        pixels=(np.concatenate(pixels) + grain).clip(0, 255).astype(np.float32),
        holds=np.zeros((len(HEADS), count), dtype=bool),
        light=np.ones(count, dtype=np.float32),
        snow=np.zeros(count, dtype=np.float32),
        shown=np.ones(count, dtype=np.int64),
        made_from=[shot.made for shot in chosen],
    )
    begin = 0
    for shot in chosen:
        end = begin + len(shot.pixels)
        if shot.fight:
            reel.say("fight", begin, end)
        edit(reel, begin, end, rng)
        begin = end
    return reel


def edit(reel: Reel, begin: int, end: int, rng: np.random.Generator) -> None:
    """Let the shot from `begin` to `end` fade in and out; in between it may snow or freeze."""
    length = int(rng.integers(*FADE))
    if rng.random() < FADES and length < (end - begin) // 2:
        reel.light[begin : begin + length] = rising(length)
        reel.say("fade_in", begin, begin + length)
        begin += length
    length = int(rng.integers(*FADE))
    if rng.random() < FADES and length < (end - begin) // 2:
        reel.light[end - length : end] = rising(length)[::-1]
        reel.say("fade_out", end - length, end)
        end -= length
    what, length = rng.random(), int(rng.integers(*SNOW))
    if what < SNOWS and length < end - begin:
        first = int(rng.integers(begin, end - length))
        reel.snow[first : first + length] = rng.uniform(0.35, 0.6)
        reel.say("noise", first, first + length)
    elif SNOWS <= what < SNOWS + FREEZES:
        reel.shown[int(rng.integers(begin, end))] += int(rng.integers(*FREEZE))


def rising(length: int) -> Floats:
    return (np.arange(length, dtype=np.float32) + 0.5) / length


def add_digits(reel: Reel, digits: Iterator[Digit], rng: np.random.Generator) -> None:
    """Digits over the pictures, one at a time, with rests between them: a third goes left, one right, one stands."""
    count, size = len(reel.pixels), reel.pixels.shape[-1]
    color = np.array(INK, dtype=np.float32)[:, None, None]
    begin = int(rng.integers(*REST))
    while begin < count:
        end = min(count, begin + int(rng.integers(*DIGIT)))
        digit = next(digits)
        side = len(digit.ink)
        way, speed = int(rng.integers(-1, 2)), size / 48 * rng.uniform(*SPEED)
        row, start = int(rng.integers(size - side + 1)), rng.uniform(0, size)
        canvas = np.zeros((size, size), dtype=np.float32)
        canvas[row : row + side, :side] = digit.ink
        columns = np.rint(start + way * speed * np.arange(end - begin)).astype(int)
        covers = np.stack([np.roll(canvas, column, 1) for column in columns])[:, None]
        reel.pixels[begin:end] += covers * (color - reel.pixels[begin:end])
        reel.say("digit", begin, end)
        if way:
            reel.say("left" if way < 0 else "right", begin, end)
        reel.made_from.append(digit.made)
        begin = end + int(rng.integers(*REST))


def develop(reel: Reel, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels (T, 3, S, S) and labels (K, T): light and snow as they were set, every picture as long as it is shown.

    In frames that repeat a picture nothing moves: neither `left` nor `right` holds there.
    """
    light, snow = (values[:, None, None, None] for values in (reel.light, reel.snow))
    flakes = rng.uniform(0, 255, reel.pixels.shape).astype(np.float32)
    pixels = np.rint((1 - snow) * light * reel.pixels + snow * flakes).astype(np.uint8)
    place = np.repeat(np.arange(len(pixels)), reel.shown)
    labels = reel.holds[:, place]
    repeated = np.diff(place, prepend=-1) == 0
    labels[HEADS.index("freeze")] = repeated
    for head in ("left", "right"):
        labels[HEADS.index(head)] &= ~repeated
    return pixels[place], labels.astype(np.uint8)


if __name__ == "__main__":
    main()
