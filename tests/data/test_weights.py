"""Weights against imbalance, compared with scikit-learn's balanced weights."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from unreel.data.manifest import Example, Segment
from unreel.data.weights import class_weights, example_weights, positive_weights

CLASSES = ("a", "b", "c")
EXAMPLES = [Example(f"{i}", (label,)) for i, label in enumerate("aaaaaabbbc")]


def test_class_weights_are_balanced() -> None:
    names = [example.labels[0] for example in EXAMPLES]
    expected = compute_class_weight("balanced", classes=np.array(CLASSES), y=names)
    assert torch.allclose(class_weights(EXAMPLES, CLASSES), torch.tensor(expected, dtype=torch.float32))


def test_a_class_that_does_not_occur_weighs_one() -> None:
    assert class_weights(EXAMPLES, (*CLASSES, "d"))[3] == 1
    assert class_weights([Example("x")], CLASSES).tolist() == [1, 1, 1]


def test_drawing_by_example_weights_is_fair_to_classes() -> None:
    weights = example_weights(EXAMPLES, CLASSES)
    per_class = [weights[[example.labels[0] == name for example in EXAMPLES]].sum() for name in CLASSES]
    assert torch.allclose(torch.stack(per_class), per_class[0])


def test_segments_and_unlabelled_clips_count() -> None:
    examples = [Example("x", (), (Segment(0, 1, "a"), Segment(1, 2, "a"))), Example("y", ("b",)), Example("z")]
    weights = class_weights(examples, ("a", "b"))
    assert torch.allclose(weights, torch.tensor([0.75, 1.5]))
    assert torch.allclose(example_weights(examples, ("a", "b")), torch.tensor([0.75, 1.5, 1.0]))


def test_positive_weights_balance_the_frames_of_each_label() -> None:
    films = [
        torch.tensor([[1.0, 0, 0, 1]] * 3 + [[0.0, 0, 1, 1]] * 5 + [[-1.0] * 4] * 9),
        torch.tensor([[0.0, 0, 0, 1]] * 92),
    ]
    assert positive_weights(films).tolist() == [20, 1, pytest.approx(19), 1]
    assert positive_weights(films, most=5).tolist() == [5, 1, 5, 1]
    often = torch.tensor([[1.0]] * 30 + [[0.0]])
    assert positive_weights([often]).tolist() == [pytest.approx(1 / 20)]
    assert positive_weights([often], most=100).item() == pytest.approx(1 / 30)
