"""How text becomes words, and words numbers: the rules as they are written down, and the vocabulary's file."""

import json
import re
from pathlib import Path

import pytest

from unreel import ptb
from unreel.errors import ConfigError, RunError
from unreel.tokens import NAMES, PADDING, UNKNOWN, TextConfig, Vocabulary, tokenise

PLAIN = TextConfig()
KIM = TextConfig(rule="kim")
PTB = TextConfig(rule="ptb")
GOLDEN = Path(__file__).parent / "tasks" / "captioning" / "goldens" / "tokens.json"  # words of Stanford's own program


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's too-tepid, isn't it?", ["it's", "too-tepid", ",", "isn't", "it", "?"]),
        ("3.5 of 1,000 stars...", ["3.5", "of", "1,000", "stars", ".", ".", "."]),
        ("naïve Straße 東京", ["naïve", "straße", "東京"]),
        ("nai\u0308ve", ["naïve"]),  # a letter and its dots as two characters
        ("end.Start\u00a0a\tb\nc", ["end", ".", "start", "a", "b", "c"]),
        ("#1 @you a_b", ["#", "1", "@", "you", "a_b"]),
        (" \n ", []),
    ],
)
def test_words(text, words):
    assert tokenise(text, PLAIN) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's a Film we've seen", ["it", "'s", "a", "film", "we", "'ve", "seen"]),
        ("don't you're he'd she'll", ["do", "n't", "you", "'re", "he", "'d", "she", "'ll"]),
        ("( yes! no? ) a,b", ["(", "yes", "!", "no", "?", ")", "a", ",", "b"]),
        ('the clich\u00e9s of " conan " ... 3.5', ["the", "clich", "s", "of", "conan", "3", "5"]),
        ("co-writer/director", ["co", "writer", "director"]),
        ("...", []),
    ],
)
def test_the_rule_of_kim(text, words):
    assert tokenise(text, KIM) == words


def test_characters():
    assert tokenise(" A \n\u2028 b", TextConfig("characters")) == ["a", " ", "b"]
    assert tokenise("Ab", TextConfig("characters", lower=False)) == ["A", "b"]


def test_a_vocabulary_is_counted_and_comes_back_from_its_file():
    counts = {"b": 3, "a": 3, "often": 9, "once": 1, "<pad>": 5, " ": 2}
    vocabulary = Vocabulary.of(counts, 2)
    assert vocabulary.tokens == ("often", "a", "b", " ")
    assert len(vocabulary) == 6
    assert vocabulary.encode(["b", "once", "often", "<pad>", " "]).tolist() == [4, UNKNOWN, 2, UNKNOWN, 5]
    text = vocabulary.to_text()
    assert text.split("\n")[:3] == [*NAMES, "often"]
    assert text.split("\n")[4] == "b"
    assert Vocabulary.from_text(text) == vocabulary
    assert Vocabulary.of(counts, 1).tokens[-1] == "once"
    assert (PADDING, UNKNOWN) == (0, 1)


def test_an_empty_vocabulary_knows_nothing():
    assert len(Vocabulary()) == 2
    assert Vocabulary().encode(["a", "b"]).tolist() == [UNKNOWN, UNKNOWN]
    assert Vocabulary.from_text(Vocabulary().to_text()) == Vocabulary()
    with pytest.raises(RunError, match="begins with the lines <pad> and <unk>"):
        Vocabulary.from_text("a\nb\n")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"min_count": 0}, "min_count must be at least 1"),
        ({"max_length": 0}, "max_length must be at least 1 token"),
        ({"encoding": "utf-16"}, "encoding must be one such as utf-8"),
        ({"encoding": "base64"}, "got 'base64'"),
        ({"encoding": "klingon"}, "got 'klingon'"),
    ],
)
def test_what_cannot_be_is_refused(fields, said):
    with pytest.raises(ConfigError, match=said):
        TextConfig(**fields)


@pytest.mark.parametrize(("text", "words"), json.loads(GOLDEN.read_text(encoding="utf-8")))
def test_ptb_words_are_those_of_java(text, words):
    assert tokenise(text, PTB) == words


def test_ptb_words_of_plain_captions_are_found_by_the_long_way_too(monkeypatch):
    plain = [
        "A dog runs",
        "A dog , a cat.",
        "Main St.",
        "on Main St",
        "You cannot run .",
        "a",
        "Plan B.",
        "Two dogs, run",
    ]
    said = [ptb.words(text) for text in plain]
    monkeypatch.setattr(ptb, "_PLAIN", re.compile("(?!)"))
    assert said == [ptb.words(text) for text in plain]
    assert said[2] == ["main", "st."]


def test_what_ptb_decides_by_the_end_of_a_caption():
    assert tokenise("vitamin C.", PTB) == ["vitamin", "c"]
    assert tokenise("vitamin C. for", PTB) == ["vitamin", "c.", "for"]
    assert tokenise("nai\u0308ve", PTB) == ["naïve"]
    assert tokenise("It's", TextConfig(rule="ptb", lower=False)) == ["it", "'s"]


def test_captions_are_read_as_their_measures_read_them_unless_asked() -> None:
    assert TextConfig(min_count=5, max_length=20).of_captions() == TextConfig(rule="ptb", min_count=5, max_length=20)
    for rule in ("unicode", "kim", "ptb"):
        assert TextConfig(rule=rule).of_captions() == TextConfig(rule=rule)
    assert tokenise("A dog's ball.", TextConfig()) == tokenise("A dog's ball.", TextConfig(rule="unicode"))
