import pytest
import torch

from unreel.errors import ConfigError
from unreel.nn import TimePool

KINDS = ["last", "mean", "max", "attention"]
LENGTHS = torch.tensor([2, 5, 1])


def pool_of(kind):
    torch.manual_seed(0)
    return TimePool(kind, 4).double()


def draw():
    return torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)


def expected(pool, clip):
    """One clip (T, D) pooled by the textbook."""
    if pool.kind == "attention":
        return torch.softmax(pool.score(clip)[:, 0], 0) @ clip
    return {"last": clip[-1], "mean": clip.mean(0), "max": clip.amax(0)}[pool.kind]


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_each_clip_alone_in_values_and_gradients(kind):
    pool, x = pool_of(kind), draw()
    garbage = x.detach().clone()
    garbage[0, 2:] = float("nan")
    garbage.requires_grad_()
    pooled, _ = pool(garbage, LENGTHS)
    wanted = torch.stack([expected(pool, clip[:length]) for clip, length in zip(x, LENGTHS, strict=True)])
    torch.testing.assert_close(pooled, wanted)
    inputs, cotangent = list(pool.parameters()), torch.randn_like(pooled)
    got = torch.autograd.grad(pooled, [garbage, *inputs], cotangent)
    torch.testing.assert_close(got, torch.autograd.grad(wanted, [x, *inputs], cotangent))


@pytest.mark.parametrize("kind", KINDS)
def test_streams_and_chunks_equal_the_whole(kind):
    pool, x = pool_of(kind), draw()
    state = None
    for t in range(5):
        pooled, state = pool.step(x[:, t], state)
        torch.testing.assert_close(pooled, pool(x[:, : t + 1])[0])
    _, state = pool(x[:, :3], torch.tensor([1, 3, 2]))
    chunked, _ = pool(x[:, 3:], torch.tensor([2, 1, 1]), state)
    for row, parts in enumerate([(0, 3, 4), (0, 1, 2, 3), (0, 1, 3)]):
        torch.testing.assert_close(chunked[row], expected(pool, x[row, list(parts)]))


def test_attention_survives_scores_beyond_exp():
    pool = pool_of("attention")
    with torch.no_grad():
        pool.score[2].weight.mul_(1e4)
    x = draw()
    whole, _ = pool(x)
    torch.testing.assert_close(whole, torch.stack([expected(pool, clip) for clip in x]))
    _, state = pool(x[:, :2])
    torch.testing.assert_close(pool(x[:, 2:], None, state)[0], whole)


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="last, mean, max, attention, got 'sum'"):
        TimePool("sum", 4)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"\(N, T, 4\)"):
        TimePool("mean", 4)(torch.zeros(2, 3))


def test_a_long_stream_in_low_precision_keeps_its_mean():
    pool, state = TimePool("mean", 2), None
    for _ in range(601):
        pooled, state = pool.step(torch.full((1, 2), 3.0, dtype=torch.bfloat16), state)
    assert torch.equal(pooled, torch.full((1, 2), 3.0, dtype=torch.bfloat16))
