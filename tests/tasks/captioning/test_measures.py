"""What captions are measured by: the published scores of whole texts, how many differ, draws, and the best constant."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from unreel.inference.intervals import measure
from unreel.tasks.captioning.cider import cider
from unreel.tasks.captioning.measures import (
    SCORES,
    SHARES,
    CaptionMeasures,
    best_constant,
    cider_d,
    texts_of,
    to_bytes,
)
from unreel.tasks.measures import OfDraws, collect

GOLDENS = json.loads((Path(__file__).parent / "goldens" / "scores.json").read_text(encoding="utf-8"))
CORPUS = [(candidate, references) for candidate, references in GOLDENS["several"]["corpus"]]


def rows(texts):
    return pad_sequence([to_bytes(text) for text in texts], batch_first=True)


def batch(corpus):
    most = max(1, *(len(references) for _, references in corpus))
    filled = [[*references, *[""] * (most - len(references))] for _, references in corpus]
    truth = rows([text for references in filled for text in references]).unflatten(0, (len(corpus), most))
    return rows([candidate for candidate, _ in corpus]), truth


def computed(*corpora):
    metric = CaptionMeasures()
    for corpus in corpora:
        metric.update(*batch(corpus))
    return {name: float(value) for name, value in metric.compute().items()}


@pytest.mark.parametrize("text", ["", "a dog", "naïve 犬 😀", "x" * 2000])
def test_texts_travel(text):
    row = torch.nn.functional.pad(to_bytes(text), (0, 3))
    assert row.dtype == torch.uint8
    assert texts_of(row[None]) == [text]


def test_what_no_text_can_hold_is_no_end_of_a_run():
    assert texts_of(to_bytes("a\0b")[None]) == ["ab"]
    assert texts_of(to_bytes("half \ud83d")[None]) == ["half ?"]


def test_scores_of_a_corpus_are_the_published_ones():
    values, golden = computed(CORPUS), GOLDENS["several"]
    assert tuple(values) == (*SCORES, *SHARES)
    assert [values[f"bleu_{order}"] for order in (1, 2, 3, 4)] == pytest.approx(golden["bleu"], abs=1e-6)
    for name in ("rouge_l", "cider", "cider_d"):
        assert values[name] == pytest.approx(sum(golden[name]) / len(golden[name]), abs=1e-6)


def test_texts_are_cut_by_the_published_rule():
    plain = [("a man does n't run", ["a man does n't run"]), ("it 's a dog", ["it 's a dog"])]
    written = [("A man doesn't run.", ["a man, doesn't run !"]), ("It's a dog", ["IT'S a dog."])]
    assert computed(written) == computed(plain)
    assert computed(written)["bleu_4"] == pytest.approx(1)


def test_batches_of_other_widths_are_one_corpus():
    whole = computed(CORPUS)
    assert computed(CORPUS[:7], CORPUS[7:8], CORPUS[8:]) == pytest.approx(whole)
    assert computed(CORPUS[:20]) != pytest.approx(whole)


def test_what_several_processes_have_seen_is_one_corpus():
    ours, theirs = CaptionMeasures(), CaptionMeasures()
    ours.update(*batch(CORPUS[:7]))
    ours.update(*batch(CORPUS[7:11]))
    theirs.update(*batch([*CORPUS[11:], ("", [])]))
    of_theirs = [torch.cat(theirs.written), torch.cat(theirs.known)] * 2
    ours.distributed_available_fn = lambda: True
    ours.dist_sync_fn = lambda tensor, group: [tensor, of_theirs.pop(0)]
    written, known = ours.seen()
    assert written == [*(candidate for candidate, _ in CORPUS), ""]
    assert known == [*(references for _, references in CORPUS), []]
    assert {name: float(value) for name, value in ours.compute().items()} == computed(CORPUS)
    assert not of_theirs
    assert len(ours.written) == 2, "what each has is its own again"


def test_clips_without_a_reference_count_in_nothing():
    assert computed([*CORPUS, ("a dog", []), ("", [])]) == computed(CORPUS)
    assert torch.tensor(list(computed([("a dog", []), ("", [])]).values())).isnan().all()
    assert math.isnan(cider_d(["a dog", "a man runs"], [[], ["a man runs"]])[0])


def test_one_caption_for_all_is_seen():
    same = computed([("a dog", references) for _, references in CORPUS])
    assert same["distinct"] == pytest.approx(1 / len(CORPUS))
    words = {word for _, references in CORPUS for text in references for word in text.split()}
    assert same["vocabulary"] == pytest.approx(len({"a"} | ({"dog"} & words)) / len(words))
    every = computed([(references[0], references) for _, references in CORPUS])
    assert every["distinct"] == pytest.approx(len({references[0] for _, references in CORPUS}) / len(CORPUS))
    assert every["vocabulary"] > 0.9


def test_an_empty_caption_and_foreign_ones_have_scores():
    corpus = [("", ["a dog"]), ("犬が 走る", ["犬が 走る"]), ("un chien", ["un chien court"]), ("a " * 200, ["a"])]
    assert all(0 <= value <= 10 for value in computed(corpus).values())


def test_cider_d_of_clips():
    written, known = [candidate for candidate, _ in CORPUS], [references for _, references in CORPUS]
    assert cider_d(written, known) == pytest.approx(GOLDENS["several"]["cider_d"])


def test_draws_are_what_compute_gives_of_the_drawn_clips_but_for_what_is_rare():
    metric, (scores, truth) = CaptionMeasures(), batch(CORPUS)
    assert isinstance(metric, OfDraws)
    clips, groups = torch.arange(40), torch.arange(40) // 2
    drawn = torch.zeros(3, 20, dtype=torch.int64)
    drawn[0] = 1
    drawn[1, :10] = 2
    drawn[2, 3] = 20
    found = metric.of_draws(scores, truth, clips, groups, drawn)
    whole, twice = computed(CORPUS), computed(CORPUS[:20])
    assert set(found) == set(SCORES)
    for name in SCORES:
        assert found[name][0] == pytest.approx(whole[name]), name
        if not name.startswith("cider"):
            assert found[name][1] == pytest.approx(twice[name]), name
    of_clips = cider_d([candidate for candidate, _ in CORPUS], [references for _, references in CORPUS])
    assert found["cider_d"][1] == pytest.approx(sum(of_clips[:20]) / 20)
    assert found["cider_d"][2] == pytest.approx(sum(of_clips[6:8]) / 2)


def test_intervals_are_drawn_the_short_way():
    scores, truth = batch(CORPUS)
    intervals = measure(collect({"captions": CaptionMeasures()}), scores, truth, [str(clip) for clip in range(40)])
    assert set(intervals) == {*SCORES, *SHARES}
    for name in SHARES:  # of a draw they would be those of fewer clips
        assert math.isnan(intervals[name].low)
        assert str(intervals[name]) == f"{intervals[name].value:.3f}"
    for name in ("bleu_1", "bleu_4", "rouge_l", "cider", "cider_d"):
        assert intervals[name].low < intervals[name].value < intervals[name].high


def test_the_best_constant_is_best():
    references = [known for _, known in CORPUS[:12]]
    best = best_constant(references)
    words = [[text.split() for text in clip] for clip in references]
    means = {
        text: cider([text.split()] * len(words), words).cider_d.mean()
        for text in dict.fromkeys(text for clip in references for text in clip)
    }
    assert means[best] == pytest.approx(max(means.values()))
    assert sorted(means.values())[-2] < max(means.values())


def test_the_best_constant_is_as_it_was_written():
    assert best_constant([["It's a Dog."], [], ["It's a Dog!", "a cat"]]) in ("It's a Dog.", "It's a Dog!")
    assert best_constant([["a dog"]]) == "a dog"
    with pytest.raises(ValueError, match="got none"):
        best_constant([[], []])
