"""Damaged files through scan, train and predict: nothing crashes, nothing hangs, each bad file is listed with a reason.

    python benchmarks/faults.py DATA [--copies 300] [--seed 0] [--keep FOLDER]

DATA is a folder of class folders of videos. The smallest 24 of them, with images, arrays and zips made of their
frames, stay intact; copies of these are damaged, each in one of the ways of `WAYS`, and lie among them. Then the three
verbs run as a user would start them.

Whether a file is bad is decided here, without the verbs: all its frames are decoded, in a process of its own, and it is
bad if that raises, crashes or takes too long. A bad file may still give the very frames that a verb asks for. So the
same is asked for these frames alone (`needed`): who needs a bad frame must list the file, who needs none may use it,
and both are counted apart. Sampling is uniform, so that train and predict ask for known frames.

The exit status is 1 if a verb failed, hung, missed a bad file that it had to list, or blamed one that can be read.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from unreel.config import DataConfig, RunConfig, TrainingConfig, to_yaml
from unreel.data import PreprocessConfig, SamplingConfig, SplitConfig, choose
from unreel.data.isolated import Lost, isolated
from unreel.data.readers import open_source
from unreel.errors import ReadError
from unreel.models import CNNRNNConfig, EncoderConfig

SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm")
SAMPLING = SamplingConfig("uniform", frames=4)
PAGE = b"This is no clip. Somebody saved a page of text under the wrong name.\n" * 40
HUGE = (0, 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
# box of an MP4 -> where in its payload numbers stand that say how much there is, and how many bytes each has
BOXES = {
    b"mvhd": [(12, 4), (16, 4)],
    b"tkhd": [(20, 4), (76, 4), (80, 4)],
    b"mdhd": [(12, 4), (16, 4)],
    b"avc1": [(24, 2), (26, 2)],
    b"stsz": [(4, 4), (8, 4), (12, 4)],
    b"stts": [(4, 4), (8, 4), (12, 4)],
    b"stsc": [(4, 4), (8, 4), (12, 4)],
    b"stco": [(4, 4), (8, 4)],
    b"ctts": [(4, 4), (8, 4)],
    b"stss": [(4, 4), (8, 4)],
    b"elst": [(4, 4), (8, 4), (12, 4)],
}


NAMES = [
    *(b"\xff\xfe\x80", b"two\nlines", b"return\r", b"bell\x07", b" spaces ", b'quote",comma;', b"[bold]mark[red]"),
    *("\u202eright to left".encode(), "\u2028".encode(), "é".encode(), "e\u0301".encode()),
    *(b"a!b", b"%s{0}", b"x" * 180, b"-flag", b"'", b"*?"),
]
SHAPES = [
    *("(1000000000000, 3, 240, 320)", "(4294967296, 4294967296, 1, 1)", "(-1, 3, 240, 320)", "(2147483648,)"),
    *("(1, 1000000, 1000000, 3)", "(9223372036854775807, 2)", "(5, 65536, 65536)", "(0, 3, 240, 320)", "()"),
]


@dataclass(frozen=True)
class Original:
    """An intact file: its bytes, the end of its name, and its class."""

    data: bytes
    suffix: str
    label: str


Damage = Callable[[Original, Path, random.Random], None]
"""Write a damaged copy of an original below the folder. `Path` has no suffix yet."""


def truncated(original: Original, path: Path, rng: random.Random) -> None:
    _write(path, original.suffix, original.data[: rng.randrange(1, len(original.data))])


def flipped(original: Original, path: Path, rng: random.Random) -> None:
    _write(path, original.suffix, _flip(original.data, 0, len(original.data), rng))


def flipped_near_an_end(original: Original, path: Path, rng: random.Random) -> None:
    """Headers and indices stand at one end or the other."""
    begin = rng.choice([0, max(0, len(original.data) - 2048)])
    _write(path, original.suffix, _flip(original.data, begin, min(len(original.data), begin + 2048), rng))


def a_hole(original: Original, path: Path, rng: random.Random) -> None:
    begin = rng.randrange(len(original.data))
    size = min(rng.choice([64, 4096, 32768]), len(original.data) - begin)
    _write(path, original.suffix, original.data[:begin] + bytes(size) + original.data[begin + size :])


def empty(original: Original, path: Path, rng: random.Random) -> None:
    _write(path, original.suffix, b"")


def wrong_extension(original: Original, path: Path, rng: random.Random) -> None:
    others = {".mp4", ".png", ".npy", ".npz", ".zip", ".gif", ".avi", ".jpg", ".txt", ".xyz", ""} - {original.suffix}
    _write(path, rng.choice(sorted(others)), original.data)


def text(original: Original, path: Path, rng: random.Random) -> None:
    _write(path, rng.choice([".mp4", ".avi", ".mkv", ".png", ".jpg", ".npy", ".npz", ".zip", ".gif"]), PAGE)


def no_frames(original: Original, path: Path, rng: random.Random) -> None:
    suffix = rng.choice([".mp4", ".npy", ".npz", ".zip"])
    nothing = io.BytesIO()
    if suffix == ".mp4":
        with av.open(nothing, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=12)
            stream.width = stream.height = 64
            container.start_encoding()
    elif suffix == ".npy":
        np.save(nothing, np.zeros((0, 3, 32, 32), np.uint8))
    elif suffix == ".npz":
        np.savez(nothing, frames=np.zeros((0, 3, 32, 32), np.uint8))
    else:
        with zipfile.ZipFile(nothing, "w") as archive:
            archive.writestr("readme.txt", PAGE)
    _write(path, suffix, nothing.getvalue())


def huge(original: Original, path: Path, rng: random.Random) -> None:
    """Sizes, counts and durations in headers, up to the largest that fit there; 0 and 1 among them."""
    change = {".mp4": _huge_mp4, ".npy": _huge_npy, ".png": _huge_png, ".zip": _huge_zip}[original.suffix]
    _write(path, original.suffix, change(original.data, rng))


def folder_like_a_video(original: Original, path: Path, rng: random.Random) -> None:
    folder = path.with_name(f"{path.name}.mp4")
    folder.mkdir()
    name, data = rng.choice([("readme.txt", PAGE), ("inside.mp4", b""), ("0001.png", original.data)])
    (folder / name).write_bytes(data)


def odd_name(original: Original, path: Path, rng: random.Random) -> None:
    """Whole files whose names are hard to print, to quote or to write down."""
    name = rng.choice(NAMES)
    suffix = rng.choice([original.suffix, original.suffix.upper(), original.suffix + " "])
    os.makedirs(path.parent, exist_ok=True)
    whole = os.fsencode(path.parent) + b"/" + name + os.fsencode(f"-{path.name}{suffix}")
    with open(whole, "wb") as file:
        file.write(original.data)


def no_file(original: Original, path: Path, rng: random.Random) -> None:
    """Names of videos that are links to nowhere, links to themselves, or pipes that nobody writes to."""
    named = path.with_name(path.name + original.suffix)
    kind = rng.choice(["nowhere", "loop", "pipe"])
    if kind == "pipe":
        os.mkfifo(named)
    else:
        named.symlink_to(named if kind == "loop" else path.with_name("gone"))


WAYS: dict[str, tuple[Damage, float]] = {
    "truncated": (truncated, 5),
    "bytes flipped": (flipped, 5),
    "flipped near an end": (flipped_near_an_end, 3),
    "a hole of zeros": (a_hole, 2),
    "empty": (empty, 1),
    "wrong extension": (wrong_extension, 3),
    "text renamed": (text, 2),
    "no frames": (no_frames, 2),
    "huge header": (huge, 7),
    "folder like a video": (folder_like_a_video, 1),
    "odd name": (odd_name, 3),
    "no file": (no_file, 1),
}
"""Each way to damage, and how often it is taken."""


def all_frames(count: int) -> list[int]:
    return list(range(count))


def frames_of_scan(count: int) -> list[int]:
    return [0, count // 4, count // 2, count * 3 // 4, count - 1]


def frames_of_train(count: int) -> list[int]:
    return choose(count, SAMPLING).tolist()


WANTED = {"all": all_frames, "scan": frames_of_scan, "train": frames_of_train}
"""Frames that are asked for; predict asks for those of train."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--copies", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=15, help="a verb that takes longer counts as hanging")
    parser.add_argument("--keep", type=Path, help="a new folder for the files and outputs, not removed afterwards")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = options.keep or Path(temporary)
        damaged = make(options.data, place / "clips", options.copies, options.seed)
        return judge(place, damaged, 60 * options.minutes)


