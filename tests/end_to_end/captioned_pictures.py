"""Small pictures with captions that tell their colour and where a square lies; clips in which it moves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

SIDE = 8
COLOURS = {"red": 0, "green": 1, "blue": 2}
PLACES = {"left": slice(0, 4), "right": slice(4, 8)}


def write_pictures(folder: Path, count: int = 36, frames: int = 1, seed: int = 0) -> Path:
    """`captions.jsonl` and .npy clips (T, 3, H, W), each with two captions; every kind of picture equally often.

    With several frames the square jumps to the other side halfway, and the captions tell from where it comes.
    """
    generator = np.random.default_rng(seed)
    kinds = [(colour, place) for colour in COLOURS for place in PLACES]
    folder.mkdir(parents=True)
    rows = []
    for index in range(count):
        colour, place = kinds[index % len(kinds)]
        clip = generator.integers(0, 40, (frames, 3, SIDE, SIDE), dtype=np.uint8)
        for time in range(frames):
            moved = place if time < max(1, frames // 2) else {"left": "right", "right": "left"}[place]
            clip[time, COLOURS[colour], :, PLACES[moved]] = 230
        np.save(folder / f"{index:03d}.npy", clip)
        captions = [f"a {colour} square at the {place}", f"the square at the {place} is {colour} ."]
        rows.append({"path": f"{index:03d}.npy", "captions": captions})
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "captions.jsonl"
