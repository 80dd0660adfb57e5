"""The whole road of an experiment: look at the data, split, train, train the control, measure, write the report.

Several seeds or folds are several such roads below one folder, with a mean and its interval above them. Whatever is
finished is not done again, so a resume is the same road walked once more.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

from rich.console import Console

from unreel import inference, reports, training
from unreel.clip import Clip
from unreel.config import RunConfig, to_yaml
from unreel.data import (
    ClipDataset,
    DataReport,
    Example,
    Manifest,
    SamplingConfig,
    Splits,
    at_once,
    by_reason,
    scan,
    split,
)
from unreel.data.readers.audio import is_sound_name
from unreel.data.readers.text import reads_text
from unreel.devices import leads
from unreel.errors import ConfigError, ReadError, RunError
from unreel.inference.copying import evaluate_nearest
from unreel.inference.evaluate import Evaluation, evaluate, evaluate_constant
from unreel.inference.intervals import mean_interval
from unreel.inference.reconstructions import evaluate_copies, reconstruct
from unreel.models import CRDNNConfig
from unreel.runs import Run, load_manifest, load_run_config, output_names, with_vocabulary, write_whole
from unreel.tasks import TASKS
from unreel.training import Best

_WITHOUT_LABELS = ("auc", "ap")  # measures of a reconstruction that cannot be told without labels
CONTROL = "control"  # the folder, inside a run, of the same CNN without recurrence
EXPLAINING = 120.0  # seconds after which no further clip is explained for the report
T = TypeVar("T")
CONTROLS = {
    "text_rnn": "bag_of_words",
    "image_rnn": "plain_cnn",
    "rnn": "perceptron",
    "captioner": "unordered_frames",
}  # what such a control is called, where it is another


def fit(config: RunConfig, out: str | Path, console: Console | None = None) -> Run:
    """Train, measure and explain: everything from clips to `report.html`.

    Args:
        config: the whole run. `seeds` above 1, or `data.split.folds`, makes one run each below `out`.
        out: the folder to make. It must not hold a run yet.
        console: where progress is drawn; the error stream by default.

    Returns:
        The run; of several, the first.

    Raises:
        RunError: `out` holds a run already.
        UnreelError: the data or the settings cannot be used; told before training starts.
    """
    out = Path(out)
    if leads() and (out / "config.yaml").exists():
        raise RunError(f"{out}: expected a folder without a run; resume it, or choose another one with --out")
    if leads():  # one that was killed before it began may have looked at other data
        (out / "data.json").unlink(missing_ok=True)
    console = console or Console(stderr=True)
    return _all(settled(config, console), out, console)


def resume(out: str | Path, console: Console | None = None) -> Run:
    """Go on where `fit` was stopped.

    Raises:
        RunError: `out` is not a folder that `fit` began.
    """
    out = Path(out)
    return _all(load_run_config(out), out, console or Console(stderr=True))


def settled(config: RunConfig, console: Console) -> RunConfig:
    """The configuration that the data asks for where it leaves that open.

    Texts and sounds, and whatever crdnn hears, are taken whole, unless another sampling was asked for. `tag` says one
    of all labels of each frame. Where the data names heads, or where two labels hold at once, it becomes `multitag`,
    which says of each label whether it holds; the console tells why.
    """
    manifest = load_manifest(config)
    whole = isinstance(config.model, CRDNNConfig) or all(
        reads_text(example.path) or is_sound_name(example.path) for example in manifest.examples
    )
    if whole and config.data.sampling == SamplingConfig():
        config = replace(config, data=replace(config.data, sampling=SamplingConfig("all")))
    if config.task != "tag":
        return config
    why = f"each row of the labels is a head ({', '.join(manifest.heads)})" if manifest.heads else ""
    why = why or at_once(manifest.examples)
    if not why:
        return config
    console.print(f"task multitag, a sigmoid for each label: {why}", highlight=False, markup=False)
    return replace(config, task="multitag")


def expand(config: RunConfig) -> dict[str, RunConfig]:
    """One configuration for each fold and seed, by the name of its folder."""
    folds: Sequence[int | None] = [config.data.split.fold]
    if config.data.split.folds and config.data.split.fold is None:
        folds = range(config.data.split.folds)
    members = {}
    for fold in folds:
        for seed in range(config.seed, config.seed + config.seeds):
            name = f"seed{seed}" if fold is None else f"fold{fold}-seed{seed}"
            data = replace(config.data, split=replace(config.data.split, fold=fold))
            members[name] = replace(config, data=data, seed=seed, seeds=1)
    return members


def survey(config: RunConfig, out: Path, console: Console) -> tuple[Manifest, DataReport]:
    """What there is to learn from: the readable examples, and the report on all of them, kept in `out/data.json`."""
    manifest = load_manifest(config)
    stored = out / "data.json"
    if stored.is_file():
        report = DataReport.from_json(stored.read_text(encoding="utf-8"))
    else:
        shown = _without_numbers(manifest) if config.task in ("trace", "sequence") else manifest
        report = scan(shown, config.data.workers, console, reading=config.data.reading)
        write_whole(stored, report.to_json())
    unreadable = report.unreadable
    for files, reason in by_reason(unreadable):
        console.print(f"left out: {files}: {reason}", style="yellow", highlight=False, markup=False)
    readable = tuple(example for example in manifest.examples if example.path not in unreadable)
    if not readable:
        raise ConfigError(f"{config.data.path}: none of {len(manifest)} clips can be read; the reasons are in {stored}")
    return replace(manifest, examples=readable), report


def _without_numbers(manifest: Manifest) -> Manifest:
    """The same clips without labels: numbers over time are no classes to be counted."""
    return replace(manifest, examples=tuple(replace(one, labels=(), segments=()) for one in manifest.examples))


def look(
    config: RunConfig, manifest: Manifest, learned_from: Sequence[Example] | None = None
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names of the outputs, and the shape of a preprocessed frame, (C, H, W) or (D,); () of texts.

    Args:
        config: says what an output means.
        manifest: what there is.
        learned_from: the training side; None for all of it.
    """
    labels = output_names(config, manifest, manifest.examples if learned_from is None else learned_from)
    data = config.data
    clips = ClipDataset(
        manifest.examples, manifest.root, SamplingConfig(frames=1), data.preprocess, reading=data.reading
    )
    for index in range(len(clips)):
        clip = clips[0, index]
        if isinstance(clip, Clip):
            return labels, tuple(clip.frames.shape[1:])
    raise ConfigError(f"{config.data.path}: none of {len(manifest)} clips can be read")