def make(data: Path, folder: Path, copies: int, seed: int) -> dict[str, str]:
    """Write intact and damaged files; path below `folder` and way of damage of each, "intact" for none."""
    rng = random.Random(seed)
    originals = list(_originals(data))
    found: dict[str, str] = {}
    for number, original in enumerate(originals):
        _write(folder / original.label / f"intact{number:02d}", original.suffix, original.data)
    found |= dict.fromkeys(_files(folder), "intact")
    names = list(WAYS)
    weights = [weight for _, weight in WAYS.values()]
    for number in range(copies):
        # every way at least once, then as often as its weight says
        way = names[number] if number < len(names) else rng.choices(names, weights)[0]
        fitting = originals if way != "folder like a video" else [one for one in originals if one.suffix == ".png"]
        original = rng.choice(fitting)
        WAYS[way][0](original, folder / original.label / f"copy{number:03d}", rng)
        found |= dict.fromkeys((path for path in _files(folder) if path not in found), way)
    return found


def judge(place: Path, ways: dict[str, str], limit: float) -> int:
    console = Console(width=150, soft_wrap=False)
    clips, run = place / "clips", place / "run"
    paths = list(ways)
    bad = {name: _reasons(paths, partial(_decodes, clips, wanted)) for name, wanted in WANTED.items()}
    assert not any(ways[path] == "intact" for path in bad["all"]), "an intact file is not"
    (place / "config.yaml").write_text(to_yaml(_config(clips)), encoding="utf-8")
    unreel = [sys.executable, "-m", "unreel"]
    verbs = {
        "scan": [*unreel, "scan", clips, "--json", place / "scan.json"],
        "train": [*unreel, "train", "--config", place / "config.yaml", "--out", run],
        "predict": [*unreel, "predict", run, *(clips / path for path in paths), "--out", place / "rows.jsonl"],
    }
    summary = Table(
        *("verb", "exit", "seconds", "peak MB", "files", "bad", "bad, listed", "bad, but not in the frames it takes"),
        *("bad, MISSED", "good, BLAMED", "left running"),
        title=f"{len(paths)} files, {sum(way != 'intact' for way in ways.values())} of them damaged",
    )
    failed = False
    misses: list[tuple[str, str, str]] = []
    for verb, command in verbs.items():
        status, seconds, memory, left = timed(command, place / f"{verb}.log", limit)
        listed = {"scan": _listed_by_scan, "train": _listed_by_train, "predict": _listed_by_predict}[verb](place)
        # train sees what scan has left out first
        must = (
            set(bad["scan"]) | set(bad["train"]) if verb == "train" else set(bad["scan" if verb == "scan" else "train"])
        )
        missed = must - listed.keys()
        blamed = listed.keys() - bad["all"].keys()
        unseen = bad["all"].keys() - must - listed.keys()
        misses += [(verb, "missed", path) for path in missed] + [(verb, "blamed", path) for path in blamed]
        misses += [(verb, "no reason", path) for path, reason in listed.items() if not reason]
        failed |= status != 0 or bool(misses) or bool(left)
        row = (status, f"{seconds:.1f}", memory, len(paths), len(bad["all"]), len(bad["all"].keys() & listed.keys()))
        summary.add_row(verb, *map(str, (*row, len(unseen), len(missed), len(blamed), left)))
    if "rows.jsonl" in os.listdir(place):
        rows = [json.loads(line) for line in (place / "rows.jsonl").read_bytes().splitlines()]
        answered = Counter("error" if "error" in row else "label" for row in rows)
        console.print(f"predict wrote {answered['label']} rows with a label and {answered['error']} with an error")
    console.print(summary)
    by_way = Table("way", "copies", "bad", "readable after all", "decoder says, most often")
    for way in ["intact", *WAYS]:
        mine = [path for path in paths if ways[path] == way]
        reasons = Counter(_short(bad["all"][path]) for path in mine if path in bad["all"])
        said = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(2))
        by_way.add_row(way, str(len(mine)), str(sum(reasons.values())), str(len(mine) - sum(reasons.values())), said)
    console.print(by_way)
    for verb, what, path in misses:
        console.print(ascii((verb, what, path, ways.get(path), _short(bad["all"].get(path, "")))), markup=False)
    return int(failed)


