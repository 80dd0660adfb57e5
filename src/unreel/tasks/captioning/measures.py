"""What captions are measured by: BLEU, ROUGE-L, CIDEr and CIDEr-D of a corpus, and how many differ.

The protocol is that of coco-caption, the one published: words are those of the rule `ptb`, whatever words the model
writes in; BLEU sums counts over the corpus; the others are means over clips; how rare a run of words is, CIDEr is told
by the references of the measured clips themselves, so that CIDErs of two sets of clips do not compare.

What this file is not: each score is in the file of its name; what is rewarded in training is in `rewards.py`.

Shape letters: M captions and as many clips, R references (of a clip that has fewer, the last rows are empty), B bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from unreel.tasks.captioning.bleu import bleu, statistics
from unreel.tasks.captioning.cider import Frequencies, cider, compare
from unreel.tasks.captioning.ngrams import ORDERS, Floats, Ints, Numbers, Runs, count_runs
from unreel.tasks.captioning.rouge import rouge_l
from unreel.tokens import TextConfig, tokenise

PROTOCOL = TextConfig(rule="ptb")
"""The words that all scores are counted on."""
SCORES = (*(f"bleu_{order}" for order in range(1, ORDERS + 1)), "rouge_l", "cider", "cider_d")
SHARES = ("distinct", "vocabulary")

_CLIPS, _SHORTLIST, _AT_ONCE = 1000, 40, 10


def to_bytes(text: str) -> Tensor:
    """A text as UTF-8, (B,) uint8. Zeros behind it are no part of it, so that a character of code 0 is dropped."""
    return torch.tensor(list(_bytes(text)), dtype=torch.uint8)


def texts_of(rows: Tensor) -> list[str]:
    """The texts of (M, B) bytes that `to_bytes` made, with zeros behind; an empty one of an empty row."""
    return [row.tobytes().rstrip(b"\0").decode("utf-8") for row in rows.cpu().numpy()]


def references_of(truth: Tensor) -> list[list[str]]:
    """The texts of each clip, of (M, R, B) bytes; none of an empty row."""
    return [[text for text in texts_of(rows) if text] for rows in truth.cpu()]


def _bytes(text: str) -> bytes:
    return text.replace("\0", "").encode("utf-8", "replace")


def cider_d(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr-D of each clip, 0 to 10, as `CaptionMeasures` takes the mean of; nan of a clip without a reference."""
    known = [place for place, texts in enumerate(references) if texts]
    scores = np.full(len(captions), np.nan)
    if known:
        some = _cut([captions[place] for place in known], [references[place] for place in known])
        scores[known] = cider(*some).cider_d
    return scores.tolist()


