"""The command line: verbs, each a few lines. `unreel VERB --help` tells the flags.

What a verb does is said in the rooms below; here stands only what a person types and sees.
"""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import fields, replace
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import get_type_hints

from jsonargparse import Namespace
from rich.console import Console

from unreel import data, demo, experiment, inference, reports
from unreel.config import RunConfig, build_parser, from_namespace, model_named, to_yaml
from unreel.devices import keep_freed_memory, leads
from unreel.errors import ConfigError, UnreelError
from unreel.models.summary import summarize
from unreel.nearest import nearest
from unreel.nn import SearchConfig
from unreel.parsing import ConfigParser
from unreel.runs import Run, build_model, load_manifest, with_vocabulary
from unreel.training import StoppedError

USAGE = """\
unreel: CNN-recurrent models over anything that comes frame by frame

  unreel scan DATA                what is there: counts, lengths, sizes, broken files, duplicates
  unreel train DATA --out RUN     learn, measure, explain: weights, numbers and RUN/report.html
  unreel train --resume RUN       go on where it was stopped
  unreel evaluate RUN [DATA]      measure a run on labelled clips (its own test side without DATA)
  unreel predict RUN PATHS...     one JSON row a clip
  unreel explain RUN FILES...     which frames and which places of a clip counted: pictures, rows, a page
  unreel report RUN               write RUN/report.html again
  unreel summary DATA             every layer of the model that would be trained
  unreel demo                     all of it on moving digits, offline, in minutes
  unreel download NAME [DIR]      a public set of images: cifar10, mnist, fashion_mnist, kmnist

DATA is a folder of class folders, a zip of them, a table (CSV, JSONL), files of many labelled images or volumes (.npz,
IDX, CIFAR-10), a folder of films with labels beside them, or scans as MRNet lays them out.
unreel VERB --help tells the flags of a verb."""