def timed(command: list[object], log: Path, limit: float) -> tuple[object, float, int, int]:
    """Exit status ("hung" if it was killed), seconds, peak MB of the largest process, processes it left behind."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    started = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [os.fspath(part) if isinstance(part, Path) else str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=environment,
            start_new_session=True,
        )
    hung = False
    while True:
        pid, code, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() - started > limit and not hung:
            hung = True
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.05)
    seconds = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(code)
    time.sleep(1)
    left = len(_session(process.pid))
    return "hung" if hung else process.returncode, seconds, usage.ru_maxrss // 1024, left


def _session(session: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, its_session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(its_session) == session and state != "Z":
                found.append(int(entry.name))
    return found


def _originals(data: Path) -> list[Original]:
    videos = sorted((path for path in data.rglob("*") if path.suffix in SUFFIXES), key=lambda path: path.stat().st_size)
    chosen = []
    for label in sorted({path.parent.name for path in videos}):
        chosen += [path for path in videos if path.parent.name == label][:12]
    originals = [Original(path.read_bytes(), path.suffix, path.parent.name) for path in chosen]
    for path in chosen[:3] + chosen[-3:]:
        with open_source(path) as source:
            frames = source.read(range(0, len(source), max(1, len(source) // 6))).permute(0, 2, 3, 1).numpy()
        image, array, archive = io.BytesIO(), io.BytesIO(), io.BytesIO()
        Image.fromarray(frames[0]).save(image, "png")
        np.save(array, frames)
        with zipfile.ZipFile(archive, "w") as file:
            for number, pixels in enumerate(frames):
                one = io.BytesIO()
                Image.fromarray(pixels).save(one, "png")
                file.writestr(f"{number}.png", one.getvalue())
        for made, suffix in ((image, ".png"), (array, ".npy"), (archive, ".zip")):
            originals.append(Original(made.getvalue(), suffix, path.parent.name))
    return originals


def _config(clips: Path) -> RunConfig:
    return RunConfig(
        data=DataConfig(
            path=str(clips),
            split=SplitConfig(val=0.2, test=0.2),
            sampling=SAMPLING,
            preprocess=PreprocessConfig(size=(32, 32)),
            batch_size=8,
            workers=2,
        ),
        model=CNNRNNConfig(encoder=EncoderConfig(channels=(4,), features=8), hidden_size=8),
        training=TrainingConfig(epochs=1, accelerator="cpu", control=False),
    )


def _reasons(paths: list[str], decodes: Callable[[str], str | None]) -> dict[str, str]:
    """Why each file is bad, for those that are."""
    found = {}
    for number, reason in isolated(decodes, paths, workers=2, seconds=120):
        if reason is not None:
            found[paths[number]] = reason.reason if isinstance(reason, Lost) else reason
    return found


def _decodes(clips: Path, wanted: Callable[[int], list[int]], path: str) -> str | None:
    """Why the wanted ones of a file's frames cannot be decoded; None if they can."""
    try:
        with open_source(clips / path) as source:
            indices = wanted(len(source))
            for begin in range(0, len(indices), 32):
                source.read(indices[begin : begin + 32])
    except ReadError as error:
        return error.reason
    return None


