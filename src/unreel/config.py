"""A run as one typed value. YAML files and command-line flags are views of it, read and checked by jsonargparse.

Each room owns the dataclass of its own settings; here they are only put together. A file or flag names a model by its
key in `MODELS` (`--model.name`), never by an import path.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import Namespace

from unreel.data import (
    AugmentConfig,
    ManifestConfig,
    PreprocessConfig,
    Reading,
    SamplingConfig,
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
    CRDNNConfig,
    ModelConfig,
    SequenceRNNConfig,
)
from unreel.nearest import nearest
from unreel.nn import SeesViews
from unreel.parsing import ConfigParser, read_yaml
from unreel.tasks import TASKS, CaptionConfig, OptimConfig

MODEL_OF_TASK = {"caption": "captioner", "reconstruct": "autoencoder"}
"""Tasks that one model alone can learn: it need not be named."""


@dataclass(frozen=True)
class DataConfig:
    """Where the clips are and how they become tensors.

    Args:
        path: a folder of class folders, a zip of them, a table (CSV, JSONL), or files of sentences.
        manifest: how a table or path is read.
        split: how clips are divided into training, validation and test.
        sampling: which frames of a clip are taken; of a text or a sound all of them, where nothing else is said here.
        text: how texts are read, in training and ever after.
        sound: how sound becomes frames, likewise.
        volume: how a scan becomes slices, likewise.
        preprocess: what is done to every image, in training and ever after.
        augment: what is done to training clips only.
        balance: `sampler` draws rare classes more often, `loss` gives them more weight.
        batch_size: clips a step and device.
        workers: processes that read clips; results do not depend on it.
        cache: keep decoded frames: no, on `disk` (in the run's folder, or `cache_dir`), or in `memory`.
        cache_dir: a folder for what is kept on disk; by default it lies beside the run.
    """

    path: str = ""
    manifest: ManifestConfig = field(default_factory=ManifestConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    text: TextConfig = field(default_factory=TextConfig)
    sound: SoundConfig = field(default_factory=SoundConfig)
    volume: VolumeConfig = field(default_factory=VolumeConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    balance: Literal["none", "sampler", "loss"] = "none"
    batch_size: int = 16
    workers: int = 2
    cache: Literal["none", "disk", "memory"] = "none"
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.workers < 0:
            raise ConfigError(f"batch_size must be ≥ 1 and workers ≥ 0, got {self.batch_size} and {self.workers}")

    @property
    def reading(self) -> Reading:
        """What readers must know besides the file, as far as it is known before training."""
        return Reading(text=self.text, sound=self.sound, volume=self.volume)


@dataclass(frozen=True)
class TrainingConfig:
    """How long, on what, and when to stop.

    Args:
        epochs: passes over the training clips at most.
        keep: the weights that a run keeps: of the epoch that is `best` on validation, or of the `last` one, for which
            no validation side is needed (`data.split.val` 0).
        choose_by: the measure of validation that the best epoch is chosen by, such as `auroc`; None for the task's own.
        patience: stop when validation has not improved for so many epochs; None trains to the end.
        gradient_clip: largest norm of the gradient; None leaves it.
        accumulate: batches whose gradients are summed before a step.
        through_time: how the gradient goes back through a clip. `whole`: all frames are held, with all that the model
            makes of them. `recompute`: the same gradient, but frames are read a chunk at a time and every chunk is
            computed a second time. `truncated`: a step for each chunk; the state goes on into the next chunk, the
            gradient does not. Both long ways take one clip a batch and never hold all of its frames.
        chunk: frames in a chunk, in both long ways and wherever a long clip is only run through the model.
        control: also train and measure the same CNN without recurrence, frame by frame.
        checkpoint_minutes: time between two saves within an epoch, beside the one after each epoch.
        accelerator: Lightning's: auto, cpu, gpu ...
        devices: Lightning's: how many, or `auto`.
        nodes: machines.
        strategy: Lightning's: auto, ddp, fsdp ...
        precision: Lightning's: 32-true, bf16-mixed, 16-mixed ...
    """

    epochs: int = 30
    keep: Literal["best", "last"] = "best"
    choose_by: str | None = None
    patience: int | None = None
    gradient_clip: float | None = 1.0
    accumulate: int = 1
    through_time: Literal["whole", "recompute", "truncated"] = "whole"
    chunk: int = 16
    control: bool = True
    checkpoint_minutes: float = 5.0
    accelerator: str = "auto"
    devices: int | str = "auto"
    nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.accumulate < 1:
            raise ConfigError(f"epochs and accumulate must be ≥ 1, got {self.epochs} and {self.accumulate}")
        if self.chunk < 1:
            raise ConfigError(f"training.chunk must be at least 1 frame, got {self.chunk}")


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run.

    Args:
        task: what an output means: classify (one class a clip), multilabel (any number of classes a clip), tag (a class
            a frame, or whatever labels a frame has if they overlap: it then becomes multitag), multitag (any number of
            classes a frame), regress (numbers), trace (numbers of each frame), sequence (numbers over steps of their
            own), reconstruct (how badly each frame can be made again) or caption (sentences about the clip).
        data: the clips.
        model: the model; `model.name` is a key of `MODELS`.
        optim: the optimiser and loss settings.
        caption: how captions are learned and written; for the task caption alone.
        training: length, stopping, hardware.
        seed: of weights, order, augmentation and dropout.
        seeds: train so many times, with seed, seed + 1, ...
    """

    task: str = "classify"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=CNNRNNConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    caption: CaptionConfig = field(default_factory=CaptionConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seed: int = 0
    seeds: int = 1

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ConfigError(f"task must be one of {', '.join(TASKS)}, got {self.task!r}{nearest(self.task, TASKS)}")
        _check_model(self.model.name)
        task = TASKS[self.task]
        if self.training.choose_by not in (None, task.monitor, *task.also):
            measures = ", ".join((task.monitor, *task.also))
            raise ConfigError(
                f"training.choose_by must be one of {measures} for task {self.task}, got {self.training.choose_by!r}"
            )
        if self.seeds < 1:
            raise ConfigError(f"seeds must be ≥ 1, got {self.seeds}")
        sampling = self.data.sampling
        neighbours = sampling.policy in ("all", "window") or sampling == SamplingConfig()  # left open: all of them
        if isinstance(self.model, CRDNNConfig) and not neighbours:
            raise ConfigError(
                "the model crdnn hears how neighbouring frames differ, so it needs them side by side: set "
                f"data.sampling.policy all, or window; got {sampling.policy}"
            )
        self._check_task_fits_model()
        if self.training.through_time != "whole":
            self._check_through_time()

    @property
    def monitor(self) -> str:
        """The measure of validation that the best epoch is chosen by."""
        return self.training.choose_by or TASKS[self.task].monitor

    def _check_task_fits_model(self) -> None:
        """Some tasks ask a model for what only one can answer, and the other way round."""
        reconstructs = isinstance(self.model, AutoencoderConfig)
        if (self.task == "reconstruct") != reconstructs:
            raise ConfigError(
                "the task reconstruct and the model autoencoder belong together, got task "
                f"{self.task} and model {self.model.name}: set --task reconstruct --model.name autoencoder, or neither"
            )
        decodes = isinstance(self.model, SequenceRNNConfig) and self.model.output_length is not None
        if (self.task == "sequence") != decodes:
            raise ConfigError(
                "the task sequence needs the model rnn with an output_length, and nothing else does: set --task "
                "sequence --model.name rnn --model.output_length STEPS, or none of them; got task "
                f"{self.task} and model {self.model.name}"
            )
        if (self.task == "caption") != isinstance(self.model, CaptionerConfig):
            raise ConfigError(
                "the task caption and the model captioner belong together, got task "
                f"{self.task} and model {self.model.name}: set --task caption --model.name captioner, or neither"
            )
        first, last = self.caption.concepts_first, self.caption.self_critical
        if first + last > self.training.epochs or first == self.training.epochs:
            raise ConfigError(
                "caption.concepts_first and caption.self_critical are epochs at the begin, but not all, and at the end "
                f"of training.epochs {self.training.epochs}, got {first} and {last}"
            )
        if self.data.balance != "none" and not TASKS[self.task].has_classes:
            raise ConfigError(f"the task {self.task} has no classes to balance: set data.balance none")

    def _check_through_time(self) -> None:
        """Refuse what cannot be done a chunk at a time, with what to do instead."""
        way, data, training = self.training.through_time, self.data, self.training
        blocks = self.model.whole_blocks
        refused = {
            f"task {self.task} has one answer a clip; use a task with an answer a frame, such as tag": (
                TASKS[self.task].readout != "frame"
            ),
            f"model {self.model.name} holds all slices of a scan; set training.through_time whole": (
                issubclass(MODELS[self.model.name], SeesViews)
            ),
            "a bidirectional model needs the end of a clip at its beginning; set model.bidirectional false, of crdnn "
            "model.causal true": not self.model.causal,
            f"batch normalisation takes {blocks} frames together, so that training.chunk must be a multiple of them, "
            f"got {training.chunk}; set it to one, or change model.norm_frames": training.chunk % blocks != 0,
            f"data.sampling takes {data.sampling.frames} frames of a clip, which is no more than a chunk; set "
            "data.sampling.policy all, for all of them": (
                data.sampling.policy != "all" and data.sampling.frames <= training.chunk
            ),
            f"it takes one clip a batch, got data.batch_size {data.batch_size}; set data.batch_size 1, and "
            f"training.accumulate {data.batch_size} for as many clips a step": data.batch_size != 1,
            f"frames are read as they are needed, got data.cache {data.cache}; set data.cache none": (
                data.cache != "none"
            ),
            "drawing clips by weight gives every epoch another number of chunks; set data.balance loss": (
                way == "truncated" and data.balance == "sampler"
            ),
            "it trains in one process; set training.devices 1 and training.nodes 1": (
                training.nodes > 1 or training.devices not in (1, "1", "auto")
            ),
        }
        for reason, applies in refused.items():
            if applies:
                raise ConfigError(f"training.through_time {way}: {reason}")


def build_parser(prog: str, model: str = "cnn_rnn") -> ConfigParser:
    """A parser with a flag for every leaf of RunConfig with a model of that name, and `--config FILE`.

    Raises:
        ConfigError: there is no such model.
    """
    _check_model(model)
    parser = ConfigParser(prog=prog, allow_abbrev=False, print_config=None)
    parser.settings = RunConfig
    parser.add_argument("--config", action="config", help="YAML file with any of the settings below")
    parser.add_class_arguments(RunConfig, skip={"model"})
    parser.add_class_arguments(MODELS[model].Config, "model")
    return parser


def model_named(arguments: Sequence[str]) -> str:
    """The model that flags or the files of `--config` name, the last one of several; else the one of the task.

    It decides which flags there are, so it is looked for before they are read.
    """
    model, task = "", RunConfig().task
    for argument, after in pairwise([*arguments, ""]):
        flag, equals, value = argument.partition("=")
        value = value if equals else after
        if flag == "--model.name":
            model = value
        elif flag == "--task":
            task = value
        elif flag == "--config" and Path(value).is_file():
            values = read_yaml(Path(value).read_text(encoding="utf-8"), RunConfig, value)
            model, task = _model_in(values, model), str(values.get("task", task))
    return model or MODEL_OF_TASK.get(task, RunConfig().model.name)


def from_namespace(parser: ConfigParser, values: Namespace) -> RunConfig:
    """The typed value of what a parser of `build_parser` has read."""
    built = parser.instantiate(values)
    return RunConfig(**{item.name: built[item.name] for item in dataclasses.fields(RunConfig)})


def to_yaml(config: RunConfig) -> str:
    """The whole configuration as YAML."""
    return yaml.safe_dump(_plain(dataclasses.asdict(config)), sort_keys=False, allow_unicode=True)


def from_yaml(text: str, name: str = "configuration") -> RunConfig:
    """The inverse of `to_yaml`; settings that are left out take their defaults.

    Raises:
        ConfigError: unknown or mistyped settings; the nearest name is told.
    """
    values = read_yaml(text, RunConfig, name)
    otherwise = MODEL_OF_TASK.get(str(values.get("task")), RunConfig().model.name)
    parser = build_parser("unreel", _model_in(values, otherwise))
    try:
        return from_namespace(parser, parser.parse_object(values))
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def load_config(path: str | Path) -> RunConfig:
    """Read a YAML file.

    Raises:
        ConfigError: the file is missing or says something that cannot be.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: expected a YAML file, {error.strerror}") from error
    return from_yaml(text, str(path))


def _check_model(name: str) -> None:
    if name not in MODELS:
        raise ConfigError(f"model.name: expected one of {', '.join(MODELS)}, got {name}{nearest(name, MODELS)}")


def _model_in(values: Mapping[str, Any], otherwise: str) -> str:
    return values.get("model", {}).get("name", otherwise)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
