"""YAML and flags are views of one value: they say the same, come back unchanged, and what is no setting is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from unreel.cli import SHORT_FLAGS, main
from unreel.config import DataConfig, RunConfig, TrainingConfig, build_parser, from_yaml, load_config, to_yaml
from unreel.data import (
    AugmentConfig,
    ManifestConfig,
    PreprocessConfig,
    SamplingConfig,
    SoundAugmentConfig,
    SoundConfig,
    SplitConfig,
    TextConfig,
    VolumeConfig,
)
from unreel.errors import ConfigError
from unreel.models import (
    MODELS,
    AutoencoderConfig,
    CaptionerConfig,
    CNNRNNConfig,
    ConvLSTMTaggerConfig,
    CRDNNConfig,
    EncoderConfig,
    ImageRNNConfig,
    ScanRNNConfig,
    TextRNNConfig,
)
from unreel.nn import SearchConfig
from unreel.tasks import CaptionConfig, OptimConfig

CHANGED = RunConfig(
    task="tag",
    data=DataConfig(
        path="käse, brot/videos.csv",
        manifest=ManifestConfig(
            label_column="class", group_column="who", group_from=r"(g\d\d): ", pattern=r"(?P<label>\d)_"
        ),
        split=SplitConfig(val=0.2, test=0.1, folds=3, fold=1, seed=7),
        sampling=SamplingConfig("window", frames=5, stride=2),
        preprocess=PreprocessConfig(size=(48, 64), fit="pad", channels="grey"),
        augment=AugmentConfig(
            flip=True,
            crop=0.8,
            brightness=0.1,
            contrast=0.2,
            shift=0.125,
            sound=SoundAugmentConfig(2, 5, 3, 0.3, 0.5, 0.1, 15.0, 0.2, (5.0, 30.0)),
        ),
        sound=SoundConfig(8000, 32.0, 16.0, 40, 30.0, 3900.0),
        balance="loss",
        batch_size=3,
        workers=0,
        cache="disk",
        cache_dir="/tmp/with space",
    ),
    model=CNNRNNConfig(
        encoder=EncoderConfig(
            channels=(2, 3),
            kernel_size=5,
            norm="none",
            downsample="stride",
            head="average",
            features=None,
            dropout=0.1,
        ),
        input="both",
        recurrence="gru",
        hidden_size=9,
        num_layers=2,
        bidirectional=True,
        dropout=0.3,
        pool="mean",
        micro_batch=4,
        recompute=True,
    ),
    optim=OptimConfig("sgd", lr=1e-5, weight_decay=0.0, schedule="constant", warmup=0.2, label_smoothing=0.1),
    training=TrainingConfig(
        epochs=2,
        patience=3,
        gradient_clip=None,
        accumulate=2,
        control=False,
        checkpoint_minutes=0.5,
        accelerator="cpu",
        devices=1,
        nodes=2,
        strategy="ddp",
        precision="bf16-mixed",
        keep="last",
    ),
    seed=4,
    seeds=2,
)
TIMM = dataclasses.replace(
    CHANGED,
    data=dataclasses.replace(CHANGED.data, sampling=SamplingConfig(span=0.5)),
    model=CNNRNNConfig(
        encoder=EncoderConfig(name="resnet18", weights="a.safetensors", frozen=True, unfreeze_from="layer4")
    ),
)
DOWNLOADED = dataclasses.replace(CHANGED, model=CNNRNNConfig(encoder=EncoderConfig(name="resnet18", pretrained=True)))
FILM = RunConfig(
    task="tag",
    data=DataConfig(batch_size=1),
    model=ConvLSTMTaggerConfig(
        channels=(6, 4, 2),
        pools=(2, 2, 3),
        head_channels=3,
        head_pool=3,
        dense=(12,),
        kernel_size=5,
        recurrent_activation="hard_sigmoid",
        dropout=0.2,
        norm_frames=4,
        heads="joint",
    ),
    training=TrainingConfig(through_time="recompute", chunk=8),
)
TEXT = RunConfig(
    data=DataConfig(
        manifest=ManifestConfig(text_column="review", caption_column="told", language=None),
        text=TextConfig("characters", "kim", lower=False, min_count=3, max_length=50, encoding="latin-1"),
    ),
    model=TextRNNConfig(
        vocabulary=7,
        embedding_size=5,
        embeddings="glove.txt",
        widths=(3, 4),
        channels=6,
        padding="causal",
        recurrence="gru",
        hidden_size=9,
        num_layers=2,
        bidirectional=True,
        pool="last",
        dropout=0.1,
        embedding_dropout=0.2,
        word_dropout=0.4,
    ),
)
SOUND = RunConfig(
    data=DataConfig(sampling=SamplingConfig("window")),
    model=CRDNNConfig(
        channels=(8, 8),
        kernel_size=(5, 3),
        pools=(2, 4),
        time_pool=2,
        norm_frames=64,
        recurrence="lstm",
        hidden_size=9,
        num_layers=2,
        bidirectional=False,
        dense=(),
        dropout=0.1,
        pool="attention",
    ),
)
STREAM = RunConfig(data=DataConfig(sampling=SamplingConfig("all")), model=CRDNNConfig(causal=True))
IMAGE = RunConfig(
    model=ImageRNNConfig(
        form="parallel",
        channels=8,
        kernel_size=5,
        pool_size=3,
        recurrence="gru",
        hidden_size=7,
        num_layers=2,
        bidirectional=True,
        activation="relu",
        recurrent_activation="hard_sigmoid",
        order="snake",
        pool="mean",
        dense=12,
        dense_activation="relu",
        dropout=0.2,
        plain=True,
    )
)
SCAN = RunConfig(
    data=DataConfig(
        volume=VolumeConfig(
            planes=("sagittal", "axial"), spacing=0.8, field=160.0, window=(-160.0, 240.0), percentiles=(1.0, 99.0)
        ),
        augment=AugmentConfig(shift=0.1),
    ),
    model=ScanRNNConfig(
        encoder=EncoderConfig(channels=(4,)),
        encoders="separate",
        views=2,
        recurrence="lstm",
        hidden_size=7,
        num_layers=2,
        bidirectional=True,
        dropout=0.2,
        pool="max",
        micro_batch=8,
        recompute=True,
    ),
    training=TrainingConfig(choose_by="auroc"),
)
CAPTION = RunConfig(
    task="caption",
    model=CaptionerConfig(
        encoder=EncoderConfig(channels=(4,)),
        form="attention",
        recurrence="gru",
        embedding_size=7,
        hidden_size=9,
        num_layers=2,
        dropout=0.1,
        word_dropout=0.2,
        attention_size=5,
        grid_size=3,
        positions=True,
        micro_batch=8,
        recompute=True,
    ),
    caption=CaptionConfig(
        search=SearchConfig("sample", 3, 0.7, 20, temperature=0.9, top_k=8, top_p=0.95, n_best=2),
        scheduled_sampling=0.2,
        self_critical=1,
        concepts=0.5,
        concepts_first=1,
    ),
)
ALL = (
    RunConfig(),
    CHANGED,
    TIMM,
    DOWNLOADED,
    FILM,
    RunConfig(model=ConvLSTMTaggerConfig()),
    TEXT,
    RunConfig(model=TextRNNConfig()),
    SOUND,
    RunConfig(model=CRDNNConfig()),
    STREAM,
    IMAGE,
    RunConfig(model=ImageRNNConfig()),
    SCAN,
    RunConfig(model=ScanRNNConfig()),
    CAPTION,
    RunConfig(task="caption", model=CaptionerConfig()),
)
"""Every field differs from its default in one of them."""


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    found = {}
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        nested = dataclasses.is_dataclass(inner)
        found |= leaves(inner, f"{prefix}{field.name}.") if nested else {f"{prefix}{field.name}": inner}
    return found


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        from_yaml(text, "run.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("run.yaml: ")
    return message


def test_every_field_comes_back_from_yaml() -> None:
    values: dict[str, set[Any]] = {}
    for config in ALL:
        for name, value in leaves(config).items():
            values.setdefault(name, set()).add(value)
    assert {name for name, seen in values.items() if len(seen) == 1} == set()
    for config in ALL:
        assert from_yaml(to_yaml(config)) == config
        assert leaves(from_yaml(to_yaml(config))) == leaves(config)  # == of dataclasses would let 1 pass for True
    assert from_yaml(to_yaml(CHANGED)).data.preprocess.size == (48, 64)


def test_yaml_is_plain(tmp_path: Path) -> None:
    values = yaml.safe_load(to_yaml(CHANGED))
    assert values["data"]["preprocess"]["size"] == [48, 64]
    assert values["training"]["gradient_clip"] is None
    assert values["data"]["path"] == "käse, brot/videos.csv"
    assert "käse" in to_yaml(CHANGED)


def test_what_is_left_out_takes_its_default(tmp_path: Path) -> None:
    assert from_yaml("") == from_yaml("{}") == RunConfig()
    (tmp_path / "some.yaml").write_text("data: {sampling: {frames: 3}}\n")
    config = load_config(tmp_path / "some.yaml")
    assert config == RunConfig(data=DataConfig(sampling=SamplingConfig(frames=3)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: {sampling: {frame: 3}}", "unknown setting data.sampling.frame - did you mean data.sampling.frames?"),
        ("trainin: {epochs: 3}", "unknown setting trainin - did you mean training?"),
        ("model: {hiden_size: 3}", "did you mean model.hidden_size?"),
        ("model: {encoder: {chanels: [3]}}", "did you mean model.encoder.channels?"),
        ("1: 2", "unknown setting 1; it may be one of task, data, model, optim, caption, training, seed, seeds"),
        ("training: {epochs: three}", "training.epochs: expected a whole number, got three"),
        ("training: {patience: soon}", "training.patience: expected a whole number or null, got soon"),
        ("optim: {lr: fast}", "optim.lr: expected a number, got fast"),
        ("training: {control: maybe}", "training.control: expected true or false, got maybe"),
        ("data: {preprocess: {size: 64}}", "data.preprocess.size: expected a list of 2, such as [64, 64]"),
        ("data: {preprocess: {size: [1, 2, 3]}}", "each a whole number, got [1, 2, 3]"),
        ("data: {preprocess: {size: null}}", "data.preprocess.size: expected a list of 2, such as [64, 64]"),
        ("model: {encoder: {channels: [a]}}", "model.encoder.channels: expected a list such as [16, 32]"),
        ("model: {recurrence: lstn}", "expected one of lstm, gru, rnn, none, got lstn - did you mean lstm?"),
        (
            "task: classfy",
            "regress, trace, sequence, reconstruct, caption, got 'classfy' - did you mean",
        ),
        ("training: null", "expected settings by name in training, got null"),
        ("model: 3", "expected settings by name in model, got int 3"),
        ("[1]", "expected settings by name in the file, got list [1]"),
        ("training: {epochs: 0}", "epochs and accumulate must be ≥ 1, got 0 and 1"),
        ("seeds: 0", "seeds must be ≥ 1, got 0"),
        ("data: {", "expected YAML, got"),
        ("model: {class_path: os.system}", "unknown setting model.class_path"),
        ("model: {name: os.system}", f"model.name: expected one of {', '.join(MODELS)}, got os.system"),
        ("model: {name: conv_lstm}", "got conv_lstm - did you mean conv_lstm_tagger?"),
        ("model: {name: conv_lstm_tagger, chanels: [3]}", "model.chanels - did you mean model.channels?"),
        (
            "model: {name: conv_lstm_tagger, hidden_size: 3}",
            "it may be one of name, channels, pools,",
        ),
        ("model: {channels: [3, 4]}", "did you mean --model.encoder.channels?"),
        ("model: {name: text_rnn, recurrence: none, pool: last}", "pool 'last' needs a recurrence"),
        ("data: {text: {encoding: utf-9}}", "encoding must be one such as utf-8, latin-1 or cp1252, got 'utf-9'"),
        ("model: {name: conv_lstm_tagger, dense: 3}", "model.dense: expected a list such as [16, 32]"),
        (
            "model: {name: conv_lstm_tagger, channels: [3]}",
            "pools must be a number for each of channels (3,), got (2, 3)",
        ),
        (
            "{task: tag, data: {batch_size: 1}, training: {through_time: truncated, chunk: 10}, "
            "model: {name: conv_lstm_tagger}}",
            "takes 16 frames together, so that training.chunk must be a multiple of them, got 10; set it to one",
        ),
    ],
)
def test_what_cannot_be_is_refused(text: str, said: str) -> None:
    assert said in refused(text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: expected a YAML file, No such file"):
        load_config(tmp_path / "none.yaml")


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Status, output and error of one command."""
    status = main(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> RunConfig:
    status, out, err = command(capsys, "train", *arguments, "--print_config")
    assert (status, err) == (0, "")
    return from_yaml(out)


@pytest.mark.parametrize("config", ALL)
def test_flags_say_the_same_as_yaml(config: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
    flags = []
    for name, value in leaves(config).items():
        text = "null" if value is None else str(list(value)) if isinstance(value, tuple) else str(value)
        flags += [f"--{name}", text.lower() if isinstance(value, bool) else text]
    assert printed(capsys, *flags) == config


def test_short_flags(capsys: pytest.CaptureFixture[str]) -> None:
    config = printed(capsys, "videos", "--epochs", "3", "--group-from", r"(g\d\d)", "--size", "[64,32]", "--lr=0.5")
    assert config.data.path == "videos"
    assert config.training.epochs == 3
    assert config.data.manifest.group_from == r"(g\d\d)"
    assert config.data.preprocess.size == (64, 32)
    assert config.optim.lr == 0.5


def test_every_short_flag_stands_for_a_setting() -> None:
    assert {long.removeprefix("--") for long in SHORT_FLAGS.values()} <= leaves(RunConfig()).keys()


def test_a_file_and_flags_over_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text(to_yaml(CHANGED), encoding="utf-8")
    file = str(tmp_path / "run.yaml")
    assert printed(capsys, "--config", file) == CHANGED
    config = printed(capsys, "--config", file, "--epochs", "9", "--model.dropout", "0")
    expected = dataclasses.replace(
        CHANGED,
        training=dataclasses.replace(CHANGED.training, epochs=9),
        model=dataclasses.replace(CHANGED.model, dropout=0.0),
    )
    assert config == expected
    assert printed(capsys, "other", "--config", file).data.path == "other"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data.sampling.frame", "3"], "--data.sampling.frame - did you mean --data.sampling.frames?"),
        (["videos", "--epoch", "3"], "--epoch 3 - did you mean --epochs?"),
        (["--epochs", "three"], "training.epochs: expected a whole number, got three"),
        (["--epochs", "2.5"], "training.epochs: expected a whole number, got 2.5"),
        (["--epochs"], "argument --training.epochs: expected one argument"),
        (["--size", "64"], "data.preprocess.size: expected a list of 2, such as [64, 64], each a whole number, got 64"),
        (["--task", "classfy"], "got 'classfy' - did you mean classify?"),
        (["--data.cache", "dsk"], "data.cache: expected one of none, disk, memory, got dsk - did you mean disk?"),
        (["--model.name", "os.path"], f"model.name: expected one of {', '.join(MODELS)}, got os.path"),
        (
            ["--model.name", "conv_lstm_tagger", "--model.chanels", "4"],
            "--model.chanels - did you mean --model.channels?",
        ),
        (["--model.channels", "4"], "--model.channels - did you mean --model.encoder.channels?"),
        (["--seed", "null"], "seed: expected a whole number, got null"),
        (["--group-from", r"(g\d"], "group_from must be a regular expression"),
        (["--config", "none.yaml"], "none.yaml: expected a YAML file; file does not exist"),
        (
            ["--config", "bad.yaml"],
            "bad.yaml: unknown setting data.sampling.frame - did you mean data.sampling.frames?",
        ),
        (["--config", "torn.yaml"], "torn.yaml: expected YAML, got"),
        (["--data", "{splt: 3}"], "does not accept option 'splt' - did you mean --data.split?"),
        (["extra", "more"], "unrecognized arguments: more"),
    ],
)
def test_refused_flags_are_one_line(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("data: {sampling: {frame: 3}}")
    (tmp_path / "torn.yaml").write_text("data: {")
    status, out, err = command(capsys, "train", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("unreel: ")
    assert said in err


def test_a_task_of_one_model_needs_no_name_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    captions = RunConfig(task="caption", model=CaptionerConfig(form="attention"))
    assert printed(capsys, "--task", "caption", "--model.form", "attention") == captions
    (tmp_path / "captions.yaml").write_text("task: caption")
    assert printed(capsys, f"--config={tmp_path / 'captions.yaml'}", "--model.form", "attention") == captions
    assert load_config(tmp_path / "captions.yaml").model == CaptionerConfig()
    (tmp_path / "settings.yaml").write_text("model: {form: attention}")
    assert printed(capsys, "--task", "caption", f"--config={tmp_path / 'settings.yaml'}") == captions
    (tmp_path / "both.yaml").write_text("{task: caption, model: {form: attention}}")
    assert load_config(tmp_path / "both.yaml") == captions
    status, _, err = command(capsys, "train", "videos", f"--config={tmp_path / 'settings.yaml'}")
    assert (status, err.count("\n")) == (2, 1)
    assert "does not accept option 'form'" in err, "of a model without it"
    assert printed(capsys, "--task=reconstruct").model == AutoencoderConfig()
    status, _, err = command(capsys, "train", "videos", "--task", "caption", "--model.name", "cnn_rnn")
    assert status == 2
    assert "belong together" in err


def test_the_model_may_be_named_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = RunConfig(model=ConvLSTMTaggerConfig(channels=(8, 4), pools=(2, 3)))
    flags = ["--model.channels", "8", "4"]
    assert printed(capsys, "--model.name", "conv_lstm_tagger", *flags) == film
    assert printed(capsys, *flags, "--model.name=conv_lstm_tagger") == film
    (tmp_path / "film.yaml").write_text("model: {name: conv_lstm_tagger, channels: [3, 4]}")
    (tmp_path / "other.yaml").write_text("seed: 3")
    assert printed(capsys, "--config", str(tmp_path / "film.yaml"), *flags) == film
    both = ["--config", str(tmp_path / "film.yaml"), f"--config={tmp_path / 'other.yaml'}"]
    assert printed(capsys, *both, *flags) == dataclasses.replace(film, seed=3)


def test_numbers_behind_a_flag_that_takes_a_list_are_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    config = printed(capsys, "--model.encoder.channels", "4", "8", "16", "--size", "64", "32", "videos", "--seed", "3")
    assert config.model == CNNRNNConfig(encoder=EncoderConfig(channels=(4, 8, 16)))
    assert (config.data.preprocess.size, config.data.path, config.seed) == ((64, 32), "videos", 3)


@pytest.mark.parametrize("config", [RunConfig(), FILM, TEXT, SOUND, IMAGE])
def test_help_explains_every_setting(config: RunConfig) -> None:
    text = " ".join(build_parser("unreel train", config.model.name).format_help().split())
    for name in leaves(config):
        assert f"--{name} " in text
    for said in (
        "processes that read clips; results do not depend on it.",
        "`uniform`: evenly spread from the first to the last.",
        "stop when validation has not improved for so many epochs",
        "default: 0.001",
    ):
        assert said in text