SHORT_FLAGS = {
    "--epochs": "--training.epochs",
    "--workers": "--data.workers",
    "--batch-size": "--data.batch_size",
    "--frames": "--data.sampling.frames",
    "--planes": "--data.volume.planes",
    "--size": "--data.preprocess.size",
    "--group-from": "--data.manifest.group_from",
    "--pattern": "--data.manifest.pattern",
    "--label-column": "--data.manifest.label_column",
    "--text-column": "--data.manifest.text_column",
    "--caption-column": "--data.manifest.caption_column",
    "--group-column": "--data.manifest.group_column",
    "--folds": "--data.split.folds",
    "--lr": "--optim.lr",
}
"""Flags that people type often, and the leaf of the configuration that each stands for."""
TABLE_FLAGS = {
    name: long.replace("--data.", "--") for name, long in SHORT_FLAGS.items() if long.startswith("--data.manifest.")
}
"""Those of verbs that read a table without a whole configuration."""
SEARCH = "--caption.search."
"""How flags begin that say how captions are searched for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the return value is the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be no UTF-8
    keep_freed_memory()
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    console = Console(stderr=True)
    if verb in ("-h", "--help", "help"):
        print(USAGE)
        return 0
    try:
        if verb not in VERBS:
            raise ConfigError(f"unknown verb {verb!r}{nearest(verb, VERBS)}; unreel --help lists them")
        VERBS[verb](rest, console)
    except StoppedError as error:
        if leads():  # all processes that train together stop, and one says it
            _tell(error, console)
        return 130
    except UnreelError as error:
        _tell(error, console)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our rows has gone, as `head` does
        return 0
    return 0


def scan(arguments: Sequence[str], console: Console) -> None:
    """Show what is there."""
    parser = _parser(
        "scan", "Counts per class, lengths, sizes, frame rates, unreadable files, duplicates.", TABLE_FLAGS
    )
    parser.add_class_arguments(data.ManifestConfig, "manifest")
    parser.add_class_arguments(data.TextConfig, "text")
    parser.add_class_arguments(data.SoundConfig, "sound")
    parser.add_class_arguments(data.VolumeConfig, "volume")
    parser.add_argument("DATA", type=str, help="a folder of class folders, a zip of them, or a table")
    parser.add_argument("--workers", type=int, default=2, help="processes that open clips")
    parser.add_argument("--json", type=str | None, default=None, help="also write the report to this file")
    parser.add_argument("--plot", type=str | None, default=None, help="also write the plots to this PNG file")
    values = parser.instantiate(parser.parse_args(arguments))
    manifest = data.load(values.DATA, values.manifest)
    reading = data.Reading(values.text, sound=values.sound, volume=values.volume)
    report = data.scan(manifest, values.workers, console, reading=reading)
    for table in report.tables():
        Console().print(table)
    if values.json:
        Path(values.json).write_text(report.to_json(), encoding="utf-8", errors="backslashreplace")
    if values.plot:
        Path(values.plot).write_bytes(data.scan_plot(report))


def train(arguments: Sequence[str], console: Console) -> None:
    """Learn from clips, or go on with it."""
    parser = _config_parser(
        "train", arguments, "unreel train DATA [--out RUN] [settings]\n       unreel train --resume RUN"
    )
    parser.add_argument("--out", type=str | None, default=None, help="the run's folder; runs/NAME-N by default")
    parser.add_argument("--resume", type=str | None, default=None, help="a run's folder to go on with")
    parser.add_argument("--print_config", action="store_true", help="print all settings as YAML, and train nothing")
    values = parser.parse_args(arguments)
    if values.print_config:
        print(to_yaml(_configuration(parser, values)), end="")
        return
    if values.resume:
        beside = values.clone()
        beside.resume = None
        if beside != parser.parse_args([]):
            raise ConfigError("--resume goes on with the run's own DATA and settings: leave the other flags out")
        out = Path(values.resume)
        with _told_how_to_go_on(out):
            experiment.resume(out, console)
    else:
        config = _with_data(_configuration(parser, values))
        out = Path(values.out) if values.out else _free_folder(Path("runs"), Path(config.data.path).stem or "run")
        with _told_how_to_go_on(out):
            experiment.fit(config, out, console)
    if not leads():
        return
    console.print(experiment.headline(out), highlight=False)
    print(out / "report.html")


def evaluate(arguments: Sequence[str], console: Console) -> None:
    """Measure a run."""
    parser = _parser("evaluate", "Values with 95 % intervals as JSON.", TABLE_FLAGS)
    parser.add_class_arguments(data.ManifestConfig, "manifest")
    parser.add_argument("RUN", type=str, help="a folder that `unreel train` made")
    parser.add_argument("DATA", type=str | None, nargs="?", default=None, help="labelled clips; else its own test side")
    parser.add_argument("--rows", type=str | None, default=None, help="write one JSON row a clip to this file")
    _add_search_flags(parser)
    values = parser.instantiate(parser.parse_args(arguments))
    manifest = None if values.manifest == data.ManifestConfig() else values.manifest  # None: as the run's own data
    measured = inference.evaluate(_searching(Run.load(values.RUN), values), values.DATA, manifest)
    if measured.caution:
        console.print(measured.caution, style="yellow", highlight=False, markup=False)
    for files, reason in data.by_reason(measured.left_out):
        console.print(f"left out: {files}: {reason}", style="yellow", highlight=False, markup=False)
    if values.rows:
        rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in measured.rows)
        Path(values.rows).write_text(rows, encoding="utf-8")
    print(json.dumps(measured.to_json(), indent=1, ensure_ascii=False))


def predict(arguments: Sequence[str], console: Console) -> None:
    """Print rows."""
    parser = _parser("predict", "One JSON row a clip: file, seconds, labels, scores; or file and error.")
    parser.add_argument("RUN", type=str, help="a folder that `unreel train` made")
    parser.add_argument("PATHS", type=str, nargs="*", default=[], help="files, folders, patterns")
    parser.add_argument("--text", type=str | None, default=None, help="a text in place of PATHS")
    parser.add_argument("--out", type=str | None, default=None, help="write to this file instead of the terminal")
    parser.add_argument(
        "--timelines",
        type=str | None,
        default=None,
        help="labels, or errors, of frames: draw each film as a PNG into this folder; beside --out by default",
    )
    _add_search_flags(parser)
    values = parser.parse_args(arguments)
    if not values.PATHS and values.text is None:
        raise ConfigError("expected PATHS, files or folders to predict on: unreel predict RUN PATHS...")
    broken = 0
    run = _searching(Run.load(values.RUN), values)
    rows_of_text = [] if values.text is None else inference.predict_texts(run, [values.text])
    target = values.out and Path(values.out)
    drawn = _timelines_folder(run, target, values.timelines)
    films: dict[str, list[Mapping[str, object]]] = {}
    with target.open("w", encoding="utf-8", errors="backslashreplace") if target else nullcontext(sys.stdout) as file:
        for row in chain(rows_of_text, inference.predict(run, values.PATHS) if values.PATHS else ()):
            broken += "error" in row
            print(json.dumps(row, ensure_ascii=False), file=file, flush=True)
            if drawn and "file" in row and "error" not in row:
                films.setdefault(row["file"], []).append(row)
    if drawn:
        for name, rows in zip(_distinct_names(films), films.values(), strict=True):
            (drawn / name).write_bytes(_timeline(run, rows))
    if broken:
        console.print(f"{broken} files could not be read: their rows have an error", style="yellow", highlight=False)


def _timelines_folder(run: Run, target: Path | None, asked: str | None) -> Path | None:
    """The folder of timelines, made now; None where none are drawn."""
    drawn = (*reports.FRAME_TASKS, "reconstruct")
    if run.config.task not in drawn:
        if asked:
            raise ConfigError(f"--timelines draws what is said of frames ({', '.join(drawn)}), this run has none")
        return None
    beside = target.with_suffix(".timelines") if target and not run.reads_text else None  # texts are short, and many
    folder = Path(asked) if asked else beside
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _timeline(run: Run, rows: Sequence[Mapping[str, object]]) -> bytes:
    """One film, drawn from all of its rows."""
    if run.config.task == "reconstruct":
        return reports.errors_png(rows)
    return reports.timeline_png(rows, run.labels, Path(), run.reading)


def _distinct_names(files: Iterable[str]) -> list[str]:
    """A PNG's name for each film: its own, with a number where an earlier one has it."""
    names: dict[str, None] = {}
    for file in files:
        stem = Path(file).name
        places = (f"{stem}{'' if number == 1 else f'-{number}'}.png" for number in range(1, len(names) + 2))
        names[next(place for place in places if place not in names)] = None
    return list(names)


