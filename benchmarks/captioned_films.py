"""Films of moving digits with captions by a known grammar: can a model of clips tell what moves, where and how?

    python benchmarks/captioned_films.py OUT [--digits DATA/mnist.npz] [--clips 3000 400 600] [--frames 12] [--size 56]
    python benchmarks/captioned_films.py --exact RUN [RUN/control ...]

The second form tells of trained runs the share of captions that are right word by word, with Wilson's interval, for
films of one, two and three digits and for all, and the share of digits and of doings; on the validation side, and on
the test side, where each film has a pair of the two that training has not.

OUT gets a folder for each side with films as arrays (T, 1, S, S), and manifest.csv (path, caption, split). One to three
handwritten digits (MNIST's, or without a file the few of scikit-learn) each do something in a quarter of the picture:

    caption = phrase, or phrase "and" phrase, or phrase "and" phrase "and" phrase, in the order of the places
    phrase  = "a" digit "at the" place doing         a seven at the top left moves right
    place   = "top left" | "top right" | "bottom left" | "bottom right"     at most one digit in each
    doing   = "stands" | "moves left" | "moves right" | "moves up" | "moves down" | "grows" | "shrinks"

So exactly one caption is right, and a model can be measured by the share of captions that are, word by word.

**One frame does not tell.** What moves left visits the places of what moves right, in the other order; up and down, and
to grow and to shrink, alike: the same frames, run backwards. `stands` is anywhere on such a way, and of any such size.

**The test side is unseen.** No image of a digit stands on two sides. Which digit does what is held out too: the pairs
of `HELD_OUT` occur on the test side alone, where each film has at least one of them; their digits and their doings are
learned apart.

Shape letters: T frames, S height and width in pixels.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unreel.inference.intervals import wilson

SIDES = ("train", "val", "test")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PLACES = ("top left", "top right", "bottom left", "bottom right")
DOINGS = ("stands", "moves left", "moves right", "moves up", "moves down", "grows", "shrinks")
HELD_OUT = tuple((d, a) for d in range(len(DIGITS)) for a in range(len(DOINGS)) if (d + 3 * a) % len(DOINGS) == 0)
SHARES = (0.7, 0.1)  # of the images of each digit: train, val; the others are for test
COUNTS = (0.3, 0.4, 0.3)  # share of films with one, two, three digits
GLYPH, SMALL, LARGE = 0.3, 0.6, 1.4  # side of a digit as a share of S; sizes it has, as shares of that
NOISE = 8.0  # standard deviation, of 255

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Actor:
    """A digit: its number, the image of it, its place and what it does, as places in the lists above."""

    digit: int
    image: int
    place: int
    doing: int

    @property
    def phrase(self) -> str:
        return f"a {DIGITS[self.digit]} at the {PLACES[self.place]} {DOINGS[self.doing]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--exact", type=Path, nargs="+", default=[], metavar="RUN")
    parser.add_argument("--digits", type=Path, help="an .npz with x_train, y_train, x_test and y_test, such as MNIST's")
    parser.add_argument("--clips", type=int, nargs=3, default=(3000, 400, 600), help="on each side: train, val, test")
    parser.add_argument("--frames", type=int, default=12, help="T")
    parser.add_argument("--size", type=int, default=56, help="S, even")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if (options.out is None) == (not options.exact):
        parser.error("expected a folder to write films to, or --exact and folders of runs")
    for folder in options.exact:
        print(f"{folder}", *exact(folder), sep="\n  ")
    if options.out is None:
        return
    glyphs, kinds = bundled_digits() if options.digits is None else digits_of(options.digits)
    write_films(options.out, glyphs, kinds, options.clips, options.frames, options.size, options.seed)


def exact(folder: Path) -> list[str]:
    """What a run has right, a line for each side: new pairs of digit and doing are on the test side alone."""
    from unreel.inference.evaluate import evaluate_examples
    from unreel.runs import Run

    run = Run.load(folder)
    sides = run.splits()
    found = [(name, evaluate_examples(run, getattr(sides, name), run.root).rows) for name in ("val", "test")]
    return [f"{name}: {shares([(row['truth'][0], row['caption']) for row in rows])}" for name, rows in found]


def shares(captions: Sequence[tuple[str, str]]) -> str:
    """Of pairs of the true caption and the written one, the share that is right.

    Whole captions by the number of digits; then digits, and doings, of the phrases at their places, those whose pair is
    in `HELD_OUT` by themselves. Of a caption with too few or too many phrases, none of these is right.
    """
    right: dict[str, list[bool]] = {}
    for true, said in captions:
        wanted, written = true.split(" and "), said.split(" and ")
        right.setdefault("1 digit" if len(wanted) == 1 else f"{len(wanted)} digits", []).append(true == said)
        right.setdefault("all", []).append(true == said)
        for phrase, answer in zip(wanted, written if len(written) == len(wanted) else [""] * len(wanted), strict=True):
            (digit, doing), (digit_said, doing_said) = _pair(phrase), _pair(answer)
            new = "new" if (DIGITS.index(digit), DOINGS.index(doing)) in HELD_OUT else "known"
            right.setdefault(f"digits in {new} pairs", []).append(digit == digit_said)
            right.setdefault(f"doings in {new} pairs", []).append(doing == doing_said)
    return ", ".join(f"{name} {wilson(sum(hits), len(hits))} (n = {len(hits)})" for name, hits in sorted(right.items()))


def _pair(phrase: str) -> tuple[str, str]:
    """The digit and the doing of "a DIGIT at the PLACE DOING", whose place is two words."""
    words = phrase.split()
    return " ".join(words[1:2]), " ".join(words[6:])


def bundled_digits() -> tuple[Floats, NDArray[np.integer]]:
    """Ink (1797, 8, 8), 0 to 1, and which digit each is."""
    from sklearn.datasets import load_digits

    pixels, kinds = load_digits(return_X_y=True)
    return (pixels.reshape(-1, 8, 8) / 16).astype(np.float32), kinds


def digits_of(file: Path) -> tuple[Floats, NDArray[np.integer]]:
    """Ink (n, height, width), 0 to 1, and which digit each is."""
    with np.load(file, allow_pickle=False) as data:
        images = np.concatenate([data["x_train"], data["x_test"]])
        return (images / np.float32(255)), np.concatenate([data["y_train"], data["y_test"]])


def write_films(
    out: Path,
    glyphs: Floats,
    kinds: NDArray[np.integer],
    clips: Sequence[int],
    frames: int,
    size: int,
    seed: int,
) -> None:
    """Write as many films to each side as `clips` says, and the manifest last."""
    images = divide(kinds, np.random.default_rng([seed, len(SIDES)]))
    rows = []
    for number, side in enumerate(SIDES):
        (out / side).mkdir(parents=True, exist_ok=True)
        for clip in range(clips[number]):
            rng = np.random.default_rng([seed, number, clip])
            actors = cast(images[side], side == "test", rng)
            path = f"{side}/{clip:05d}.npy"
            np.save(out / path, draw(actors, glyphs, frames, size, rng))
            rows.append((path, caption(actors), side))
    with (out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "caption", "split"), *rows])


def divide(kinds: NDArray[np.integer], rng: np.random.Generator) -> dict[str, dict[int, list[int]]]:
    """Images of each digit by side."""
    images: dict[str, dict[int, list[int]]] = {side: {} for side in SIDES}
    for digit in range(len(DIGITS)):
        there = rng.permutation(np.flatnonzero(kinds == digit))
        cuts = (len(there) * np.cumsum(SHARES)).astype(int)
        for side, part in zip(SIDES, np.split(there, cuts), strict=True):
            images[side][digit] = part.tolist()
    return images


def cast(images: Mapping[int, Sequence[int]], unseen: bool, rng: np.random.Generator) -> tuple[Actor, ...]:
    """One to three digits, in the order of their places; a held-out pair is among them if and only if unseen."""
    count = int(rng.choice(len(COUNTS), p=COUNTS)) + 1
    places = sorted(rng.permutation(len(PLACES))[:count].tolist())
    first = int(rng.integers(count)) if unseen else -1  # this one is held out for sure
    actors = []
    for number, place in enumerate(places):
        digit, doing = next(pair for pair in pairs(rng) if _fits(pair, number == first, unseen))
        actors.append(Actor(digit, int(rng.choice(images[digit])), place, doing))
    return tuple(actors)


def pairs(rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """A digit and a doing, drawn without end."""
    while True:
        yield int(rng.integers(len(DIGITS))), int(rng.integers(len(DOINGS)))


def _fits(pair: tuple[int, int], must: bool, may: bool) -> bool:
    return pair in HELD_OUT if must else may or pair not in HELD_OUT


def caption(actors: Sequence[Actor]) -> str:
    """The one caption that is right."""
    return " and ".join(actor.phrase for actor in actors)


def draw(
    actors: Sequence[Actor], glyphs: Floats, frames: int, size: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A film (T, 1, S, S)."""
    paper, ink = rng.uniform(0, 40), rng.uniform(140, 240)
    shown = np.zeros((frames, size, size), dtype=np.float32)
    half = size // 2
    for actor in actors:
        top, left = half * (actor.place // 2), half * (actor.place % 2)
        shown[:, top : top + half, left : left + half] = perform(actor.doing, glyphs[actor.image], frames, half, rng)
    noise = rng.normal(0, NOISE, shown.shape)
    return np.rint((paper + (ink - paper) * shown + noise).clip(0, 255)).astype(np.uint8)[:, None]


def perform(doing: int, glyph: Floats, frames: int, half: int, rng: np.random.Generator) -> Floats:
    """Ink (T, S/2, S/2) of a digit in its quarter."""
    way = np.linspace(0, 1, frames)
    what = DOINGS[doing]
    row, column, scale = (np.full(frames, share) for share in rng.random(3))
    if what in ("moves left", "moves right"):
        column = way[::-1] if what == "moves left" else way
    elif what in ("moves up", "moves down"):
        row = way[::-1] if what == "moves up" else way
    elif what in ("grows", "shrinks"):
        scale = way[::-1] if what == "shrinks" else way
    sides = np.rint(2 * half * GLYPH * (SMALL + (LARGE - SMALL) * scale)).astype(int)
    ink = np.zeros((frames, half, half), dtype=np.float32)
    whole = Image.fromarray(glyph)
    for frame, side in enumerate(sides.tolist()):
        top, left = (round((half - side) * share[frame]) for share in (row, column))
        drawn = np.asarray(whole.resize((side, side), Image.Resampling.BICUBIC)).clip(0, 1)
        ink[frame, top : top + side, left : left + side] = drawn
    return ink


if __name__ == "__main__":
    main()
