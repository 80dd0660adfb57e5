"""HeldDropout drops features of a clip, in all of its frames, and keeps the mean."""

import pytest
import torch

from unreel.errors import ConfigError
from unreel.nn import HeldDropout


def test_one_mask_for_all_frames_and_places():
    torch.manual_seed(0)
    out = HeldDropout(0.25)(torch.ones(50, 3, 40, 2, 2))
    mask = out[:, :1, :, :1, :1]
    assert torch.equal(out, mask.expand_as(out))
    assert set(mask.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert (mask == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert not torch.equal(mask[0], mask[1])


def test_it_does_nothing_in_eval_mode_or_at_zero():
    x = torch.randn(2, 3, 4)
    assert HeldDropout(0.5).eval()(x) is x
    assert HeldDropout(0.0)(x) is x


@pytest.mark.parametrize("probability", [-0.1, 1.0])
def test_a_probability_out_of_range_is_refused(probability):
    with pytest.raises(ConfigError, match=r"\[0, 1\)"):
        HeldDropout(probability)
