"""Captioning: sentences about a clip. What is learned is the next word, what is said is what a search finds.

What this file is not: how words become targets and losses is in `captioning/teaching.py`, how captions are judged in
the files beside it, how they are searched for in `nn/search.py`.

Shape letters: N clips, T frames, P places of a frame, R captions of a clip, L words, V outputs: the words and the end;
M words of all captions, B bytes of a caption.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, cast

import torch
from lightning.pytorch import Trainer
from torch import Generator, Tensor, nn
from torchmetrics import MetricCollection

from unreel.clip import Chunk, ClipBatch, LongClip, Missing, stacked
from unreel.errors import ConfigError
from unreel.nn import Memory, SearchConfig, SeesWords, WordState, Written, search
from unreel.tasks.base import Labelled, Task
from unreel.tasks.captioning.concepts import Concepts, concept_loss
from unreel.tasks.captioning.measures import (
    CaptionMeasures,
    best_constant,
    cider_d,
    references_of,
    texts_of,
    to_bytes,
)
from unreel.tasks.captioning.rewards import Rewards
from unreel.tasks.captioning.sameness import sameness
from unreel.tasks.captioning.settings import CaptionConfig
from unreel.tasks.captioning.teaching import (
    END,
    advantages,
    before,
    counted,
    drawn_places,
    inputs_of,
    reward_loss,
    up_to_end,
    with_own_words,
    word_loss,
)
from unreel.tasks.measures import collect
from unreel.tasks.optim import OptimConfig, Part
from unreel.tasks.segments import clip_number
from unreel.tokens import NAMES, UNKNOWN, TextConfig, Vocabulary, tokenise

DRAWN = 5
"""Captions of each clip that are drawn in self-critical training."""
GENTLE = 0.005
"""Share of the highest learning rate at which rewards are climbed. At ten times of it the captions that a beam finds
became alike within an epoch, and worse: docs/guides/captions.md."""


class Caption(Task[Written]):
    """Sentences about a clip: cross-entropy of each next word, the mean over words. The labels are the words.

    The labels of an example are its captions, sentences as they were written. Targets: `words` (R, L) int64, each
    caption's words and its end, 0 behind; of one that is longer than `text.max_length` words, or, where that is None,
    than the search would write, the first words and no end. `references` (R, B) uint8, the captions whole as UTF-8,
    zeros behind: what measures compare with.

    Args:
        model: one that `SeesWords`.
        labels: `tokens.NAMES` and the words, see `words_of`; index 0 is begin and end.
        optim, class_weights, from_features: see `Task`.
        settings: how captions are learned and written.
        text: how a caption becomes words.
        seed: of captions that are drawn in evaluation and prediction, each from (seed, clip).
    """

    readout = "clip"
    monitor = "cider_d"
    mode = "max"
    also = ("cider", "bleu_4", "bleu_3", "bleu_2", "bleu_1", "rouge_l")
    has_classes = False

    def __init__(
        self,
        model: nn.Module,
        labels: Sequence[str],
        optim: OptimConfig | None = None,
        class_weights: Tensor | None = None,
        from_features: bool = False,
        settings: CaptionConfig | None = None,
        text: TextConfig | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(model, labels, optim, class_weights, from_features)
        self.settings = settings or CaptionConfig()
        self.text = (text or TextConfig()).of_captions()
        self.seed = seed
        self.vocabulary = Vocabulary(self.labels[len(NAMES) :])
        self.longest = self.text.max_length or self.settings.search.max_length
        self.concepts = None
        if self.settings.concepts:
            self.concepts = Concepts(self._writer.feature_shape[-1], len(self.labels))
        self.rewards: Rewards | None = None
        self.constant_caption: str | None = None
        self._constant_score = math.nan

    @classmethod
    def label_names(cls, examples: Sequence[Labelled]) -> tuple[str, ...]:
        """As `words_of`, of captions that are read as by default."""
        return cls.words_of(examples, TextConfig())

    @classmethod
    def words_of(cls, examples: Sequence[Labelled], text: TextConfig) -> tuple[str, ...]:
        """Names of the outputs: `tokens.NAMES`, then the words of the examples' captions, the most frequent first.

        Args:
            examples: the training side.
            text: how a caption becomes words, and how often one must stand there.

        Raises:
            ConfigError: no word stands there so often.
        """
        text = text.of_captions()
        counts: Counter[str] = Counter()
        for example in examples:
            for caption in example.labels:
                counts.update(tokenise(caption, text)[: text.max_length])
        vocabulary = Vocabulary.of(counts, text.min_count)
        if not vocabulary.tokens:
            raise ConfigError(
                f"expected words to write captions with: of {len(counts)} different ones in the captions of "
                f"{len(examples)} training clips none stands there {text.min_count} times; lower data.text.min_count"
            )
        return (*NAMES, *vocabulary.tokens)

    def fit_captions(self, examples: Sequence[Labelled]) -> None:
        """Learn from the training side what is told beside the loss: its best constant caption, and what is rare."""
        references = [list(example.labels) for example in examples]
        self.constant_caption = best_constant(references)
        if self.settings.self_critical:
            self.rewards = Rewards(references)

    def encode(self, example: Labelled, times: Tensor) -> Mapping[str, Tensor]:
        """`words` (R, L) int64 and `references` (R, B) uint8."""
        if not example.labels:
            return {"words": torch.zeros(0, 0, dtype=torch.int64), "references": torch.zeros(0, 0, dtype=torch.uint8)}
        words = [self.vocabulary.encode(tokenise(caption, self.text)) for caption in example.labels]
        ended = [torch.cat([row, row.new_full((1,), END)])[: self.longest + 1] for row in words]
        return {"words": stacked(ended), "references": stacked([to_bytes(caption) for caption in example.labels])}

    def forward(self, batch: ClipBatch | LongClip) -> Written:
        """The captions that the search finds."""
        return self._search(self._read(_whole(batch)), batch, self.settings.search)

    def taught(self, batch: ClipBatch | LongClip | Chunk) -> Tensor:
        """Logits (M, V) of each word that counts, behind the true ones; in training, behind some own ones."""
        clips = _whole(batch)
        return self._after_true_words(self._read(clips), clips)

    def loss(self, outputs: Tensor, batch: ClipBatch) -> Tensor:
        """Mean cross-entropy over the words of all captions."""
        return word_loss(outputs, batch.targets["words"], self.optim.label_smoothing)

    def training_step(self, batch: ClipBatch | LongClip | Chunk | Missing, batch_idx: int) -> Tensor | None:
        """Loss of one batch: of its words, or in self-critical epochs of the captions that are drawn for it; and of
        its concepts, if they are learned.
        """
        if not isinstance(batch, ClipBatch):
            return super().training_step(batch, batch_idx)
        features = self._look(batch)
        logged: dict[str, Tensor] = {}
        losses = []
        if self._writes:
            memory = self._writer.read(features, batch.lengths)
            if self._is_critical:
                loss, logged["train_reward"] = self._criticised(memory, batch)
            else:
                loss = self.loss(self._after_true_words(memory, batch), batch)
            logged["train_loss"] = loss
            losses.append(loss)
        if self.concepts is not None:
            seen = concept_loss(self.concepts(features, batch.lengths), batch.targets["words"])
            logged["train_concepts"] = seen
            losses.append(self.settings.concepts * seen)
        for name, value in logged.items():
            self.log(name, value, on_step=False, on_epoch=True, batch_size=len(batch), sync_dist=True)
        return torch.stack(losses).sum()

    def validation_step(self, batch: ClipBatch | LongClip, batch_idx: int) -> None:
        """Loss of concepts and of the true words, and measures of the captions written, from one look at the clips.

        In epochs of concepts alone nothing is written yet, and these are all that is validated.
        """
        clips = _whole(batch)
        features = self._look(clips)
        if self.concepts is not None:
            seen = concept_loss(self.concepts(features, clips.lengths), clips.targets["words"])
            self.log("val_concepts", seen, batch_size=len(clips), sync_dist=True)
        if not self._writes:
            return
        memory = self._writer.read(features, clips.lengths)
        loss = self.loss(self._after_true_words(memory, clips), clips)
        self.log("val_loss", loss, batch_size=len(clips), sync_dist=True)
        scores, truth = self.pairs(self._search(memory, clips, self.settings.search_of_validation), clips)
        self.measures.update(scores, truth, clips=self.clips(clips).to(scores.device))

    def on_validation_epoch_end(self) -> None:
        """Log the measures, the score of the best constant caption, and say if captions are almost all the same."""
        if not self._writes:
            return
        written, references = cast(CaptionMeasures, self.measures["captions"]).seen()
        super().on_validation_epoch_end()
        self.remark = sameness(written, references)
        if self.constant_caption is not None:
            if math.isnan(self._constant_score):  # the same in every epoch
                self._constant_score = fmean(cider_d([self.constant_caption] * len(references), references))
            self.log("val_constant_cider_d", self._constant_score, sync_dist=True)

    def pairs(self, outputs: Written, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """The best caption of each clip (N, B) and its references (N, R, B), as UTF-8."""
        written = stacked([to_bytes(self._text(words)) for words in outputs.words[:, 0].tolist()])
        return written.to(outputs.words.device), batch.targets["references"]

    def constant(self, targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """The caption (B,) that scores highest when it is said of all training clips."""
        return to_bytes(best_constant([texts_of(target["references"]) for target in targets]))

    def make_measures(self, sync: bool = True) -> MetricCollection:
        """BLEU, ROUGE-L, CIDEr, CIDEr-D, and how many different captions and words there are."""
        return collect({"captions": CaptionMeasures(sync)})

    def marks(self, scores: Tensor, truth: Tensor) -> Mapping[str, list[float]]:
        """`cider_d` of each clip, its words weighted by how rare they are in all references."""
        return {"cider_d": cider_d(texts_of(scores), references_of(truth))}

    def caution(self, scores: Tensor, truth: Tensor) -> str:
        """A line if (almost) all captions are the same while the references are not."""
        return sameness(texts_of(scores), references_of(truth))

    def rows(self, outputs: Written, batch: ClipBatch) -> list[dict[str, Any]]:
        """`caption` and `score` of the best, and all `captions`, each with its words, their log-probability and, where
        the model has attention, how much each looked at each place of each frame.
        """
        frames = batch.frames.shape[1]
        rows = []
        for clip, length in enumerate(batch.lengths.tolist()):
            looked = None
            if outputs.attention is not None:
                looked = outputs.attention[clip].unflatten(-1, (frames, -1))[:, :, :length]
            captions = [
                self._row(outputs, clip, place, looked)
                for place, score in enumerate(outputs.scores[clip].tolist())
                if math.isfinite(score)
            ]
            rows.append({"caption": captions[0]["caption"], "score": captions[0]["score"], "captions": captions})
        return rows

    def truths(self, batch: ClipBatch) -> list[dict[str, Any]]:
        """`truth`: the references."""
        return [{"truth": texts} for texts in references_of(batch.targets["references"])]

    @property
    def parts(self) -> Sequence[Part]:
        """The epochs of concepts alone, those that learn words, and those that learn from rewards."""
        each = self.total_steps // self._epochs
        first, last = each * self.settings.concepts_first, each * self.settings.self_critical
        parts = (Part(first), Part(self.total_steps - first - last), Part(last, GENTLE))
        return tuple(part for part in parts if part.steps)

    @property
    def _epochs(self) -> int:
        return cast(int, cast(Trainer, self.trainer).max_epochs)

    @property
    def _writer(self) -> SeesWords:
        return cast(SeesWords, self.model)

    @property
    def _writes(self) -> bool:
        """Whether captions are learned in this epoch, and not concepts alone."""
        return self.current_epoch >= self.settings.concepts_first

    @property
    def _is_critical(self) -> bool:
        """Whether this epoch learns from rewards."""
        epochs = self.settings.self_critical
        return epochs > 0 and self.current_epoch >= self._epochs - epochs

    def _look(self, batch: ClipBatch) -> Tensor:
        return batch.frames if self.from_features else self._writer.encode(batch.frames, batch.lengths)

    def _read(self, batch: ClipBatch) -> Memory:
        return self._writer.read(self._look(batch), batch.lengths)

    def _after_true_words(self, memory: Memory, batch: ClipBatch) -> Tensor:
        words = batch.targets["words"]
        inputs = inputs_of(words)
        share = self.settings.scheduled_sampling * self.global_step / self.total_steps if self.training else 0.0
        if share > 0:
            places = drawn_places(inputs, share)
            with torch.no_grad():
                first = self._writer.teach(inputs, memory, before(places))
            inputs = with_own_words(inputs, places, first)
        return self._writer.teach(inputs, memory, counted(words))

    def _search(self, memory: Memory, batch: ClipBatch | LongClip, how: SearchConfig) -> Written:
        generators = None
        if how.method == "sample" and not self.training:
            keys = _whole(batch).keys
            generators = [Generator().manual_seed((self.seed * 1_000_003 + clip_number(key)) % 2**63) for key in keys]
        return search(
            lambda words, state: self._writer.next(words, memory, cast(WordState, state)),
            self._writer.start(memory, 1),
            how,
            (UNKNOWN,),
            generators,
        )

    def _criticised(self, memory: Memory, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Loss and mean reward of captions that are drawn for a batch."""
        how = SearchConfig("sample", max_length=self.settings.search.max_length, n_best=DRAWN)
        with torch.no_grad():
            words = self._search(memory, batch, how).words
        captions = [[self._text(row) for row in rows] for rows in words.tolist()]
        ended = (words == END).any(-1).tolist()
        rewards = cast(Rewards, self.rewards)(captions, references_of(batch.targets["references"]), ended)
        logits = self._writer.teach(inputs_of(words), memory, up_to_end(words))
        return reward_loss(logits, words, advantages(rewards.to(words.device))), rewards.mean()

    def _text(self, words: Sequence[int]) -> str:
        """The caption that a row of indices is, up to its end."""
        end = words.index(END) if END in words else len(words)
        between = "" if self.text.tokens == "characters" else " "
        return between.join(self.labels[word] for word in words[:end])

    def _row(self, outputs: Written, clip: int, place: int, looked: Tensor | None) -> dict[str, Any]:
        """One caption; `looked` (captions, L, T, P)."""
        words = outputs.words[clip, place].tolist()
        end = words.index(END) if END in words else len(words)
        each: list[dict[str, Any]] = [
            {"word": self.labels[word], "log_prob": log_prob}
            for word, log_prob in zip(words[:end], outputs.log_probs[clip, place].tolist(), strict=False)
        ]
        if looked is not None:
            for word, weights in zip(each, looked[place].tolist(), strict=False):
                word["attention"] = [[round(weight, 4) for weight in frame] for frame in weights]
        return {"caption": self._text(words), "score": float(outputs.scores[clip, place]), "words": each}


def _whole(batch: ClipBatch | LongClip | Chunk) -> ClipBatch:
    if not isinstance(batch, ClipBatch):
        raise ConfigError(f"captions are written of whole clips, got {batch!r}: set training.through_time whole")
    return batch