def headline(out: str | Path) -> str:
    """The numbers of a finished folder in a few lines: each measure, with the controls beside it."""
    out = Path(out)
    name = "summary.json" if (out / "summary.json").is_file() else "metrics.json"
    numbers = json.loads((out / name).read_text(encoding="utf-8"))
    if "test" not in numbers:
        return "no test clips: nothing was measured"
    lines = []
    for measure, value in numbers["test"].items():
        if measure in _WITHOUT_LABELS and value["value"] is None:
            continue
        show = partial(_shown, digits=".3g" if measure == "mse" else ".3f")
        beside = [
            f"{control} {show(values[measure]['value'])}" for control, values in numbers.get("controls", {}).items()
        ]
        interval = "" if value["low"] is None else f"[{show(value['low'])}, {show(value['high'])}]"
        lines.append(f"{measure:>10}  {show(value['value'])}  {interval}  {'  '.join(beside)}")
    return "\n".join(lines)


def _shown(number: float | None, digits: str) -> str:
    return "unknown" if number is None else f"{number:{digits}}"


def _all(config: RunConfig, out: Path, console: Console) -> Run:
    out.mkdir(parents=True, exist_ok=True)
    # absolute, since a resume may start from another folder
    path, cache = str(Path(config.data.path).absolute()), config.data.cache_dir or str((out / "cache").absolute())
    config = replace(config, data=replace(config.data, path=path, cache_dir=cache))
    manifest, report = survey(config, out, console)
    members = expand(config)
    if len(members) == 1:
        return _one(next(iter(members.values())), out, manifest, report, console)
    write_whole(out / "config.yaml", to_yaml(config))
    runs = [_one(member, out / name, manifest, report, console) for name, member in members.items()]
    if not leads():
        return runs[0]
    write_whole(out / "summary.json", json.dumps(_summary(runs), indent=1))
    reports.write_summary(out)
    return runs[0]


def _one(config: RunConfig, folder: Path, manifest: Manifest, report: DataReport, console: Console) -> Run:
    """One fold and seed, with its control."""
    if (folder / "metrics.json").is_file():
        run = Run.load(folder)
        if leads() and not (folder / "report.html").is_file():  # killed after measuring
            _write_report(run)
        return run
    started = time.monotonic()
    by_label = config.task == "regress" or TASKS[config.task].has_classes
    splits = split(manifest, config.data.split, by_label)
    run, best = _train(config, folder, manifest, splits, console)
    run.write_text("data.json", report.to_json())
    run.write_left_out(report.unreadable)
    numbers: dict[str, Any] = {
        "task": config.task,
        "monitor": best.monitor,
        "best_epoch": best.epoch,
        "val": {best.monitor.removeprefix("val_"): best.value},
    }
    control = _train_control(run, manifest, splits, console)
    if not leads():
        return run
    if splits.test:
        measured = evaluate(run)
        if measured.caution:
            console.print(f"{run.name}: {measured.caution}", style="yellow", highlight=False, markup=False)
        rows = reports.lightened(measured.rows) if run.config.task == "caption" else measured.rows
        run.write_rows("predictions.jsonl", rows)
        run.write_left_out(measured.left_out)
        if run.config.task == "reconstruct":
            _write_pictures(run, splits, measured)
        numbers |= measured.to_json() | _controls(run, control, splits, measured)
    run.write_json("metrics.json", numbers | {"seconds": round(time.monotonic() - started, 1)})
    _write_report(run)
    return run


