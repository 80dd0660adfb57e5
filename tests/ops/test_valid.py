import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from unreel.ops import valid

SHAPES = [(), (3,), (2, 3)]


def ragged_batch(shape=(3,), lengths=(3, 5, 1), t=5, garbage=float("nan")):
    """Clips, and the same clips padded with what must never be seen."""
    generator = torch.Generator().manual_seed(0)
    clips = [torch.randn(n, *shape, generator=generator, dtype=torch.float64) for n in lengths]
    x = torch.full((len(lengths), t, *shape), garbage, dtype=torch.float64)
    for row, clip in zip(x, clips, strict=True):
        row[: len(clip)] = clip
    return clips, x.requires_grad_(), torch.tensor(lengths)


@pytest.mark.parametrize("shape", SHAPES)
def test_pack_is_the_clips_one_after_another_and_unpack_its_inverse(shape):
    clips, x, lengths = ragged_batch(shape)
    packed = valid.pack(x, lengths)
    assert torch.equal(packed, torch.cat(clips))
    assert torch.equal(valid.unpack(packed, lengths, 5), pad_sequence(clips, batch_first=True))


def test_full_clips_are_packed_without_a_copy():
    x = torch.randn(2, 3, 4)
    packed = valid.pack(x, valid.full(x))
    assert packed.data_ptr() == x.data_ptr()
    assert valid.unpack(packed, valid.full(x), 3).data_ptr() == x.data_ptr()


@pytest.mark.parametrize("shape", SHAPES)
def test_each_function_gives_what_it_gives_for_each_clip_alone(shape):
    clips, x, lengths = ragged_batch(shape)
    assert torch.equal(valid.flip(x, lengths), pad_sequence([clip.flip(0) for clip in clips], batch_first=True))
    assert torch.equal(valid.zero_padding(x, lengths), pad_sequence(clips, batch_first=True))
    assert torch.equal(valid.last(x, lengths), torch.stack([clip[-1] for clip in clips]))
    assert torch.equal(valid.max(x, lengths), torch.stack([clip.amax(0) for clip in clips]))
    torch.testing.assert_close(valid.mean(x, lengths), torch.stack([clip.mean(0) for clip in clips]))


@pytest.mark.parametrize("name", ["pack", "flip", "zero_padding", "last", "mean", "max"])
def test_no_gradient_enters_or_comes_out_of_padding(name):
    _, x, lengths = ragged_batch()
    (getattr(valid, name)(x, lengths) * torch.pi).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert (x.grad[~valid.mask(lengths, 5)] == 0).all()


@pytest.mark.parametrize("name", ["pack", "flip", "zero_padding", "last", "mean", "max"])
def test_gradients_to_second_order(name):
    _, x, lengths = ragged_batch(garbage=0.3)
    function = getattr(valid, name)
    assert torch.autograd.gradcheck(lambda x: function(x, lengths), x)
    assert torch.autograd.gradgradcheck(lambda x: function(x, lengths), x)


def test_unpack_gradients_to_second_order():
    packed = torch.randn(9, 2, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([3, 5, 1])
    assert torch.autograd.gradcheck(lambda packed: valid.unpack(packed, lengths, 6), packed)
    assert torch.autograd.gradgradcheck(lambda packed: valid.unpack(packed, lengths, 6), packed)


def test_mask_agrees_with_torch_packing():
    lengths = torch.tensor([4, 2, 1])
    sizes = pack_padded_sequence(torch.zeros(3, 4), lengths, batch_first=True).batch_sizes
    assert torch.equal(valid.mask(lengths, 4).sum(0), sizes)


def test_ragged_says_none_only_where_nothing_is_padded():
    full, padded = torch.tensor([4, 4]), torch.tensor([4, 3])
    assert valid.ragged(None, 4) is None
    assert valid.ragged(full, 4) is None
    assert valid.ragged(padded, 4) is padded
    assert valid.ragged(full, 5) is full


def test_mean_of_many_frames_in_low_precision_counts_them_rightly():
    x = torch.ones(1, 601, 2, dtype=torch.bfloat16)
    assert torch.equal(valid.mean(x, torch.tensor([601])), torch.ones(1, 2, dtype=torch.bfloat16))


def test_without_lengths_every_frame_is_valid():
    x = torch.randn(2, 3, 4)
    packed = valid.pack(x, None)
    assert packed.data_ptr() == x.data_ptr()
    assert torch.equal(valid.unpack(packed, None, 3), x)


class Everything(torch.nn.Module):
    def forward(self, x, lengths):
        seen = valid.ragged(lengths, x.shape[1])
        functions = (valid.pack, valid.flip, valid.zero_padding, valid.last, valid.mean, valid.max)
        packed, *others = (function(x, seen) for function in functions)
        return packed, valid.unpack(packed * 2, seen, x.shape[1]), *others


def test_exported_for_any_number_of_clips_and_frames():
    free = torch.export.Dim.DYNAMIC
    given = ragged_batch()[1:]
    shapes = ({0: free, 1: free}, {0: free})
    program = torch.export.export(Everything(), (given[0].detach(), given[1]), dynamic_shapes=shapes).module()
    for lengths, t in (((3, 5, 1), 5), ((2, 6), 7), ((4, 4, 4, 4), 4), ((1,), 1)):
        _, x, ends = ragged_batch(lengths=lengths, t=t)
        wanted = valid.pack(x, ends), valid.unpack(valid.pack(2 * x, ends), ends, t)
        torch.testing.assert_close(program(x.detach(), ends)[:2], wanted, rtol=0, atol=0)
        functions = (valid.flip, valid.zero_padding, valid.last, valid.mean, valid.max)
        torch.testing.assert_close(program(x.detach(), ends)[2:], tuple(f(x, ends) for f in functions))