def _files(folder: Path) -> list[str]:
    """Everything below `folder` that is no folder, in sorted order."""
    return sorted(
        os.path.relpath(os.path.join(parent, name), folder) for parent, _, names in os.walk(folder) for name in names
    )


def _listed_by_scan(place: Path) -> dict[str, str]:
    if not (place / "scan.json").exists():
        return {}
    files = json.loads((place / "scan.json").read_text(encoding="utf-8"))["files"]
    return {file["path"]: file["reason"] for file in files if file["reason"] is not None}


def _listed_by_train(place: Path) -> dict[str, str]:
    if not (place / "run" / "left_out.csv").exists():
        return {}
    with (place / "run" / "left_out.csv").open(newline="", encoding="utf-8") as file:
        return {_unescaped(row["path"]): row["reason"] for row in csv.DictReader(file)}


def _unescaped(path: str) -> str:
    """Bytes that are no UTF-8 stand escaped in the table."""
    return re.sub(r"\\udc([0-9a-f]{2})", lambda byte: chr(0xDC00 + int(byte[1], 16)), path)


def _listed_by_predict(place: Path) -> dict[str, str]:
    if not (place / "rows.jsonl").exists():
        return {}
    rows = [json.loads(line) for line in (place / "rows.jsonl").read_bytes().splitlines()]
    return {os.path.relpath(row["file"], place / "clips"): row["error"] for row in rows if "error" in row}