def explain(arguments: Sequence[str], console: Console) -> None:
    """Show which frames and which places counted."""
    parser = _parser("explain", "A picture and a row a clip, and a page with all: which frames, which places counted.")
    parser.add_argument("RUN", type=str, help="a folder that `unreel train` made")
    parser.add_argument("FILES", type=str, nargs="*", help="files, folders, patterns")
    parser.add_argument("--split", type=str | None, default=None, help="in place of files: train, val or test")
    parser.add_argument(
        "--target", type=str | None, default=None, help="the label, or caption, to explain; else what the model says"
    )
    parser.add_argument("--method", type=inference.Method, default="hires_cam", help="how gradients weigh the maps")
    parser.add_argument(
        "--most", type=int | None, default=None, help="frames of the longest clip explained; by default 256 pictures"
    )
    parser.add_argument("--out", type=str, required=True, help="the folder to write")
    values = parser.parse_args(arguments)
    explained = inference.explain(
        Run.load(values.RUN), values.FILES, values.split, values.target, values.method, values.most
    )
    page, broken = reports.write_explanations(explained, Path(values.out))
    if broken:
        console.print(f"{broken} clips could not be explained: their rows have an error", style="yellow")
    print(page)


def report(arguments: Sequence[str], console: Console) -> None:
    """Write the report of a run again."""
    parser = _parser("report", "RUN/report.html from what lies in the run's folder.")
    parser.add_argument("RUN", type=str, help="a folder that `unreel train` made")
    folder = Path(parser.parse_args(arguments).RUN)
    print(
        reports.write_summary(folder) if (folder / "summary.json").is_file() else reports.write(Run.load(folder).folder)
    )


def summary(arguments: Sequence[str], console: Console) -> None:
    """Print the layers."""
    parser = _config_parser("summary", arguments, "unreel summary DATA [settings]")
    values = parser.parse_args(arguments)
    config = _with_data(_configuration(parser, values))
    manifest = load_manifest(config)
    labels, frame_shape = experiment.look(config, manifest)
    if frame_shape == ():
        config, _ = with_vocabulary(config, manifest.examples, manifest.root)
    print(summarize(build_model(config, labels, frame_shape), frame_shape, config.data.sampling.frames))


