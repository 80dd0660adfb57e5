"""What a person types and sees: every verb on tiny data, from scanning to predicting, and what is refused."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from unreel import experiment
from unreel.cli import VERBS, main
from unreel.data import downloading
from unreel.data.downloading import IMAGE_SETS, ImageSet
from unreel.training import fitting

from conftest import write_moving_dots  # isort: skip
from test_resume import StopAfter  # isort: skip

TINY = [
    *("--epochs", "1", "--size", "[8,8]", "--frames", "4", "--batch-size", "8", "--workers", "0"),
    *("--data.preprocess.channels", "grey", "--data.split.test", "0.25", "--data.split.val", "0.25"),
    *("--model.encoder.channels", "[4]", "--model.encoder.features", "8", "--model.hidden_size", "8"),
    *("--training.accelerator", "cpu", "--training.control", "false"),
]


class Said(str):
    """What a command wrote to the terminal: output as the text itself, and beside it status and errors."""

    status: int
    err: str


class Terminal:
    """Types commands."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str | Path, status: int = 0) -> Said:
        self.capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = self.capsys.readouterr()
        assert code == status, captured.err
        said = Said(captured.out)
        said.status, said.err = code, captured.err
        return said

    def refused(self, *arguments: str | Path) -> str:
        said = self(*arguments, status=2)
        assert (said, said.err.count("\n")) == ("", 1)
        assert said.err.startswith("unreel: ")
        return said.err.removeprefix("unreel: ").rstrip()


