import pytest
import torch

from unreel.errors import ConfigError
from unreel.nn import ViewEmbedding


def test_each_frame_is_told_its_view() -> None:
    torch.manual_seed(0)
    layer = ViewEmbedding(3, 4)
    x, views = torch.randn(2, 3, 4), torch.tensor([[0, 2, 2], [1, 0, 1]])
    found = layer(x, views)
    for n in range(2):
        for t in range(3):
            assert torch.equal(found[n, t], x[n, t] + layer.vectors.weight[views[n, t]])
    assert layer(x.bfloat16(), views).dtype == torch.bfloat16


@pytest.mark.parametrize(("views", "features"), [(0, 4), (3, 0)])
def test_nothing_to_learn_is_refused(views: int, features: int) -> None:
    with pytest.raises(ConfigError):
        ViewEmbedding(views, features)
