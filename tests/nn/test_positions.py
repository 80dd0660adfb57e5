import math

import pytest
import torch

from unreel.nn.positions import OCTAVES, POSITION_SIZE, positions


def test_each_place_is_told_by_the_sines_and_cosines_of_the_paper():
    """Mildenhall et al. (2020), equation 4, place by place in plain numbers."""
    lengths, grid = torch.tensor([3, 2]), (2, 4)
    told = positions(lengths, 3, grid)
    assert told.shape == (2, 3, 8, POSITION_SIZE)
    for n, length in enumerate(lengths.tolist()):
        for t in range(length):
            for place in range(8):
                wanted = []
                for u in ((t + 0.5) / length, (place // 4 + 0.5) / 2, (place % 4 + 0.5) / 4):
                    wanted += [math.sin(2**k * math.pi * u) for k in range(OCTAVES)]
                    wanted += [math.cos(2**k * math.pi * u) for k in range(OCTAVES)]
                assert told[n, t, place].tolist() == pytest.approx(wanted, abs=1e-5)


def test_no_two_places_are_told_alike():
    told = positions(torch.tensor([16]), 16, (14, 14)).flatten(0, 2)
    assert (torch.cdist(told, told) + torch.eye(len(told))).min() > 0.1
