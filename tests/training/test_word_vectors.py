"""Vectors from files: each format, what is drawn instead of those that are missing, and what is no such file."""

from pathlib import Path

import pytest
import torch

from unreel.data import Vocabulary
from unreel.errors import ConfigError
from unreel.models import TextRNN, TextRNNConfig
from unreel.training.word_vectors import load_word_vectors

WORDS = Vocabulary(("the", "film", "missing", ". . ."))
GLOVE = "the 1 2 3\nfilm -0.5 1e-1 0\nother x y z\nthe 9 9 9\n. . . 4 5 6\n"


def model(size: int = 3) -> TextRNN:
    return TextRNN(TextRNNConfig(vocabulary=len(WORDS), embedding_size=size), (), 2)


@pytest.mark.parametrize("header", ["", "5 3\n"])
def test_rows_are_those_of_the_file(tmp_path: Path, header: str) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(header + GLOVE)
    net = model()
    coverage = load_word_vectors(net, path, WORDS, seed=0)
    rows = net.embedding.weight.detach()
    wanted = torch.tensor([[1, 2, 3], [-0.5, 0.1, 0], [4, 5, 6]])
    torch.testing.assert_close(rows[[2, 3, 5]], wanted)
    assert (rows[0] == 0).all()
    bound = 3**0.5 * float(wanted.std(correction=0))
    assert rows[[1, 4]].abs().max() <= bound
    assert (coverage.found, coverage.words) == (3, 4)
    assert "vectors of 3 of 4 words (75.0 %)" in str(coverage)
    again, other = model(), model()
    load_word_vectors(again, path, WORDS, seed=0)
    load_word_vectors(other, path, WORDS, seed=1)
    assert torch.equal(again.embedding.weight, rows)
    assert not torch.equal(other.embedding.weight[4], rows[4])


@pytest.mark.parametrize(
    ("text", "size", "said"),
    [
        (GLOVE, 5, "line 1: expected a word and 5 numbers, got 3: set model.embedding_size 3"),
        ("the 1 2 3\nfilm 1 2\n", 3, "line 2: expected 3 numbers behind the word"),
        ("the 1 2 x\n", 3, "line 1: expected 3 numbers behind the word"),
        ("le 1 2 3\n", 3, "none of the 4 words of the texts is in it"),
        ("\x00\x01\x02", 3, "expected a word and 3 numbers"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str, size: int, said: str) -> None:
    (tmp_path / "vectors.txt").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_word_vectors(model(size), tmp_path / "vectors.txt", WORDS, seed=0)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a text file of vectors, No such file"):
        load_word_vectors(model(), tmp_path / "none.txt", WORDS, seed=0)
