"""Which words the captions of a clip have: what is told, what counts, and that features learn from it."""

import numpy as np
import pytest
import torch

from unreel.tasks.captioning.concepts import Concepts, concept_loss


def test_a_glance_is_the_mean_of_valid_frames_and_places() -> None:
    torch.manual_seed(0)
    concepts = Concepts(4, 7)
    torch.nn.init.normal_(concepts.linear.weight)
    places, lengths = torch.randn(2, 3, 5, 4), torch.tensor([3, 2])
    found = concepts(places, lengths)
    places[1, 2] = torch.nan
    whole = places.numpy().astype(np.float64)
    weight, bias = (parameter.detach().numpy().astype(np.float64) for parameter in concepts.parameters())
    wanted = [clip[:length].mean((0, 1)) @ weight.T + bias for clip, length in zip(whole, (3, 2), strict=True)]
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(concepts(places[:, :2].mean(2), None), concepts(places[:, :2]))


def test_loss_is_cross_entropy_of_each_word_by_the_number_that_are_there() -> None:
    logits = torch.tensor([[9.0, -9.0, 1.0, -2.0, 0.5], [9.0, 9.0, 0.0, 3.0, -1.0]])
    words = torch.tensor([[[2, 4, 0], [2, 1, 0]], [[3, 0, 0], [0, 0, 0]]])
    there = np.array([[1, 0, 1], [0, 1, 0]])  # padding and the unknown word are none
    likely = 1 / (1 + np.exp(-logits[:, 2:].double().numpy()))
    wanted = -np.where(there, np.log(likely), np.log(1 - likely)).sum() / 3
    assert concept_loss(logits, words).item() == pytest.approx(wanted, rel=1e-6)
    assert concept_loss(logits, torch.zeros(2, 2, 0, dtype=torch.int64)).isfinite()


def test_features_learn_what_is_there() -> None:
    torch.manual_seed(0)
    features, concepts = torch.nn.Linear(2, 8), Concepts(8, 4)
    optimiser = torch.optim.Adam([*features.parameters(), *concepts.parameters()], 0.05)
    seen, words = torch.eye(2)[:, None], torch.tensor([[[2]], [[3]]])
    for _ in range(100):
        optimiser.zero_grad()
        concept_loss(concepts(features(seen)), words).backward()
        optimiser.step()
    assert concepts(features(seen))[:, 2:].sigmoid().round().tolist() == [[1, 0], [0, 1]]