def _write_report(run: Run) -> None:
    """Explain a few test clips, errors and hits, for as long as `EXPLAINING` lets, and write the page."""
    rows = reports.worth_explaining(run.config.task, run.read_rows("predictions.jsonl"))
    by_place = {(example.path, example.start, example.end): example for example in run.splits().test}
    places = [(row["file"], row["start"], row["end"]) for row in rows]
    examples = [by_place[place] for place in places if place in by_place]
    if examples:
        # of captions all words share one look at each covered place, so that places can be covered too
        found = inference.explain_examples(run, examples, run.root, with_patches=run.config.task == "caption")
        reports.write_explanations(_within(found, EXPLAINING), run.folder / reports.EXPLANATIONS)
    reports.write(run.folder)


def _within(several: Iterable[T], seconds: float) -> Iterator[T]:
    """What comes before so much time has gone by; at least one."""
    started = time.monotonic()
    for one in several:
        yield one
        if time.monotonic() - started > seconds:
            return


def _write_pictures(run: Run, splits: Splits, measured: Evaluation) -> None:
    """Pictures of what was made of the films that the report will show; none of those that have gone since."""
    folder = run.folder / reports.reconstructions.FOLDER
    folder.mkdir(exist_ok=True)
    by_path = {example.path: example for example in splits.test}
    for place, row in enumerate(reports.reconstructions.chosen(measured.rows)):
        try:
            frames, made = reconstruct(run, by_path[row["file"]], reports.reconstructions.shown(row))
        except ReadError:
            continue
        (folder / f"{place}.png").write_bytes(reports.reconstructions.picture(frames.numpy(), made.numpy()))


def _train(config: RunConfig, folder: Path, manifest: Manifest, splits: Splits, console: Console) -> tuple[Run, Best]:
    if (folder / "manifest.csv").is_file():
        run = Run.load(folder)
        splits = run.splits()
    else:
        labels, frame_shape = look(config, manifest, splits.train)
        vocabulary = None
        if frame_shape == ():
            config, vocabulary = with_vocabulary(config, splits.train, manifest.root)
        run = Run.create(folder, config, labels, frame_shape, vocabulary)
        run.write_splits(manifest, splits)
    return run, training.fit(run, splits, console, resume=True)


def _train_control(run: Run, manifest: Manifest, splits: Splits, console: Console) -> Run | None:
    """The same CNN without recurrence, trained alike; None where it is the model itself, or not asked for."""
    model = run.config.model
    if not run.config.training.control or model == model.control():
        return None
    config = replace(run.config, model=model.control(), training=replace(run.config.training, control=False))
    return _train(config, run.folder / CONTROL, manifest, splits, console)[0]


def _controls(run: Run, control: Run | None, splits: Splits, measured: Evaluation) -> dict[str, Any]:
    """The controls, and where labels were measured one by one, those of each control."""
    if run.config.task == "reconstruct":
        found = evaluate_copies(run, splits.train, splits.test)
    elif run.config.task == "caption":
        found = {
            "constant": evaluate_constant(run, splits.train, measured),
            "nearest": evaluate_nearest(run, splits.train, splits.test, measured),
        }
    else:
        name = "majority" if run.task_type.has_classes else "mean"
        name = {"multitag": "rate"}.get(run.config.task, name)
        found = {name: evaluate_constant(run, splits.train, measured)}
    if control is not None:
        found[CONTROLS.get(run.config.model.name, "per_frame_cnn")] = evaluate(control)
    by_class = {name: one.per_class for name, one in found.items() if one.per_class is not None}
    return {"controls": {name: one.to_json()["test"] for name, one in found.items()}, "controls_per_class": by_class}


def _summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Every run's numbers, their mean, and Student's interval.

    Runs of one fold share their test clips, so seeds are averaged first and the interval is over folds. Without folds
    it is over seeds, and then says nothing of other clips.
    """
    rows = []
    for run in runs:
        numbers = run.read_json("metrics.json")
        place = {"name": run.name, "fold": run.config.data.split.fold, "seed": run.config.seed}
        rows.append(place | {key: numbers[key] for key in ("test", "controls") if key in numbers})
    monitor = f"val_{runs[0].config.monitor}"
    summary: dict[str, Any] = {"task": runs[0].config.task, "monitor": monitor, "runs": rows}
    if all("test" in row for row in rows):
        folds = [row["fold"] for row in rows]
        summary["test"] = _means([row["test"] for row in rows], folds)
        summary["controls"] = {
            name: _means([row["controls"][name] for row in rows], folds) for name in rows[0]["controls"]
        }
    return summary


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _means(
    tables: Sequence[Mapping[str, Mapping[str, float | None]]], folds: Sequence[int | None]
) -> dict[str, dict[str, float | None]]:
    means = {}
    for name in tables[0]:
        by_fold: dict[int | None, list[float]] = {}
        for table, fold in zip(tables, folds, strict=True):
            by_fold.setdefault(fold, []).append(_number(table[name]["value"]))
        # unknown in one, unknown in the mean: the mean of the others would be of other clips
        several = [fmean(values) for values in by_fold.values()]
        means[name] = mean_interval(several if len(several) > 1 else by_fold[folds[0]]).to_json() | {"n": len(tables)}
    return means
