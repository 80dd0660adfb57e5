"""Make the golden files of this folder with the published programs: run by hand, where these and Java are.

    pip install --no-deps pycocoevalcap==1.2 && pip install numpy
    git clone https://github.com/vrama91/cider
    python tests/tasks/captioning/make_goldens.py cider

`goldens/tokens.json` holds each line of `goldens/sentences.txt` with its words: Stanford's PTBTokenizer in Java, and
the list of punctuation, both of pycocoevalcap. `goldens/scores.json` holds small corpora and what pycocoevalcap's Bleu,
Rouge and Cider say of them; `cider` is said by the authors' `cider_scorer.py`, of which the words of Python 2 are
replaced here. What this file is not: a test; it knows nothing of Unreel.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

GOLDENS = Path(__file__).parent / "goldens"
WHO = ("a man", "a woman", "two dogs", "a child in a red coat", "three people", "the boy")
DOES = ("runs", "is running", "jumps", "plays with a ball", "sits", "is looking at the camera")
WHERE = ("on the beach", "in the snow", "near the water", "across the grass", "", "in front of a large white house")

Corpus = list[tuple[str, list[str]]]


def caption(seed: random.Random) -> str:
    return " ".join(f"{seed.choice(WHO)} {seed.choice(DOES)} {seed.choice(WHERE)}".split())


def corpora() -> dict[str, Corpus]:
    """Captions, cut into words already, and the references of each."""
    seed = random.Random(5)
    several = [(caption(seed), [caption(seed) for _ in range(5)]) for _ in range(40)]
    single = [(caption(seed), [caption(seed)]) for _ in range(12)]
    uneven = [(caption(seed), [caption(seed) for _ in range(1 + clip % 4)]) for clip in range(15)]
    long = " ".join(caption(seed) for _ in range(40)).split()[:200]
    edges = [
        ("", ["a man runs", "the boy sits"]),
        ("dogs", ["two dogs run in the snow", "dogs"]),
        ("a", ["the boy"]),
        (" ".join(long), ["a man runs on the beach", " ".join(long[50:180])]),
        ("a man runs", [" ".join(long), "a man runs"]),
        ("the the the the the the the", ["the boy sits on the grass", "the child near the water"]),
        ("a man runs", ["", "a man runs"]),
        ("words that no reference holds", ["a man is running", "two dogs jump"]),
        ("a man runs on the beach", ["a man runs on the beach", "a man runs on the beach"]),
        ("on the beach runs a man", ["a man runs on the beach"]),
    ]
    return {
        "several": several,
        "single": single,
        "uneven": uneven,
        "edges": edges,
        "one_clip": several[:1],
        "short": [
            (
                "a man runs on the beach",
                ["two dogs", "a man runs on the wet beach", "a man runs near the water and jumps"],
            ),
            ("", ["", "a man runs"]),
        ],
        "nothing": [("", ["a man runs"]), ("", ["two dogs sit"])],
    }


def said(corpus: Corpus, scorer: Any) -> dict[str, Any]:
    written = {clip: [candidate] for clip, (candidate, _) in enumerate(corpus)}
    known = {clip: references for clip, (_, references) in enumerate(corpus)}
    for candidate, references in corpus:
        scorer += (candidate, references)
    return {
        "bleu": Bleu(4).compute_score(known, written, verbose=0)[0],
        "rouge_l": Rouge().compute_score(known, written)[1].tolist(),
        "cider_d": Cider().compute_score(known, written)[1].tolist(),
        "cider": scorer.compute_score("corpus")[1].tolist(),
    }


def main() -> None:
    source = (Path(sys.argv[1]) / "pyciderevalcap" / "cider" / "cider_scorer.py").read_text(encoding="utf-8")
    authors: dict[str, Any] = {}
    exec(source.replace("xrange", "range").replace("iteritems", "items"), authors)
    scores = {name: {"corpus": corpus, **said(corpus, authors["CiderScorer"]())} for name, corpus in corpora().items()}
    (GOLDENS / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")

    sentences = (GOLDENS / "sentences.txt").read_text(encoding="utf-8").split("\n")[:-1]
    words = PTBTokenizer().tokenize({number: [{"caption": text}] for number, text in enumerate(sentences)})
    tokens = [[text, words[number][0].split()] for number, text in enumerate(sentences)]
    lines = ",\n".join(json.dumps(pair, ensure_ascii=False) for pair in tokens)
    (GOLDENS / "tokens.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