@pytest.fixture
def unreel(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


@pytest.fixture(scope="module")
def dots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_moving_dots(tmp_path_factory.mktemp("cli") / "dots")


@pytest.fixture(scope="module")
def run(dots: Path) -> Path:
    """A trained run, made at the command line."""
    folder = dots.parent / "a run, ünïcode"
    assert main(["train", str(dots), "--out", str(folder), *TINY]) == 0
    return folder


def rows_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_help_names_every_verb(unreel: Terminal) -> None:
    for arguments in ([], ["--help"], ["help"]):
        said = unreel(*arguments)
        assert all(f"unreel {verb}" in said for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert f"usage: unreel {verb}" in capsys.readouterr().out


def test_short_flags_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "--epochs for --training.epochs" in " ".join(capsys.readouterr().out.split())


def test_an_unknown_verb(unreel: Terminal) -> None:
    assert unreel.refused("trian") == "unknown verb 'trian' - did you mean train?; unreel --help lists them"


def test_scan(unreel: Terminal, dots: Path, tmp_path: Path) -> None:
    said = unreel("scan", dots, "--workers", "1", "--json", tmp_path / "s.json", "--plot", tmp_path / "s.png")
    assert "left" in said
    assert "right" in said
    report = json.loads((tmp_path / "s.json").read_text())
    assert report["classes"] == {"left": 12, "right": 12}
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_scan_of_nothing(unreel: Terminal, tmp_path: Path) -> None:
    assert "nothing is there" in unreel.refused("scan", tmp_path / "none")
    assert "did you mean --workers?" in unreel.refused("scan", tmp_path, "--worker", "3")


def test_train_leaves_a_run_folder(unreel: Terminal, dots: Path, tmp_path: Path) -> None:
    said = unreel("train", dots, "--out", tmp_path / "run", *TINY)
    assert said == f"{tmp_path / 'run' / 'report.html'}\n"
    assert "epoch 1/1" in said.err
    assert "accuracy" in said.err
    expected = (
        "config.yaml versions.json labels.json frame.json manifest.csv left_out.csv data.json history.csv model.txt"
    )
    expected += " checkpoint.safetensors weights.safetensors metrics.json predictions.jsonl report.html tensorboard"
    expected += " explanations"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(expected.split())


def test_train_chooses_a_free_folder(
    unreel: Terminal, dots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "dots-1").mkdir(parents=True)
    chosen = []
    monkeypatch.setattr(experiment, "fit", lambda config, out, console: chosen.append(out))
    monkeypatch.setattr(experiment, "headline", lambda out: "")
    assert unreel("train", dots, *TINY) == f"{Path('runs/dots-2/report.html')}\n"
    assert chosen == [Path("runs/dots-2")]


def test_train_never_overwrites_a_run(unreel: Terminal, dots: Path, run: Path) -> None:
    before = (run / "weights.safetensors").read_bytes()
    said = unreel.refused("train", dots, "--out", run, *TINY)
    assert said == f"{run}: expected a folder without a run; resume it, or choose another one with --out"
    assert (run / "weights.safetensors").read_bytes() == before


def test_train_needs_data(unreel: Terminal) -> None:
    assert unreel.refused("train") == "expected DATA, a folder of clips or a table: unreel train DATA"


def test_resume_of_nothing(unreel: Terminal, dots: Path, tmp_path: Path) -> None:
    said = unreel.refused("train", "--resume", tmp_path / "none")
    assert said == f"{tmp_path / 'none'}: expected a folder made by `unreel train`, got nothing there"
    assert "got one without config.yaml" in unreel.refused("train", "--resume", dots)
    assert not (tmp_path / "none").exists()


def test_resume_takes_no_settings(unreel: Terminal, dots: Path, run: Path) -> None:
    for more in (["--epochs", "9"], [dots], ["--out", "elsewhere"]):
        assert "leave the other flags out" in unreel.refused("train", "--resume", run, *more)


def test_resume_of_a_finished_run_changes_nothing(unreel: Terminal, run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.iterdir() if path.is_file()}
    assert unreel("train", "--resume", run) == f"{run / 'report.html'}\n"
    assert {path: path.stat().st_mtime_ns for path in run.iterdir() if path.is_file()} == before


def test_ctrl_c_says_how_to_go_on(
    unreel: Terminal, dots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = fitting.build_trainer

    def build_stopping(*arguments):
        trainer = build(*arguments)
        trainer.callbacks.insert(0, StopAfter(1))
        return trainer

    out = tmp_path / "my run"
    monkeypatch.setattr(fitting, "build_trainer", build_stopping)
    said = unreel("train", dots, "--out", out, *TINY, status=130)
    monkeypatch.setattr(fitting, "build_trainer", build)
    last = said.err.splitlines()[-1]
    assert last.startswith("unreel: stopped by SIGINT after step 1; the state is saved; go on with: ")
    command = shlex.split(last.partition("go on with: ")[2])
    assert command == ["unreel", "train", "--resume", str(out)]
    assert unreel(*command[1:]) == f"{out / 'report.html'}\n"


def test_ctrl_c_outside_of_training_steps(
    unreel: Terminal, dots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "scan", interrupted)
    said = unreel("train", dots, "--out", tmp_path / "run", *TINY, status=130)
    assert said.err == "unreel: stopped; nothing was begun, nothing is lost\n"
    monkeypatch.undo()
    monkeypatch.setattr(experiment, "evaluate", interrupted)
    said = unreel("train", dots, "--out", tmp_path / "run", *TINY, status=130)
    assert said.err.splitlines()[-1] == f"unreel: stopped; go on with: unreel train --resume {tmp_path / 'run'}"


def test_evaluate_on_the_test_side(unreel: Terminal, run: Path, tmp_path: Path) -> None:
    numbers = json.loads(unreel("evaluate", run, "--rows", tmp_path / "rows.jsonl"))
    stored = json.loads((run / "metrics.json").read_text())
    assert numbers == {name: stored[name] for name in numbers}
    assert (tmp_path / "rows.jsonl").read_text() == (run / "predictions.jsonl").read_text()


def test_evaluate_on_other_data(unreel: Terminal, run: Path, dots: Path) -> None:
    assert json.loads(unreel("evaluate", run, dots))["n_test"] == 24
    assert json.loads(unreel("evaluate", run, dots / "manifest.csv"))["n_test"] == 24


def test_evaluate_reads_a_table_as_the_run_did(unreel: Terminal, dots: Path, tmp_path: Path) -> None:
    table = dots / "other names.csv"
    with (dots / "manifest.csv").open() as file:
        rows = [{"path": row["path"], "way": row["label"], "who": row["group"]} for row in csv.DictReader(file)]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "way", "who"])
        writer.writeheader()
        writer.writerows(rows)
    columns = ["--label-column", "way", "--group-column", "who"]
    unreel("train", table, "--out", tmp_path / "run", *TINY, *columns)
    numbers = unreel("evaluate", tmp_path / "run", table)
    assert json.loads(numbers)["n_test"] == 24
    assert unreel("evaluate", tmp_path / "run", table, *columns) == numbers
    assert "expected a column 'class'" in unreel.refused("evaluate", tmp_path / "run", table, "--label-column", "class")


def test_evaluate_refuses_labels_that_the_run_does_not_know(
    unreel: Terminal, run: Path, dots: Path, tmp_path: Path
) -> None:
    shutil.copytree(dots / "left", tmp_path / "more" / "left")
    shutil.copytree(dots / "right", tmp_path / "more" / "upwards")
    said = unreel.refused("evaluate", run, tmp_path / "more")
    assert said == "expected labels that the run knows, ['left', 'right']; the data also has ['upwards']"


def test_evaluate_of_no_run(unreel: Terminal, dots: Path) -> None:
    assert "expected a folder made by `unreel train`" in unreel.refused("evaluate", dots)


def test_predict(unreel: Terminal, run: Path, dots: Path, tmp_path: Path) -> None:
    file = dots / "left" / "s00_0.npy"
    [row] = rows_of(unreel("predict", run, file))
    assert row["file"] == str(file)
    assert (row["start"], row["end"]) == (None, None)
    assert row["label"] in ("left", "right")
    assert row["score"] == max(row["scores"].values())
    assert sum(row["scores"].values()) == pytest.approx(1)

    folder = rows_of(unreel("predict", run, dots / "left"))
    assert [row["file"] for row in folder] == [str(path) for path in sorted((dots / "left").iterdir())]
    assert folder[0]["scores"] == pytest.approx(row["scores"], abs=1e-6)
    pattern = rows_of(unreel("predict", run, dots / "*" / "s00_*.npy", file))
    assert [Path(row["file"]).name for row in pattern] == ["s00_0.npy", "s00_2.npy", "s00_1.npy", "s00_3.npy"]

    said = unreel("predict", run, dots / "left", "--out", tmp_path / "rows.jsonl")
    assert said == ""
    assert rows_of((tmp_path / "rows.jsonl").read_text(encoding="utf-8")) == folder


def test_explain(unreel: Terminal, run: Path, dots: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.npy").write_bytes(b"nothing")
    file = next((dots / "left").iterdir())
    said = unreel("explain", run, file, tmp_path / "broken.npy", "--target", "right", "--out", tmp_path / "why")
    assert said == f"{tmp_path / 'why' / 'index.html'}\n"
    assert "1 clips could not be explained" in said.err
    fine, broken = rows_of((tmp_path / "why" / "explanations.jsonl").read_text("utf-8"))
    assert (fine["file"], fine["target"], len(fine["importance"])) == (str(file), "right", 4)
    assert "error" in broken
    assert (tmp_path / "why" / fine["picture"]).is_file()
    unreel("explain", run, "--split", "val", "--method", "grad_cam", "--out", tmp_path / "val")
    assert "either files or" in unreel.refused("explain", run, "--out", tmp_path / "none")


def test_predict_tells_of_broken_files(unreel: Terminal, run: Path, dots: Path, tmp_path: Path) -> None:
    shutil.copy(dots / "left" / "s00_0.npy", tmp_path / "good, [new] ü.npy")
    (tmp_path / "torn.npy").write_bytes((dots / "left" / "s00_0.npy").read_bytes()[:90])
    (tmp_path / "text.mp4").write_text("no video")
    said = unreel("predict", run, tmp_path)
    rows = {Path(row["file"]).name: row for row in rows_of(said)}
    assert rows.keys() == {"good, [new] ü.npy", "torn.npy", "text.mp4"}
    assert "error" not in rows["good, [new] ü.npy"]
    assert rows["torn.npy"].keys() == rows["text.mp4"].keys() == {"file", "error"}
    assert said.err == "2 files could not be read: their rows have an error\n"


def test_predict_refuses_what_is_not_there(unreel: Terminal, run: Path, dots: Path, tmp_path: Path) -> None:
    said = unreel.refused("predict", run, tmp_path / "none.mp4")
    assert (
        said
        == f"{tmp_path / 'none.mp4'}: expected a file, a folder of clips or a pattern that matches some, found none"
    )
    assert "found none" in unreel.refused("predict", run, dots / "*.mkv")
    assert "expected a folder made by" in unreel.refused("predict", tmp_path / "none", dots)
    assert "PATHS" in unreel.refused("predict", run)


def test_names_of_classes_and_folders(unreel: Terminal, dots: Path, tmp_path: Path) -> None:
    data = tmp_path / "my clips, [all]; ü"
    names = ("nach links, <b>schnell", "右 [red]")
    for old, new in zip(("left", "right"), names, strict=True):
        shutil.copytree(dots / old, data / new)
    unreel("train", data, "--out", tmp_path / "a [bold]run", *TINY)
    stored = json.loads((tmp_path / "a [bold]run" / "labels.json").read_text(encoding="utf-8"))
    assert sorted(stored) == sorted(names)
    said = unreel("evaluate", tmp_path / "a [bold]run", data)
    assert {row["label"] for row in json.loads(said)["per_class"]} == set(names)
    assert names[1] in said
    rows = rows_of(unreel("predict", tmp_path / "a [bold]run", data / names[0]))
    assert {row["label"] for row in rows} <= set(names)
    assert "<b>schnell" not in (tmp_path / "a [bold]run" / "report.html").read_text(encoding="utf-8")


def test_report(unreel: Terminal, run: Path) -> None:
    (run / "report.html").unlink()
    assert unreel("report", run) == f"{run / 'report.html'}\n"
    assert (run / "report.html").read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")


def test_report_of_nothing(unreel: Terminal, tmp_path: Path) -> None:
    assert "expected a folder made by" in unreel.refused("report", tmp_path)


def test_summary(unreel: Terminal, dots: Path) -> None:
    said = unreel("summary", dots, *TINY)
    assert "LSTM" in said
    assert "Total params" in said
    assert unreel.refused("summary") == "expected DATA, a folder of clips or a table: unreel train DATA"


def test_ends_quietly_when_nobody_reads(run: Path, dots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None: ...

    monkeypatch.setattr("sys.stdout", Gone())
    assert main(["predict", str(run), str(dots)]) == 0


def test_several_seeds(unreel: Terminal, dots: Path, tmp_path: Path) -> None:
    said = unreel("train", dots, "--out", tmp_path / "run", *TINY, "--seeds", "2")
    assert said == f"{tmp_path / 'run' / 'report.html'}\n"
    assert unreel("report", tmp_path / "run") == said
    assert "It holds several runs: name one of its folders." in unreel.refused("predict", tmp_path / "run", dots)


def test_arrays_of_another_size_are_fitted(unreel: Terminal, run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "wide.npy", np.zeros((3, 1, 5, 20), dtype=np.uint8))
    [row] = rows_of(unreel("predict", run, tmp_path / "wide.npy"))
    assert "error" not in row


def test_download(unreel: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "expected one of cifar10, mnist" in unreel.refused("download", "cifra10", tmp_path)
    fetched = []

    def fetch(images: ImageSet, folder: Path) -> Path:
        fetched.append(images)
        return folder

    monkeypatch.setattr(downloading, "fetch", fetch)
    assert unreel("download", "mnist", tmp_path / "sets") == f"{tmp_path / 'sets' / 'mnist'}\n"
    assert fetched == [IMAGE_SETS["mnist"]]
