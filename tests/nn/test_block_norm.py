"""BlockNorm against torch.nn's BatchNorm on each block, with padding, and in chunks."""

import pytest
import torch
from torch import nn

from unreel.errors import ConfigError
from unreel.nn import BlockNorm


def series(*shape, seed=0):
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 1


def build(channels=3, frames=4):
    torch.manual_seed(1)
    norm = BlockNorm(channels, frames).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def twin(norm, rank):
    kind = {0: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[rank]
    other = kind(norm.channels).double()
    other.load_state_dict(norm.state_dict())
    return other


@pytest.mark.parametrize("space", [(), (5, 6), (2, 3, 4)])
@pytest.mark.parametrize("train", [True, False])
def test_one_block_is_batch_norm(space, train):
    norm = build(frames=7).train(train)
    other = twin(norm, len(space)).train(train)
    x = series(2, 7, 3, *space)
    x.requires_grad_()
    ours, theirs = norm(x), other(x.flatten(0, 1)).unflatten(0, (2, 7))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    cotangent = series(*ours.shape, seed=2)
    for found, wanted in zip(
        torch.autograd.grad(ours, [x, norm.weight, norm.bias], cotangent),
        torch.autograd.grad(theirs, [x, other.weight, other.bias], cotangent),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    torch.testing.assert_close(norm.state_dict(), other.state_dict(), rtol=0, atol=0)


def test_each_block_has_its_own_statistics_and_updates_the_running_ones_once():
    norm = build(frames=4)
    other = twin(norm, 2)
    x = series(2, 10, 3, 5, 5) * torch.arange(1, 11).reshape(1, -1, 1, 1, 1)
    blocks = [x[:, 0:4], x[:, 4:8], x[:, 8:10]]
    wanted = torch.cat([other(block.flatten(0, 1)).unflatten(0, block.shape[:2]) for block in blocks], 1)
    torch.testing.assert_close(norm(x), wanted, rtol=0, atol=0)
    torch.testing.assert_close(norm.state_dict(), other.state_dict(), rtol=0, atol=0)
    assert int(norm.num_batches_tracked) == 3


@pytest.mark.parametrize("train", [True, False])
def test_chunks_of_whole_blocks_change_nothing(train):
    whole, chunked = build().train(train), build().train(train)
    x = series(1, 18, 3, 5, 5)
    together = whole(x)
    for size in (4, 8, 12):
        chunked.load_state_dict(build().state_dict())
        pieces = torch.cat([chunked(chunk) for chunk in x.split(size, 1)], 1)
        torch.testing.assert_close(pieces, together, rtol=0, atol=0)
        torch.testing.assert_close(chunked.state_dict(), whole.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("train", [True, False])
def test_padding_is_invisible(train):
    lengths = torch.tensor([3, 6, 9])
    x = series(3, 13, 3, 4, 4)
    for clip, length in zip(x, lengths, strict=True):
        clip[length:] = torch.nan
    x.requires_grad_()
    norm, other = build().train(train), build().train(train)
    out = norm(x, lengths)
    # the same statistics from the frames alone, block by block
    plain = twin(other, 2).train(train)
    for start in (0, 4, 8):
        rows = [(clip, t) for clip in range(3) for t in range(start, start + 4) if t < lengths[clip]]
        wanted = plain(torch.stack([x[row] for row in rows]))
        torch.testing.assert_close(torch.stack([out[row] for row in rows]), wanted, rtol=0, atol=1e-12)
    assert all((out[clip, length:] == 0).all() for clip, length in enumerate(lengths))
    if train:
        torch.testing.assert_close(norm.state_dict(), plain.state_dict(), rtol=0, atol=1e-12)
    (gradient,) = torch.autograd.grad(out.sin().sum(), x)
    assert gradient.isfinite().all()
    shorter = build().train(train)(x[:, :9].detach(), lengths)
    torch.testing.assert_close(shorter, out[:, :9].detach(), rtol=0, atol=1e-12)


def test_in_eval_mode_a_frame_knows_no_other():
    norm = build()
    norm(series(2, 9, 3, 4, 4))
    norm.eval()
    x = series(2, 9, 3, 4, 4, seed=5)
    one_by_one = torch.cat([norm(frame.unsqueeze(1)) for frame in x.unbind(1)], 1)
    torch.testing.assert_close(one_by_one, norm(x), rtol=0, atol=1e-14)


def test_it_normalises_channels_and_not_the_last_axis():
    norm = BlockNorm(3, 4).double()
    out = norm(series(2, 4, 3, 5, 6) * torch.tensor([1.0, 10.0, 100.0]).reshape(3, 1, 1))
    torch.testing.assert_close(out.mean((0, 1, 3, 4)), torch.zeros(3).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(out.var((0, 1, 3, 4), correction=0), torch.ones(3).double(), rtol=0, atol=1e-4)


def test_what_cannot_be_is_refused():
    for arguments in ((0,), (3, 0), (3, 4, 0.0), (3, 4, 0.1, 0.0)):
        with pytest.raises(ConfigError, match="must be"):
            BlockNorm(*arguments)
    with pytest.raises(ValueError, match=r"x must be \(N, T, 3, \*\), got \(2, 3, 4\)"):
        BlockNorm(3)(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        BlockNorm(3, 4)(torch.zeros(1, 5, 3))