def _write(path: Path, suffix: str, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + suffix).write_bytes(data)


def _flip(data: bytes, begin: int, end: int, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 4, 16, 64, 256])):
        changed[rng.randrange(begin, end)] ^= rng.randrange(1, 256)
    return bytes(changed)


def _huge_mp4(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    boxes = [box for box in BOXES if box in data]
    for box in rng.sample(boxes, rng.choice([1, 1, 1, 2])):
        offset, width = rng.choice(BOXES[box])
        at = data.index(box) + 4 + offset
        number = rng.choice([value for value in HUGE if value < 256**width])
        if at + width <= len(changed):
            changed[at : at + width] = number.to_bytes(width, "big")
    return bytes(changed)


def _huge_npy(data: bytes, rng: random.Random) -> bytes:
    shape = rng.choice(SHAPES)
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    size = int.from_bytes(data[8:10], "little")
    return data[:10] + header.ljust(size - 1)[: size - 1].encode() + b"\n" + data[10 + size :]


def _huge_png(data: bytes, rng: random.Random) -> bytes:
    width, height = struct.unpack(">II", data[16:24])
    numbers = [value for value in (*HUGE, 10_000, 16_384) if value != 1]
    width, height = rng.choice([(rng.choice(numbers), height), (width, rng.choice(numbers)), (16_000, 16_000)])
    chunk = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


def _huge_zip(data: bytes, rng: random.Random) -> bytes:
    """Sizes in the directory at its end, from which a zip is read."""
    changed = bytearray(data)
    entries = [at for at in range(len(data)) if data.startswith(b"PK\x01\x02", at)]
    at = rng.choice(entries) + rng.choice([20, 24, 42])
    changed[at : at + 4] = rng.choice(HUGE).to_bytes(4, "little")
    return bytes(changed)


def _short(reason: str) -> str:
    words = "".join("#" if letter.isdigit() else letter for letter in reason)
    return words if len(words) < 70 else words[:67] + "..."


if __name__ == "__main__":
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main())
