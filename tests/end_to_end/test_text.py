"""The road of texts: scan, train, evaluate, predict and report, for labels of sentences and labels of words."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from unreel import experiment, inference
from unreel.cli import main
from unreel.config import DataConfig, RunConfig, TrainingConfig
from unreel.data import SamplingConfig, SplitConfig, TextConfig
from unreel.errors import ConfigError, RunError
from unreel.inference import intervals
from unreel.models import TextRNNConfig
from unreel.runs import Run
from unreel.tasks import OptimConfig

QUIET = Console(quiet=True)
GOOD, BAD = ("fine", "lovely", "superb"), ("dull", "tedious", "awful")
MODEL = TextRNNConfig(embedding_size=12, channels=8, hidden_size=8, dropout=0.1, embedding_dropout=0.0)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 20)


def settings(path: Path, epochs: int = 6, **data: object) -> RunConfig:
    values = DataConfig(str(path), split=SplitConfig(val=0.2, test=0.2), batch_size=8, workers=0)
    return RunConfig(
        data=replace(values, **data),
        model=MODEL,
        optim=OptimConfig(lr=0.02),
        training=TrainingConfig(epochs=epochs, accelerator="cpu", control=False),
    )


def write_reviews(folder: Path, count: int = 60) -> Path:
    """`not` before a word turns it: a bag of words cannot tell. One sentence is in Latin-1, one is empty."""
    folder.mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[bytes]] = {"pos": [], "neg": []}
    for number in range(count):
        positive, turned = number % 2 == 0, number % 4 < 2
        word = (GOOD if positive != turned else BAD)[number % 3]
        text = f"film {number} is {'not' if turned else 'so'} {word} ."
        lines["pos" if positive else "neg"].append(text.encode())
    lines["neg"].append("clichés".encode("latin-1"))
    lines["pos"][3:3] = [b""]
    for name, texts in lines.items():
        (folder / f"rt.{name}").write_bytes(b"\n".join(texts) + b"\n")
    return folder


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reviews(tmp_path_factory.mktemp("text") / "reviews")


@pytest.fixture(scope="module")
def run(reviews: Path) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "RESAMPLES", 20)
        config = settings(reviews, epochs=12)
        config = replace(config, training=replace(config.training, control=True))
        return experiment.fit(config, reviews.parent / "run", QUIET)


def rows_of(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_run_on_sentences_holds_its_vocabulary_and_what_was_left_out(run: Run) -> None:
    text = (run.folder / "vocabulary.txt").read_text(encoding="utf-8")
    tokens = text.split("\n")[:-1]
    assert tokens[:2] == ["<pad>", "<unk>"]
    assert {"film", "is", "not"} <= set(tokens)
    assert run.config.model.vocabulary == len(run.vocabulary) == len(tokens)
    assert run.config.data.sampling == SamplingConfig("all")
    left_out = (run.folder / "left_out.csv").read_text(encoding="utf-8")
    assert "rt.pos!4" in left_out
    assert "rt.neg!31" in left_out
    assert "holds the byte 0xe9" in left_out
    numbers = run.read_json("metrics.json")
    assert numbers["controls"].keys() == {"majority", "bag_of_words"}
    assert numbers["test"]["accuracy"]["value"] > 0.8
    control = Run.load(run.folder / "control")
    assert control.vocabulary == run.vocabulary
    assert control.config.model == run.config.model.control()


def test_no_word_of_the_other_sides_is_known(run: Run, reviews: Path) -> None:
    seen = set()
    for example in run.splits().train:
        name, line = example.path.split("!")
        seen |= set((reviews / name).read_text(encoding="latin-1").split("\n")[int(line) - 1].split())
    assert set(run.vocabulary.tokens) <= seen


def test_loaded_and_moved_a_run_says_the_same(run: Run, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    run.folder.rename(moved)
    try:
        again = Run.load(moved)
        assert again.vocabulary == run.vocabulary
        assert inference.evaluate(again).to_json()["test"] == again.read_json("metrics.json")["test"]
        (moved / "vocabulary.txt").rename(moved / "kept")
        with pytest.raises(RunError, match=r"its vocabulary\.txt, there is none"):
            Run.load(moved)
        (moved / "kept").rename(moved / "vocabulary.txt")
    finally:
        moved.rename(run.folder)


def test_predict_takes_lines_tables_and_a_sentence(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new.txt").write_text("this is so superb\n\nthis is not superb\n")
    (tmp_path / "new.csv").write_text("id,text\n1,this is so superb\n")
    (tmp_path / "other.csv").write_text("id,review\n1,this is so superb\n")
    assert main(["predict", str(run.folder), "--text", "this is so superb"]) == 0
    [alone] = rows_of(capsys)
    assert alone["words"] == ["this", "is", "so", "superb"]
    paths = [str(tmp_path / name) for name in ("new.txt", "new.csv", "other.csv")]
    assert main(["predict", str(run.folder), *paths]) == 0
    one, three, table, *broken = rows_of(capsys)
    names = [row["file"].rpartition("/")[2] for row in (one, three, table)]
    assert names == ["new.txt!1", "new.txt!3", "new.csv!text!2"]
    for row in (one, table):
        assert row["scores"] == pytest.approx(alone["scores"])
        assert row["words"] == alone["words"]
    assert [row["file"].rpartition("/")[2] for row in broken] == ["new.txt!2", "other.csv"]
    assert "expected a column 'text'" in broken[1]["error"]
    assert main(["predict", str(run.folder), str(tmp_path)]) == 0
    assert len(rows_of(capsys)) == 5
    assert main(["predict", str(run.folder), "--text", " "]) == 0
    assert rows_of(capsys) == [{"text": " ", "error": "expected words, found none"}]


def test_evaluate_on_another_table(run: Run, tmp_path: Path) -> None:
    rows = ("text,label", "this is so superb,pos", "this is not superb,neg", "so dull,neg", ",neg")
    (tmp_path / "other.csv").write_text("\n".join(rows))
    measured = inference.evaluate(run, tmp_path / "other.csv")
    assert measured.n == 3
    assert list(measured.left_out) == ["other.csv!text!5"]
    assert measured.rows[0]["truth"] == "pos"


def test_the_report_shows_words(run: Run) -> None:
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert '<p class="words">film' in page
    assert "No picture" not in page
    assert "different words" in page
    assert "Words without their order" in page


def test_a_resumed_run_and_workers_change_nothing(reviews: Path, tmp_path: Path) -> None:
    weights = []
    for name, workers in (("none", 0), ("two", 2)):
        config = settings(reviews, epochs=1, workers=workers)
        weights.append(experiment.fit(config, tmp_path / name, QUIET).weights.read_bytes())
    assert weights[0] == weights[1]


def test_encoding_and_scan_at_the_command_line(reviews: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", str(reviews), "--text.encoding", "latin-1"]) == 0
    said = capsys.readouterr().out
    assert "62 files, 1 unreadable" in said
    assert "all words: different" in said


@pytest.mark.parametrize("model", [MODEL, replace(MODEL, recurrence="none"), replace(MODEL, widths=(), pool="last")])
def test_several_folds(reviews: Path, tmp_path: Path, model: TextRNNConfig) -> None:
    config = settings(reviews, epochs=1, split=SplitConfig(val=0.1, folds=2), text=TextConfig(encoding="latin-1"))
    experiment.fit(replace(config, model=model), tmp_path / "run", QUIET)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["test"]["accuracy"]["n"] == 2
    assert (tmp_path / "run" / "summary.html").is_file() or (tmp_path / "run" / "report.html").is_file()


def test_word_vectors_are_read_once(reviews: Path, tmp_path: Path) -> None:
    vectors = tmp_path / "glove.txt"
    vectors.write_text("".join(f"{word} {' '.join(['0.5'] * 12)}\n" for word in ("film", "is")))
    told = io.StringIO()
    config = replace(settings(reviews, epochs=1), model=replace(MODEL, embeddings=str(vectors)))
    run = experiment.fit(config, tmp_path / "run", Console(file=told, width=300))
    assert "vectors of 2 of" in told.getvalue()
    vectors.unlink()
    assert inference.evaluate(Run.load(run.folder)).n > 0


def test_whole_files_are_whole_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(24):
        name, word = ("pos", "fine") if number % 2 else ("neg", "dull")
        path = tmp_path / "files" / name / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"this is\n{word} {number}")
    run = experiment.fit(settings(tmp_path / "files", epochs=1), tmp_path / "run", QUIET)
    capsys.readouterr()
    assert main(["predict", str(run.folder), str(tmp_path / "files" / "pos")]) == 0
    assert len(rows_of(capsys)) == 12


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A name is what follows on `mister`."""
    folder = tmp_path_factory.mktemp("tagged")
    sentences = []
    for number in range(40):
        words = ["now", "mister", f"smith{number}", "is", ("here", "away")[number % 2], str(number)]
        labels = ["O", "O", "NAME", "O", "O", "O"]
        cut = 6 - number % 3
        sentences.append("".join(f"{word} {label}\n" for word, label in list(zip(words, labels, strict=True))[:cut]))
    (folder / "names.conll").write_text("\n".join(sentences))
    config = settings(folder / "names.conll", epochs=25, text=TextConfig(min_count=2))
    config = replace(config, task="tag", model=replace(MODEL, padding="causal"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "RESAMPLES", 20)
        return experiment.fit(config, folder / "run", QUIET)


def test_labels_of_words(tagged: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = tagged.read_json("metrics.json")
    assert numbers["test"]["accuracy"]["value"] > 0.9
    page = (tagged.folder / "report.html").read_text(encoding="utf-8")
    assert 'id="tagged"' in page
    capsys.readouterr()
    assert main(["predict", str(tagged.folder), "--text", "so mister jones is late"]) == 0
    [row] = rows_of(capsys)
    assert dict(zip(row["words"], row["labels"], strict=True))["jones"] == "NAME"
    (tmp_path / "new.conll").write_text("so O\nmister O\njones NAME\n")
    assert main(["predict", str(tagged.folder), str(tmp_path / "new.conll"), "--out", str(tmp_path / "r.jsonl")]) == 0
    [found] = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert found["times"] == [0.0, 1.0, 2.0]
    assert found["labels"] == row["labels"][:3]
    assert not (tmp_path / "r.timelines").exists()


def test_a_model_of_pictures_is_refused(reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(reviews), "--out", str(tmp_path / "run"), "--workers", "0"]) == 2
    assert "cnn_rnn cannot see: set model.name text_rnn" in " ".join(capsys.readouterr().err.split())
    assert main(["summary", str(reviews), "--model.name", "text_rnn"]) == 0
    assert "Embedding" in capsys.readouterr().out


def test_a_model_of_texts_does_not_see_films(moving_dots: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"text_rnn reads tokens, frames of shape \(\), got frames of shape"):
        experiment.fit(settings(moving_dots), tmp_path / "run", QUIET)