class CaptionMeasures(Metric):
    """BLEU, ROUGE-L, CIDEr, CIDEr-D of captions and their references, and how many of the captions differ.

    Texts travel as UTF-8, uint8 with zeros behind. A clip without a reference is in no measure; with none left all are
    nan.

    Args:
        sync: compute over what all processes have seen.

    compute gives, each a scalar,

        bleu_1 .. bleu_4   0 to 1, of the corpus
        rouge_l            0 to 1, mean over clips
        cider, cider_d     0 to 10, mean over clips; `cider_d` is what coco-caption calls CIDEr
        distinct           different captions, as rows of words, a caption: 1 where no two clips have the same, 1 / M
                           where one caption is written for all
        vocabulary         the share of the references' different words that some caption uses
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(self, sync: bool = True) -> None:
        super().__init__(sync_on_compute=sync)
        self.written: list[Tensor]
        self.known: list[Tensor]
        # one row of bytes each, since texts of several batches and processes are not of one width
        for name in ("written", "known"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, truth: Tensor, clips: Tensor | None = None) -> None:
        """Add clips.

        Args:
            scores: (M, B) the caption written for each; an empty row is an empty caption.
            truth: (M, R, B) its references; an empty row is no reference.
            clips: (M,) number of each clip; not asked for here.
        """
        written, known = texts_of(scores), references_of(truth)
        said = b"".join(_bytes(text) + b"\0" for text in written)
        true = b"".join(b"".join(_bytes(text) + b"\0" for text in texts) + b"\0" for texts in known)
        for stream, state in ((said, self.written), (true, self.known)):
            state.append(torch.from_numpy(np.frombuffer(stream, np.uint8).copy()).to(self.device))

    def compute(self) -> dict[str, Tensor]:
        """The measures, each a scalar."""
        written, known = self._seen()
        groups, once = np.zeros(len(written), np.int64), np.ones((1, 1), np.int64)
        values = {name: float(value[0]) for name, value in _scores(written, known, groups, once).items()}
        values |= _shares(written, known)
        return {name: torch.tensor(value, device=self.device) for name, value in values.items()}

    def seen(self) -> tuple[list[str], list[list[str]]]:
        """The caption of each clip and its references, of all processes that compute together."""
        with self.sync_context(self.dist_sync_fn, should_sync=self.sync_on_compute):
            return self._seen()

    def _seen(self) -> tuple[list[str], list[list[str]]]:
        written = _stream(self.written).split("\0")[:-1]
        known: list[list[str]] = [[]]
        for text in _stream(self.known).split("\0")[:-1]:
            if text:
                known[-1].append(text)
            else:  # the end of a clip
                known.append([])
        return written, known[:-1]

    def of_draws(
        self, scores: Tensor, truth: Tensor, clips: Tensor, groups: Tensor, drawn: Tensor
    ) -> dict[str, Tensor]:
        """The scores over groups of clips that are drawn with replacement, (R,) each, without regard to `update`.

        How rare a run of words is, is told once, by all clips: a draw takes it as given. `distinct` and `vocabulary`
        are left out: a draw holds some clips twice, and so fewer captions than another test side would.

        Args:
            scores: (M, B) the caption written for each clip.
            truth: (M, R, B) its references.
            clips: (M,) number of each clip; not asked for here.
            groups: (M,) int64, number from 0 to G - 1 of the group of each clip.
            drawn: (R, G) int64, how often each group is drawn.
        """
        values = _scores(texts_of(scores), references_of(truth), groups.cpu().numpy(), drawn.cpu().numpy())
        return {name: torch.from_numpy(values[name]) for name in SCORES}


def best_constant(references: Sequence[Sequence[str]]) -> str:
    """The caption that scores highest when it is said of every clip: what a captioner that looks at nothing can have.

    Of all references the 40 of highest mean CIDEr are compared by their mean CIDEr-D. That looks at all clips, or at a
    thousand of them drawn from seed 0; how rare words are is told by all. Of equal ones, the first.

    Args:
        references: of each training clip.

    Raises:
        ValueError: there is none.
    """
    texts = [text for clip in references for text in clip]
    if not texts:
        raise ValueError("expected captions to find the best one of, got none")
    owner = np.repeat(np.arange(len(references)), [len(clip) for clip in references])
    numbers = Numbers()
    captions = numbers(_words(text) for text in texts)
    runs = count_runs(captions, len(numbers))
    frequencies = Frequencies.of(runs, owner, len(references))
    order = np.argsort(-_mean_cider(runs, owner, frequencies), kind="stable")
    shortlist = list({tuple(captions[place]): place for place in reversed(order.tolist())}.values())[::-1][:_SHORTLIST]

    having = np.unique(owner)
    if len(having) > _CLIPS:
        having = np.sort(np.random.default_rng(0).choice(having, _CLIPS, replace=False))
    kept = np.flatnonzero(np.isin(owner, having))
    given, of_kept = count_runs([captions[place] for place in kept], len(numbers)), np.searchsorted(having, owner[kept])
    means: list[float] = []
    for begin in range(0, len(shortlist), _AT_ONCE):
        some = shortlist[begin : begin + _AT_ONCE]
        said = count_runs([captions[place] for place in some for _ in having], len(numbers))
        clip = np.tile(np.arange(len(having)), len(some))
        scores = compare(said, clip, given, of_kept, frequencies)
        means += scores.cider_d.reshape(len(some), len(having)).mean(1).tolist()
    return texts[shortlist[int(np.argmax(means))]]


def _mean_cider(runs: Sequence[Runs], owner: Ints, frequencies: Frequencies) -> Floats:
    """CIDEr of each reference, were it said of all clips, but for a factor: its cosine with all of them at once."""
    share = 1 / np.bincount(owner)[owner]
    found = np.zeros(len(owner))
    for each, weights in zip(runs, frequencies.weigh(runs), strict=True):
        norm = np.sqrt(np.bincount(each.caption, weights**2, len(owner)))
        norm[norm == 0] = 1
        part = weights / norm[each.caption]
        _, place = np.unique(each.run, return_inverse=True)
        centre = np.bincount(place, part * share[each.caption])
        found += np.bincount(each.caption, part * centre[place], len(owner))
    return found


def _scores(written: Sequence[str], known: Sequence[Sequence[str]], groups: Ints, drawn: Ints) -> dict[str, Floats]:
    """The scores of all draws, (R,) each, of groups (M,) drawn so often (R, G)."""
    kept = [place for place, texts in enumerate(known) if texts]
    if not kept:
        return {name: np.full(len(drawn), np.nan) for name in SCORES}
    captions, references = _cut([written[place] for place in kept], [known[place] for place in kept])
    times = drawn[:, groups[kept]].astype(np.float64)
    of_clips = np.stack([rouge_l(captions, references), *cider(captions, references)], 1)
    sums = times @ statistics(captions, references)
    with np.errstate(invalid="ignore"):  # a draw may hold no clip that has references
        means = times @ of_clips / times.sum(1, keepdims=True)
    return dict(zip(SCORES, [*bleu(sums).T, *means.T], strict=True))


def _shares(written: Sequence[str], known: Sequence[Sequence[str]]) -> dict[str, float]:
    """`distinct` and `vocabulary`."""
    kept = [place for place, texts in enumerate(known) if texts]
    if not kept:
        return dict.fromkeys(SHARES, math.nan)
    captions, references = _cut([written[place] for place in kept], [known[place] for place in kept])
    used = {word for words in captions for word in words}
    asked = {word for clip in references for words in clip for word in words}
    vocabulary = len(used & asked) / len(asked) if asked else math.nan
    return dict(zip(SHARES, (len(set(captions)) / len(captions), vocabulary), strict=True))


@lru_cache(maxsize=1 << 16)
def _words(text: str) -> tuple[str, ...]:
    """The words of a text; those of references are asked for in every epoch again."""
    return tuple(tokenise(text, PROTOCOL))


def _cut(
    captions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[list[tuple[str, ...]], list[list[tuple[str, ...]]]]:
    return [_words(text) for text in captions], [[_words(text) for text in texts] for texts in references]


def _stream(rows: Tensor | list[Tensor]) -> str:
    return dim_zero_cat(rows).cpu().numpy().tobytes().decode("utf-8")
