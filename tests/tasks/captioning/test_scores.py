"""BLEU, ROUGE-L, CIDEr and CIDEr-D are those of pycocoevalcap and of CIDEr's authors (`make_goldens.py`)."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from unreel.tasks.captioning.bleu import bleu, statistics
from unreel.tasks.captioning.cider import cider
from unreel.tasks.captioning.ngrams import Numbers, count_runs
from unreel.tasks.captioning.rouge import rouge_l

GOLDENS = json.loads((Path(__file__).parent / "goldens" / "scores.json").read_text(encoding="utf-8"))


def corpus(name):
    written = [candidate.split() for candidate, _ in GOLDENS[name]["corpus"]]
    known = [[reference.split() for reference in references] for _, references in GOLDENS[name]["corpus"]]
    return written, known


@pytest.mark.parametrize("name", GOLDENS)
def test_scores_are_the_published_ones(name):
    written, known = corpus(name)
    golden, scores = GOLDENS[name], cider(written, known)
    np.testing.assert_allclose(bleu(statistics(written, known).sum(0)), golden["bleu"], atol=1e-12)
    np.testing.assert_allclose(rouge_l(written, known), golden["rouge_l"], atol=1e-12)
    np.testing.assert_allclose(scores.cider, golden["cider"], atol=1e-9)
    np.testing.assert_allclose(scores.cider_d, golden["cider_d"], atol=1e-9)


def test_goldens_hold_what_they_are_to_hold():
    assert any(not candidate for candidate, _ in GOLDENS["edges"]["corpus"])
    assert max(len(candidate.split()) for candidate, _ in GOLDENS["edges"]["corpus"]) == 200
    assert 0.3 < GOLDENS["several"]["bleu"][3] < 0.6
    assert GOLDENS["several"]["cider"] != GOLDENS["several"]["cider_d"]


def test_more_words_than_sixteen_bits_hold():
    words = [f"w{word}" for word in range(70_000)]
    captions = [words[at : at + 35] for at in range(0, 70_000, 35)]
    numbers = Numbers()
    counted = count_runs(numbers(captions), len(numbers))
    assert len(numbers) == 70_000
    assert [len(np.unique(runs.run)) for runs in counted] == [2000 * (36 - order) for order in range(1, 5)]


def test_a_thousand_clips_take_no_time():
    generator = np.random.default_rng(0)
    words = [f"w{word}" for word in range(3000)]
    written = [[words[int(word)] for word in generator.zipf(1.3, 12) % 3000] for _ in range(1000)]
    known = [[[words[int(word)] for word in generator.zipf(1.3, 12) % 3000] for _ in range(5)] for _ in range(1000)]
    begun = time.process_time()
    bleu(statistics(written, known).sum(0))
    rouge_l(written, known)
    cider(written, known)
    assert time.process_time() - begun < 4
