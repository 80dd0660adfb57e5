import torch

from unreel.nn import FrameDifference

LENGTHS = torch.tensor([2, 4, 1])


def test_each_frame_minus_the_one_before_it():
    x = torch.randn(3, 4, 2, 3)
    out, (previous,) = FrameDifference()(x)
    assert (out[:, 0] == 0).all()
    assert torch.equal(out[:, 1:], x.diff(dim=1))
    assert torch.equal(previous, x[:, -1])


def test_padding_is_invisible():
    x = torch.randn(3, 4, 2)
    x[0, 2:] = float("nan")
    out, (previous,) = FrameDifference()(x, LENGTHS)
    assert torch.equal(out[0, :2], torch.stack([torch.zeros(2), x[0, 1] - x[0, 0]]))
    assert (out[0, 2:] == 0).all()
    assert torch.equal(previous, torch.stack([x[0, 1], x[1, 3], x[2, 0]]))


def test_streams_and_chunks_equal_the_whole():
    x = torch.randn(2, 4, 3)
    layer = FrameDifference()
    whole, _ = layer(x)
    state = None
    for t in range(4):
        out, state = layer.step(x[:, t], state)
        assert torch.equal(out, whole[:, t])
    _, state = layer(x[:, :3], torch.tensor([1, 3]))
    out, _ = layer(x[:, 1:2], None, (state[0],))
    assert torch.equal(out[0], whole[0, 1:2])
