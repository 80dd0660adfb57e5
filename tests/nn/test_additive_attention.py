import math

import pytest
import torch

from unreel.errors import ConfigError
from unreel.nn import AdditiveAttention


def by_hand(layer, query, memory, seen):
    """Bahdanau et al. (2015), appendix A.1.2, one place at a time, in plain numbers: the context and the weights."""
    q, k = layer.query.weight.tolist(), layer.key.weight.tolist()
    bias, v = layer.key.bias.tolist(), layer.score.weight[0].tolist()
    scores = []
    for place, there in zip(memory.tolist(), seen.tolist(), strict=True):
        if not there:
            scores.append(-math.inf)
            continue
        total = 0.0
        for unit in range(len(v)):
            inner = bias[unit]
            inner += sum(a * b for a, b in zip(k[unit], place, strict=True))
            inner += sum(a * b for a, b in zip(q[unit], query.tolist(), strict=True))
            total += v[unit] * math.tanh(inner)
        scores.append(total)
    shares = [math.exp(score) for score in scores]
    weights = [share / sum(shares) for share in shares]
    context = [
        sum(weight * value for weight, value in zip(weights, column, strict=True))
        for column in zip(*memory.tolist(), strict=True)
    ]
    return context, weights


def test_it_is_that_of_the_paper():
    torch.manual_seed(0)
    layer = AdditiveAttention(3, 4, 5).double()
    query, memory = torch.randn(2, 2, 3).double(), torch.randn(2, 6, 4).double()
    seen = torch.tensor([[True] * 6, [True, False, True, True, False, False]])
    contexts, weights = layer(query, memory, layer.keys(memory), seen)
    for n in range(2):
        for row in range(2):
            context, shares = by_hand(layer, query[n, row], memory[n], seen[n])
            assert contexts[n, row].tolist() == pytest.approx(context, rel=1e-12)
            assert weights[n, row].tolist() == pytest.approx(shares, rel=1e-12)
    assert (weights.transpose(1, 2)[~seen] == 0).all()


def test_what_is_not_seen_counts_for_nothing_and_gets_no_gradient():
    torch.manual_seed(0)
    layer = AdditiveAttention(3, 4, 5)
    query, memory = torch.randn(1, 2, 3), torch.randn(1, 6, 4)
    memory.requires_grad_()
    seen = torch.arange(6)[None] < 4
    context, weights = layer(query, memory, layer.keys(memory), seen)
    short = memory[:, :4]
    torch.testing.assert_close((context, weights[..., :4]), layer(query, short, layer.keys(short)))
    (gradient,) = torch.autograd.grad(context.sin().sum(), memory)
    assert gradient[:, :4].all()
    assert not gradient[:, 4:].any()


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_nothing_to_compare_is_refused(sizes):
    with pytest.raises(ConfigError, match="at least 1"):
        AdditiveAttention(*sizes)
