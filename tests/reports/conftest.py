"""Run folders as training leaves them behind, one for each task, with numbers that are easy to find in a page."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from unreel.data import DataReport, FileReport
from unreel.demo_data import WAYS, make_moving_digits

NASTY = "<script>alert('label')</script> & \"quotes\""


def measure(value: float, width: float = 0.04) -> dict[str, float]:
    return {"value": value, "low": max(0.0, value - width), "high": min(1.0, value + width)}


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def write_common(run: Path, data: Path, labels: list[str], metrics: dict[str, object]) -> None:
    run.mkdir(parents=True, exist_ok=True)
    config = {"task": metrics["task"], "data": {"path": str(data), "batch_size": 16}, "seed": 0, "note": NASTY}
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    write_json(run / "versions.json", {"python": "3.11.9", "unreel": "0.1.0", "torch": "2.99.1"})
    write_json(run / "labels.json", labels)
    write_json(run / "metrics.json", metrics)
    (run / "model.txt").write_text("CNNRNN\n├─ encoder  (N, T, 3, 32, 32) → (N, T, 256)\n└─ recurrence\n")
    watched = str(metrics["monitor"])
    write_rows(
        run / "history.csv",
        [
            {
                "epoch": epoch,
                "step": 23 * (epoch + 1),
                "lr": 1e-3 * np.sin((epoch + 1) / 4),
                "train_loss": 1.4 * 0.7**epoch,
                "val_loss": 1.4 * 0.75**epoch + 0.003 * epoch**2,
                watched: 0.97 - 0.7 * 0.7**epoch if epoch != 3 else "",
            }
            for epoch in range(11)
        ],
    )
    write_rows(run / "left_out.csv", [{"path": f"left/{NASTY}.mp4", "reason": "moov atom not found"}])


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    make_moving_digits(folder, clips=64)
    return folder


@pytest.fixture
def classify_run(tmp_path: Path, digits: Path) -> Path:
    """152 clips of four classes, seven of them wrong; the surest error lies in a file that does not exist."""
    run = tmp_path / "digits-seed0"
    labels = list(WAYS)
    metrics = {
        "task": "classify",
        "monitor": "val_accuracy",
        "best_epoch": 7,
        "val": {"accuracy": 0.9432},
        "test": {"accuracy": measure(0.9539), "macro_f1": measure(0.9481), "auroc": measure(0.9917, 0.005)},
        "n_test": 152,
        "confusion": [[37, 1, 0, 0], [0, 36, 2, 0], [0, 0, 38, 0], [1, 3, 0, 34]],
        "per_class": [
            {"label": label, "precision": measure(0.95), "recall": measure(0.93), "f1": {"value": 0.9111}, "n": 38}
            for label in labels
        ],
        "controls": {
            "majority": {"accuracy": measure(0.25, 0.06)},
            "per_frame_cnn": {"accuracy": measure(0.2434, 0.06)},
        },
    }
    write_common(run, digits / "manifest.csv", labels, metrics)
    with (digits / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    write_rows(run / "manifest.csv", [{**row} for row in rows])
    scanned = [FileReport(row["path"], 16, 16 / 12 + 0.1 * (i % 5), 12.0, (3, 32, 32)) for i, row in enumerate(rows)]
    scanned.append(FileReport("right/empty.mp4", reason="expected a video, the file is empty"))
    report = DataReport(
        files=tuple(scanned),
        classes=dict.fromkeys(labels, 16) | {NASTY: 1, "$a$": 3},
        small=(NASTY,),
        identical=((rows[0]["path"], rows[1]["path"], "copy of $x.mp4"),),
        near=((rows[2]["path"], rows[3]["path"]),),
    )
    (run / "data.json").write_text(report.to_json())
    tested = [row for row in rows if row["split"] == "test"]
    predictions = []
    for number, row in enumerate(tested):
        said = labels[(labels.index(row["label"]) + (number % 5 == 0)) % 4]
        score = 0.6 + 0.39 * ((number * 7) % 13) / 13
        predictions.append(
            {
                "file": row["path"],
                "start": 0.0,
                "end": 16 / 12,
                "truth": row["label"],
                "label": said,
                "score": score,
                "scores": {label: score if label == said else (1 - score) / 3 for label in labels},
            }
        )
    predictions.append(
        predictions[0] | {"file": f"left/{NASTY}.mp4", "truth": "left", "label": "right", "score": 0.9987}
    )
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in predictions))
    return run


@pytest.fixture
def multilabel_run(tmp_path: Path, digits: Path) -> Path:
    run = tmp_path / "multi"
    labels = ["rain", "wind", NASTY]
    metrics = {
        "task": "multilabel",
        "monitor": "val_macro_ap",
        "best_epoch": 4,
        "val": {"macro_ap": 0.8},
        "test": {"macro_ap": measure(0.8123), "macro_f1": {"value": 0.77}},
        "n_test": 3,
        "per_class": [{"label": label, "ap": measure(0.8), "f1": measure(0.7), "n": 2} for label in labels],
    }
    write_common(run, digits, labels, metrics)
    write_rows(
        run / "manifest.csv",
        [
            {"path": "a.mp4", "labels": json.dumps(["rain", "wind"]), "split": "train"},
            {"path": "b.mp4", "labels": json.dumps(["rain"]), "split": "test"},
        ],
    )
    file = next((digits / "left").iterdir()).relative_to(digits).as_posix()
    scores = {"rain": 0.91, "wind": 0.2, NASTY: 0.55}
    rows = [
        {"file": file, "start": None, "end": None, "truth": ["rain"], "labels": ["rain", NASTY], "scores": scores},
        {"file": file, "start": 0.0, "end": 0.5, "truth": ["rain", NASTY], "labels": ["rain", NASTY], "scores": scores},
        {"file": "gone.mp4", "start": 0.0, "end": 0.5, "truth": [], "labels": [], "scores": dict.fromkeys(labels, 0.1)},
    ]
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


@pytest.fixture
def tag_run(tmp_path: Path, digits: Path) -> Path:
    run = tmp_path / "tags"
    labels = ["idle", "pour", "stir"]
    metrics = {
        "task": "tag",
        "monitor": "val_accuracy",
        "best_epoch": 7,
        "val": {"accuracy": 0.9},
        "test": {"accuracy": measure(0.8765), "macro_f1": measure(0.84)},
        "n_test": 2048,
        "confusion": [[900, 60, 40], [30, 500, 20], [10, 48, 440]],
        "per_class": [
            {
                "label": label,
                "precision": measure(0.9),
                "recall": measure(0.88),
                "f1": measure(0.89),
                "ap": measure(0.91),
                "n": 600,
            }
            for label in labels
        ],
        "controls": {"per_frame_cnn": {"accuracy": measure(0.8612)}},
    }
    write_common(run, digits, labels, metrics)
    files = sorted(path.relative_to(digits).as_posix() for path in digits.glob("*/*.mp4"))
    rows = []
    for number, file in enumerate(files[:9]):
        truth = [labels[(frame // 5 + number) % 3] for frame in range(16)]
        said = [labels[((frame + number % 3) // 5 + number) % 3] for frame in range(16)]
        row = {"file": file, "times": [frame / 12 for frame in range(16)], "truth": [None, *truth[1:]], "labels": said}
        rows.append(row | {"scores": {label: [1 / 3] * 16 for label in labels}})
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


@pytest.fixture
def multitag_run(tmp_path: Path, digits: Path) -> Path:
    """Seven films of 16 frames; nobody holds at frame 0, of frame 15 nothing is known; film n has n wrong frames."""
    run = tmp_path / "heads"
    labels = ["rain", "wind", NASTY]
    heads = [
        {"label": label, "f1": measure(0.7), "ap": measure(0.8), "f1_at_50": measure(0.6), "n": 40 + place}
        for place, label in enumerate(labels)
    ]
    metrics = {
        "task": "multitag",
        "monitor": "val_macro_ap",
        "best_epoch": 4,
        "val": {"macro_ap": 0.8},
        "test": {"macro_ap": measure(0.8123), "macro_f1": measure(0.77), "f1_at_25": measure(0.6612)},
        "n_test": 105,
        "per_class": heads,
        "controls": {"rate": {"macro_ap": measure(0.31)}, "per_frame_cnn": {"macro_ap": measure(0.71)}},
        "controls_per_class": {
            "rate": [{"label": label, "ap": measure(0.31), "n": 40} for label in labels],
            "per_frame_cnn": [{"label": label, "ap": measure(0.4517)} for label in labels[:2]],
        },
    }
    write_common(run, digits, labels, metrics)
    files = sorted(path.relative_to(digits).as_posix() for path in digits.glob("*/*.mp4"))
    rows = []
    for number, file in enumerate(files[:7]):
        truth = [[label for place, label in enumerate(labels) if frame % (place + 2) == 1] for frame in range(15)]
        said = [[NASTY, "wind", "rain"] if frame < number else names for frame, names in enumerate(truth)] + [["rain"]]
        row = {"file": file, "times": [frame / 12 for frame in range(16)], "truth": [*truth, None], "labels": said}
        rows.append(row | {"scores": {label: [frame / 16 for frame in range(16)] for label in labels}})
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


@pytest.fixture
def regress_run(tmp_path: Path, digits: Path) -> Path:
    run = tmp_path / "numbers"
    labels = ["speed", "angle"]
    metrics = {
        "task": "regress",
        "monitor": "val_mae",
        "best_epoch": 9,
        "val": {"mae": 0.31},
        "test": {"mae": {"value": 0.3217, "low": 0.28, "high": 0.36}, "rmse": {"value": 0.41}, "r2": {"value": 0.87}},
        "n_test": 60,
        "controls": {"mean": {"mae": {"value": 1.02, "low": 0.93, "high": 1.1}}},
    }
    write_common(run, digits, labels, metrics)
    rng = np.random.default_rng(0)
    files = sorted(path.relative_to(digits).as_posix() for path in digits.glob("*/*.mp4"))
    rows = []
    for file in files[:60]:
        truth = rng.normal(2, 1.2, 2)
        rows.append(
            {
                "file": file,
                "start": 0.0,
                "end": 1.3,
                "truth": truth.tolist(),
                "values": (truth + rng.normal(0, 0.4, 2)).tolist(),
            }
        )
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


@pytest.fixture
def caption_run(tmp_path: Path) -> Path:
    """40 pictures, a third of them gone, and one film; each word looks at a place of a map of 3 by 4."""
    from PIL import Image

    run, data = tmp_path / "captions", tmp_path / "pictures"
    data.mkdir()
    rng = np.random.default_rng(0)
    labels = ["a", "dog", "cat", "red", "runs", NASTY]
    metrics = {
        "task": "caption",
        "monitor": "val_cider_d",
        "best_epoch": 7,
        "val": {"cider_d": 0.31},
        "test": {
            "bleu_1": measure(0.5521),
            "bleu_4": measure(0.1432),
            "cider_d": measure(0.3144),
            "distinct": measure(0.6),
        },
        "n_test": 41,
        "controls": {
            "constant": {"bleu_1": measure(0.4112), "cider_d": measure(0.0523)},
            "nearest": {"bleu_1": measure(0.4623), "cider_d": measure(0.1234)},
        },
    }
    write_common(run, data, labels, metrics)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["preprocess"] = {"size": [30, 40], "fit": "stretch"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    history = [
        {"epoch": epoch, "val_cider_d": 0.03 * epoch, "val_distinct": 0.05 * epoch, "val_constant_cider_d": 0.05}
        for epoch in range(9)
    ]
    write_rows(run / "history.csv", history)
    film = data / "film.npy"
    np.save(film, rng.integers(0, 255, (5, 3, 30, 40), dtype=np.uint8))
    rows: list[dict[str, object]] = []
    for number in range(41):
        file = "film.npy" if number == 40 else f"{number:02}.png"
        if number % 3 != 2 and number < 40:
            Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(data / file)
        words = [str(word) for word in rng.choice(labels, 4 + number % 3)]
        attention = rng.random((5 if number == 40 else 1, 12))
        said = [
            {
                "word": word,
                "log_prob": float(np.log(rng.uniform(0.05, 1))),
                "attention": (attention / attention.sum()).tolist(),
            }
            for word in words
        ]
        score = sum(float(str(word["log_prob"])) for word in said)
        rows.append(
            {
                "file": file,
                "start": None,
                "end": None,
                "caption": " ".join(words),
                "score": score,
                "captions": [{"caption": " ".join(words), "score": score, "words": said}],
                "truth": [f"A dog runs {number} .", "the red cat <b> sleeps"],
                "cider_d": 9.0 if number == 40 else 0.05 * max(0, number - 10),
            }
        )
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


@pytest.fixture
def several_runs(tmp_path: Path, classify_run: Path) -> Path:
    """Five folds times three seeds, of which one has its own report."""
    parent = tmp_path
    rng = np.random.default_rng(1)
    runs = []
    for fold in range(5):
        for seed in range(3):
            value = float(rng.normal(0.9, 0.03))
            runs.append(
                {
                    "name": f"fold{fold}-seed{seed}",
                    "fold": fold,
                    "seed": seed,
                    "test": {"accuracy": measure(value), "macro_f1": measure(value - 0.01)},
                    "controls": {
                        "majority": {"accuracy": {"value": 0.5}},
                        "per_frame_cnn": {"accuracy": {"value": value - 0.2}},
                    },
                }
            )
    runs[-1]["name"] = classify_run.name
    (classify_run / "report.html").write_text("its own report")
    summary = {
        "task": "classify",
        "monitor": "val_accuracy",
        "runs": runs,
        "test": {"accuracy": {"value": 0.8931, "low": 0.87, "high": 0.91, "n": 15}, "macro_f1": {"value": 0.8834}},
        "controls": {
            "majority": {"accuracy": {"value": 0.5, "low": 0.5, "high": 0.5}},
            "per_frame_cnn": {"accuracy": {"value": 0.6935, "low": 0.66, "high": 0.72}},
        },
    }
    write_json(parent / "summary.json", summary)
    return parent


@pytest.fixture
def runs(
    classify_run: Path, multilabel_run: Path, tag_run: Path, multitag_run: Path, regress_run: Path, caption_run: Path
) -> Callable[[str], Path]:
    made = {
        "classify": classify_run,
        "multilabel": multilabel_run,
        "tag": tag_run,
        "multitag": multitag_run,
        "regress": regress_run,
        "caption": caption_run,
    }
    return made.__getitem__
