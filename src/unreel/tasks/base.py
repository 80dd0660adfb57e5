"""Task: what an output means. Loss, measures and rows of a model's outputs, and the optimiser that lowers the loss.

A task knows no file and no reader. It takes any module that answers `model(frames, lengths) -> (outputs, state)`; one
that `SeesViews` is handed the views, too.

Shape letters: N clips, T frames, K outputs, M measured items (clips, or valid frames of all clips).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MetricCollection

from unreel.clip import Chunk, ClipBatch, LongClip, Missing
from unreel.errors import ReadError
from unreel.nn import SeesViews
from unreel.nn.through_time import recompute, stream
from unreel.tasks.optim import OptimConfig, Part, begins, rate
from unreel.tasks.segments import clip_number


class Segment(Protocol):
    """A label from `start` to `end`, in seconds of the source."""

    @property
    def start(self) -> float:
        """Seconds, inclusive."""
        ...

    @property
    def end(self) -> float:
        """Seconds, exclusive."""
        ...

    @property
    def label(self) -> str:
        """The label's name; empty where nothing is known."""
        ...


class Labelled(Protocol):
    """What a task asks of an example: its labels as they stand in the manifest."""

    @property
    def key(self) -> str:
        """The clip's unique name."""
        ...

    @property
    def labels(self) -> Sequence[str]:
        """Labels of the whole clip."""
        ...

    @property
    def segments(self) -> Sequence[Segment]:
        """Labels in time."""
        ...


class Outputs(Protocol):
    """What a task says of a batch: a tensor, or a value made of tensors."""

    def cpu(self) -> Self:
        """The same on the CPU."""
        ...


Said = TypeVar("Said", bound=Outputs)


