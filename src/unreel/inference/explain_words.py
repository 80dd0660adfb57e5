"""Why a captioner wrote each word: which frames and which places counted, where it looked, checked by covering them.

The captions are written once more with their words given, and the log-probability of each word is differentiated back
through the recurrence to the encoder's last maps. Every word has a heat of its own; covering a place tells at once what
each word loses by it. What this file is not: it draws nothing, and opens no file.

Shape letters: T frames, L words, P parts, G patches along a side, A places that attention sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, cast

import torch
from torch import Tensor

from unreel.clip import Clip, ClipBatch, collate
from unreel.data import Broken
from unreel.errors import ConfigError
from unreel.inference.heat import Method, over_frames, weigh
from unreel.inference.occlusion import Occlusion, agreement, falls, pooled
from unreel.nearest import nearest
from unreel.nn import BEGIN, SeesWords, Watch
from unreel.tasks import Caption
from unreel.tokens import NAMES, tokenise

AGREEMENT = ("frames", "patches")


@dataclass(frozen=True, eq=False)
class CaptionExplanation:
    """Why each word of a caption was written.

    Args:
        where: `file`, `start` and `end`, as rows of `predict` begin.
        words: the L words.
        log_probs: (L,) of each word after those before it.
        said: what the task says of the clip, as `predict` does.
        truth: `truth` where it is known, else nothing.
        frames: (T, *frame) as the model saw them.
        times: (T,) seconds, or position.
        importance: (L, T) the share of each frame in a word's heat; 1 in all, or all 0 where nothing spoke for it.
        heat: (L, T, h, w) of the model's map, 1 at most for each word; None where it has no places.
        attention: (L, T, h, w) weights of the places looked at, 1 over a word; None of models without.
        occlusion: what each word lost: its `frames` are (P, L), its `patches` (G, G, L).
        agreement: of each word `frames` and `patches`, the rank correlation of heat and occlusion; None where there is
            none.
        covering: of each word `heat` and `attention`: what it lost where the patch that has most of it was covered,
            and what on average over all patches, as a patch by chance; empty where patches were not covered.
    """

    where: Mapping[str, Any]
    words: tuple[str, ...]
    log_probs: Tensor = field(repr=False)
    said: Mapping[str, Any]
    truth: Mapping[str, Any]
    frames: Tensor = field(repr=False)
    times: Tensor = field(repr=False)
    importance: Tensor = field(repr=False)
    heat: Tensor | None = field(repr=False)
    attention: Tensor | None = field(repr=False)
    occlusion: Occlusion = field(repr=False)
    agreement: tuple[Mapping[str, float | None], ...]
    covering: tuple[Mapping[str, tuple[float, float]], ...]

    def row(self) -> dict[str, Any]:
        """All but the pictures, ready for JSON."""
        return {
            **self.where,
            "target": " ".join(self.words),
            "output": float(self.log_probs.sum()),
            **self.truth,
            "said": self.said,
            "times": self.times.tolist(),
            "parts": self.occlusion.parts.tolist(),
            "words": [self._word(number) for number in range(len(self.words))],
            "agreement": {what: _mean([one[what] for one in self.agreement]) for what in AGREEMENT},
        }

    def _word(self, number: int) -> dict[str, Any]:
        frames, patches = self.occlusion.frames, self.occlusion.patches
        return {
            "word": self.words[number],
            "log_prob": float(self.log_probs[number]),
            "importance": self.importance[number].tolist(),
            "attention": None if self.attention is None else self.attention[number].flatten(1).tolist(),
            "occlusion": {
                "frames": None if frames is None else frames[:, number].tolist(),
                "patches": None if patches is None else patches[..., number].tolist(),
            },
            "agreement": dict(self.agreement[number]),
            "covering": {
                what: {"there": there, "anywhere": anywhere}
                for what, (there, anywhere) in self.covering[number].items()
            },
        }


def asked_words(task: Caption, target: str) -> tuple[str, ...]:
    """The words of a caption that is to be explained in place of the written one.

    Raises:
        ConfigError: it has none, or one that the run does not know.
    """
    words = tuple(tokenise(target, task.text))
    if not words:
        raise ConfigError(f"target must be a caption, got {target!r}")
    for word in words:
        if word not in task.labels[len(NAMES) :]:
            raise ConfigError(
                f"target must be a caption of words that the run knows, {word!r} is none{nearest(word, task.labels)}"
            )
    return words


def explain_caption(
    task: Caption,
    where: Mapping[str, Any],
    clip: Clip,
    device: torch.device,
    target: str | None,
    method: Method,
    labelled: bool,
    with_patches: bool,
) -> CaptionExplanation | Broken:
    """Explain what the task, in eval mode on `device`, writes of one clip; Broken where that is no word.

    Args:
        task, clip, device: see above.
        where: as rows of `predict` begin.
        target: a caption to explain in place of the written one; see `asked_words`.
        method: see `unreel.inference.heat.find_heat`.
        labelled: the clip's own captions are known.
        with_patches: cover patches too, and not frames only.
    """
    seen = collate([clip])
    batch = seen.to(device)
    with torch.inference_mode():
        said = task.rows(task(batch).cpu(), seen)[0]
    written = [entry["word"] for entry in said["captions"][0]["words"]]
    words = tuple(written) if target is None else asked_words(task, target)
    if not words:
        return Broken(clip.key, str(where["file"]), "nothing is written of it, so that there is no word to explain")
    indices = torch.tensor([task.labels.index(word) for word in words], dtype=torch.int64, device=device)
    model = cast(SeesWords, task.model)
    found = _heat_of_words(model, batch, indices, method)
    space = tuple(clip.frames.shape[2:]) if clip.frames.ndim == 4 else ()
    spread = [over_frames(one, space) for one in found.places]  # of all words, or of none
    has_places = spread[0] is not None
    occlusion = falls(lambda clips: _log_probs(model, clips, indices)[0], batch, with_patches and has_places)
    attention = found.attention
    if attention is not None:
        attention = attention.unflatten(-1, cast(tuple[int, int], model.grid)).cpu()
    looked = [None if attention is None else over_frames(attention[number], space) for number in range(len(words))]
    of_words = [occlusion.of(number) for number in range(len(words))]
    return CaptionExplanation(
        where=where,
        words=words,
        log_probs=found.log_probs,
        said=said,
        truth=task.truths(seen)[0] if labelled else {},
        frames=clip.frames,
        times=clip.times,
        importance=found.importance.cpu(),
        heat=(found.places / found.places.amax((1, 2, 3), keepdim=True).clamp_min(1e-30)).cpu() if has_places else None,
        attention=attention,
        occlusion=occlusion,
        agreement=tuple(map(agreement, of_words, found.importance, spread)),
        covering=tuple(map(_covering, of_words, spread, looked)),
    )


@dataclass(frozen=True, eq=False)
class _Found:
    """Of each word: log-probability (L,), shares of frames (L, T), heat (L, T, *map), attention (L, T, P) or None."""

    log_probs: Tensor
    importance: Tensor
    places: Tensor
    attention: Tensor | None


def _heat_of_words(model: SeesWords, batch: ClipBatch, words: Tensor, method: Method) -> _Found:
    """One run of the model, and one backward pass for each word, which ends at the maps."""
    heat = []
    with Watch(model.sites()) as watch, torch.enable_grad():  # type: ignore[operator]
        log_probs, attention = _log_probs(model, batch, words)
        for score in log_probs[0]:
            heat.append(weigh(watch, watch.gradients(score, again=True), batch, method))
    frames = batch.frames.shape[1]
    return _Found(
        log_probs[0].detach().cpu(),
        torch.cat([importance for _, importance in heat]),
        torch.cat([places for places, _ in heat]),
        None if attention is None else attention[0, 0].detach().unflatten(-1, (frames, -1)),
    )


def _log_probs(model: SeesWords, batch: ClipBatch, words: Tensor) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities (N, L) of the words, each after those before it, and attention (N, 1, L, A) or None."""
    given = torch.cat([words.new_full((1,), BEGIN), words])[: len(words)].expand(len(batch), 1, -1)
    memory = model.read(model.encode(batch.frames, batch.lengths), batch.lengths)
    logits, _, attention = model.write(given, memory)
    chosen = words.expand(len(batch), -1).unsqueeze(-1)
    return logits[:, 0].log_softmax(-1).gather(-1, chosen)[..., 0], attention


def _covering(occlusion: Occlusion, heat: Tensor | None, looked: Tensor | None) -> dict[str, tuple[float, float]]:
    """What a word lost under the hottest patch, and under a patch by chance; heat and attention (T, H, W)."""
    lost = occlusion.patches
    if lost is None:
        return {}
    found = {}
    for name, spread in (("heat", heat), ("attention", looked)):
        if spread is not None and spread.any():
            hottest = int(pooled(spread, lost.shape).argmax())
            found[name] = (float(lost.flatten()[hottest]), float(lost.mean()))
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