def run_demo(arguments: Sequence[str], console: Console) -> None:
    """All of it on moving digits."""
    parser = _parser("demo", "Make clips of moving digits, train, evaluate, predict, report: offline, in minutes.")
    parser.add_argument("--out", type=str, default="demo", help="the folder for clips and run")
    demo.run(Path(parser.parse_args(arguments).out), console)


def download(arguments: Sequence[str], console: Console) -> None:
    """Fetch a public set of images."""
    parser = _parser("download", "Fetch a public set of images into DIR/NAME, check it, and print that folder.")
    parser.add_argument("NAME", type=str, help=", ".join(data.IMAGE_SETS))
    parser.add_argument("DIR", type=str, nargs="?", default="data", help="where the folder is made; ./data by default")
    values = parser.parse_args(arguments)
    print(data.download(values.NAME, values.DIR))


VERBS: dict[str, Callable[[Sequence[str], Console], None]] = {
    "scan": scan,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "explain": explain,
    "report": report,
    "summary": summary,
    "demo": run_demo,
    "download": download,
}


def _parser(verb: str, description: str, short_flags: Mapping[str, str] = MappingProxyType({})) -> ConfigParser:
    parser = ConfigParser(prog=f"unreel {verb}", description=description, allow_abbrev=False)
    return _shortened(parser, short_flags)


def _config_parser(verb: str, arguments: Sequence[str], usage: str) -> ConfigParser:
    parser = build_parser(f"unreel {verb}", model_named(arguments))
    parser.usage = usage
    parser.add_argument("DATA", type=str | None, nargs="?", default=None, help="where the clips are: sets data.path")
    return _shortened(parser, SHORT_FLAGS)


def _tell(error: UnreelError, console: Console) -> None:
    console.print(f"unreel: {error}", style="bold red", highlight=False, markup=False, soft_wrap=True)


def _add_search_flags(parser: ConfigParser) -> None:
    """A flag for each setting of the search for captions; what is left out is as the run has it."""
    kinds = get_type_hints(SearchConfig)
    for setting in fields(SearchConfig):
        parser.add_argument(
            f"{SEARCH}{setting.name}",
            type=kinds[setting.name] | None,
            default=None,
            help="captions: as the run has it by default",
        )


def _searching(run: Run, values: Namespace) -> Run:
    """The run, with the search for captions that flags ask for."""
    asked = {setting.name: values[f"{SEARCH.removeprefix('--')}{setting.name}"] for setting in fields(SearchConfig)}
    given = {name: value for name, value in asked.items() if value is not None}
    return run.searching(replace(run.config.caption.search, **given)) if given else run


def _shortened(parser: ConfigParser, flags: Mapping[str, str]) -> ConfigParser:
    parser.short_flags = flags
    if flags:
        parser.epilog = "short flags: " + ", ".join(f"{short} for {long}" for short, long in flags.items())
    return parser


@contextmanager
def _told_how_to_go_on(out: Path) -> Iterator[None]:
    """Whoever stops a training is told what to type to go on with it."""
    command = f"go on with: unreel train --resume {shlex.quote(str(out))}"
    try:
        yield
    except StoppedError as error:
        raise StoppedError(f"{error}; {command}") from error
    except KeyboardInterrupt as error:
        begun = (out / "config.yaml").is_file()
        raise StoppedError(f"stopped; {command if begun else 'nothing was begun, nothing is lost'}") from error


def _configuration(parser: ConfigParser, values: Namespace) -> RunConfig:
    config = from_namespace(parser, values)
    return replace(config, data=replace(config.data, path=values.DATA or config.data.path))


def _with_data(config: RunConfig) -> RunConfig:
    if not config.data.path:
        raise ConfigError("expected DATA, a folder of clips or a table: unreel train DATA")
    return config


def _free_folder(parent: Path, name: str) -> Path:
    return next(path for number in range(1, 10**6) if not (path := parent / f"{name}-{number}").exists())