class Task(LightningModule, ABC, Generic[Said]):
    """A model under training for one purpose. What it says of a batch is `Said`: of most tasks the model's outputs.

    Args:
        model: answers `(frames (N, T, *frame), lengths (N,)) -> (outputs, state)`; outputs are (N, K) where `readout`
            is "clip", (N, T, K) where it is "frame".
        labels: the K names of the outputs.
        optim: how the weights move.
        class_weights: (K,) weight of each class in the loss; None for equal ones.
        from_features: the batches carry features of a frozen encoder in place of frames, and `model.decode` is run
            on them.

    Attributes:
        monitor: the measure of validation that the best epoch is chosen by.
        mode: whether it is to be high or low.
        also: other measures that it may be chosen by, of the same mode.
        remark: what is to be told after this epoch's validation, one line; empty where there is nothing.
        total_steps: optimiser steps of the whole training, over which the learning rate is scheduled. Lightning's own
            estimate would build the training loader before a checkpoint can tell it where to go on.
    """

    readout: ClassVar[Literal["clip", "frame"]]
    monitor: ClassVar[str]
    mode: ClassVar[Literal["min", "max"]]
    also: ClassVar[tuple[str, ...]] = ()
    has_classes: ClassVar[bool] = True
    """Whether the outputs are classes, whose names are labels in the manifest; else they are numbers."""

    def __init__(
        self,
        model: nn.Module,
        labels: Sequence[str],
        optim: OptimConfig | None = None,
        class_weights: Tensor | None = None,
        from_features: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.labels = tuple(labels)
        self.optim = optim or OptimConfig()
        self.from_features = from_features
        self.remark = ""
        self.total_steps = 1
        self.carried: Any = None
        """State of the model behind the chunk that was trained on last; None before a clip's first one."""
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.class_weights: Tensor | None
        self.measures = self.make_measures()

    @classmethod
    @abstractmethod
    def label_names(cls, examples: Sequence[Labelled]) -> tuple[str, ...]:
        """The K names of the outputs, found in the examples to learn from."""

    @abstractmethod
    def encode(self, example: Labelled, times: Tensor) -> Mapping[str, Tensor]:
        """Targets of one clip, whose frames stand at `times` (T,) seconds."""

    @abstractmethod
    def loss(self, outputs: Tensor, batch: ClipBatch) -> Tensor:
        """The mean loss over measured items, a scalar, of what `taught` gives."""

    @abstractmethod
    def pairs(self, outputs: Said, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Scores (M, K) and truth (M, ...) of the measured items: what the measures are computed from."""

    def owners(self, batch: ClipBatch) -> Tensor:
        """(M,) int64: which of the N clips each measured item belongs to."""
        return torch.arange(len(batch))

    def clips(self, batch: ClipBatch) -> Tensor:
        """(M,) int64: the number of the clip of each measured item, by its key: the same in every batch and process."""
        owners = self.owners(batch)
        return torch.tensor([clip_number(key) for key in batch.keys], device=owners.device)[owners]

    @abstractmethod
    def constant(self, targets: Sequence[Mapping[str, Tensor]]) -> Tensor | None:
        """Scores (K,) of the best answer that looks at no frame, learned from training targets: a control.

        None where there can be none, since what is said is about frames that were seen.
        """

    @abstractmethod
    def make_measures(self, sync: bool = True) -> MetricCollection:
        """Fresh torchmetrics over (scores, truth), and over `clips` where they ask for it.

        A measure of one label alone is called `MEASURE/LABEL`.

        Args:
            sync: processes that train together compute over what all of them have seen.
        """

    @abstractmethod
    def rows(self, outputs: Said, batch: ClipBatch) -> list[dict[str, Any]]:
        """What is said of each clip, ready for JSON: one dict a clip, without file and time."""

    @abstractmethod
    def truths(self, batch: ClipBatch) -> list[dict[str, Any]]:
        """What is true of each clip in the form of `rows`, under the key "truth"."""

    def marks(self, scores: Tensor, truth: Tensor) -> Mapping[str, list[float]]:
        """By name, a mark of each measured item for its row that can be told only when all are known; of most none."""
        del scores, truth
        return {}

    def caution(self, scores: Tensor, truth: Tensor) -> str:
        """What a reader of the measures must be told beside them, one line; empty where there is nothing."""
        del scores, truth
        return ""

    def forward(self, batch: ClipBatch | LongClip) -> Said:
        """What is said of a batch, of most tasks outputs (N, K) or (N, T, K).

        A long clip's frames are read chunk by chunk, and never all held.

        Raises:
            ReadError: a long clip's frames cannot be read.
        """
        if isinstance(batch, LongClip):
            return cast(Said, self._through_time(batch))
        if isinstance(self.model, SeesViews):
            return self.model(batch.frames, batch.lengths, views=batch.views)[0]
        run = self.model.decode if self.from_features else self.model
        outputs, _ = run(batch.frames, batch.lengths)  # type: ignore[operator]
        return outputs

    def taught(self, batch: ClipBatch | LongClip | Chunk) -> Tensor:
        """The outputs to learn from, which `loss` judges: of most tasks what is said anyway."""
        return self._follow(batch) if isinstance(batch, Chunk) else cast(Tensor, self(batch))

    def training_step(self, batch: ClipBatch | LongClip | Chunk | Missing, batch_idx: int) -> Tensor | None:
        """Loss of one batch; None, and so no step, where it cannot be read."""
        if isinstance(batch, Missing):
            self.carried = None  # what follows does not follow on what was
            return None
        try:
            outputs = self.taught(batch)
        except ReadError:  # whoever reads the clip lists it
            return None
        clip = _all_but_frames(batch)
        loss = self.loss(outputs, clip)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(clip), sync_dist=True)
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """The gradient of the loss; none of it where a long clip, which is read again for it, can no longer be read.

        Gradients through a long clip come all together at the end, so that none of a broken one is left behind.
        """
        with suppress(ReadError):  # whoever reads the clip lists it
            super().backward(loss, *args, **kwargs)

    def validation_step(self, batch: ClipBatch | LongClip, batch_idx: int) -> None:
        """Loss and measures of one batch, if it can be read."""
        try:
            outputs = self(batch)
        except ReadError:
            return
        clip = _all_but_frames(batch)
        self.log("val_loss", self.loss(outputs, clip), batch_size=len(clip), sync_dist=True)
        scores, truth = self.pairs(outputs, clip)
        self.measures.update(scores, truth, clips=self.clips(clip).to(scores.device))

    def _through_time(self, clip: LongClip) -> Tensor:
        """Outputs (1, T, K), or (1, K), of a long clip; differentiable in training."""
        if self.readout == "frame":
            if torch.is_grad_enabled():
                return recompute(self.model, clip.read, clip.chunks)
            return torch.cat(list(stream(self.model, clip.read, clip.chunks)), 1)
        outputs, state = self.model(clip.read(0))
        for index in range(1, clip.chunks):
            outputs, state = self.model(clip.read(index), None, state)
        return outputs

    def _follow(self, chunk: Chunk) -> Tensor:
        """Outputs (1, t, K) of a chunk, with the state behind the chunk before it, through which no gradient flows."""
        before = None if chunk.begins else _detached(self.carried, self.device)
        outputs, after = self.model(chunk.clip.frames, None, before)
        self.carried = None if chunk.ends else _detached(after, self.device)
        return outputs

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the state in the midst of a clip."""
        checkpoint["carried"] = self.carried

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on in the midst of a clip."""
        self.carried = checkpoint["carried"]

    def on_validation_epoch_end(self) -> None:
        """Log the measures over all validation clips."""
        values = self.measures.compute()
        self.log_dict({f"val_{name}": value for name, value in values.items() if value.ndim == 0}, sync_dist=True)
        self.measures.reset()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser and schedule of `OptimConfig` over the parameters that are not frozen."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": self.optim.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer: torch.optim.Optimizer
        if self.optim.optimizer == "adamw":
            optimizer = torch.optim.AdamW(groups, lr=self.optim.lr)
        else:
            optimizer = torch.optim.SGD(groups, lr=self.optim.lr, momentum=0.9, nesterov=True)
        parts = tuple(self.parts)
        schedule = LambdaLR(optimizer, lambda step: rate(step, parts, self.optim))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_batch_start(self, batch: ClipBatch | LongClip | Chunk | Missing, batch_idx: int) -> None:
        """Let the optimiser forget, where a part of training begins, the gradients of the part before.

        Adam divides by their size, and one part's may be small beside another's.
        """
        if self.global_step in begins(self.parts):
            cast(torch.optim.Optimizer, self.optimizers(use_pl_optimizer=False)).state.clear()

    @property
    def parts(self) -> Sequence[Part]:
        """The parts of training, in each of which the learning rate rises and falls anew: of most tasks one."""
        return (Part(self.total_steps),)


def _all_but_frames(batch: ClipBatch | LongClip | Chunk) -> ClipBatch:
    if isinstance(batch, LongClip):
        return batch.whole
    return batch.clip if isinstance(batch, Chunk) else batch


def _detached(state: Any, device: torch.device) -> Any:
    """A copy of a state, a tensor or a tuple of states, that keeps nothing else alive."""
    if isinstance(state, Tensor):
        return state.detach().to(device, copy=True)
    return None if state is None else tuple(_detached(branch, device) for branch in state)
