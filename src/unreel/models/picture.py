"""Picture: the vector of a picture, as a decoder of words begins with it.

    x = BatchNorm(W·features + b)

What the pictures of a data set have in common is most of a CNN's features at first, and no word depends on it; without
the normalisation the decoder learns the language before the encoder has learned to tell pictures apart, and says the
same for all of them. It is what the encoder of yunjey's widely copied PyTorch captioner ends with, and not in Vinyals
et al. (2015), whose encoder came trained. What this file is not: it sees no frame and no word.

Shape letters: V pictures (frames, or clips whose frames were averaged), D features, E size of a word's vector.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Picture(nn.Module):
    """Features (V, D) to vectors (V, E), each number normalised over the pictures as torch.nn.BatchNorm1d does it.

    In train mode mean and variance are those of the pictures that are given, at least two: a single one is taken with
    the running ones, as in eval mode.

    Args:
        features: D.
        size: E.
    """

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, size, bias=False)  # the norm's bias takes its place
        self.norm = nn.BatchNorm1d(size)

    def forward(self, x: Tensor) -> Tensor:
        """Give vectors (V, E) for features (V, D)."""
        x, norm = self.linear(x), self.norm
        if self.training and len(x) == 1:
            return functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        return norm(x)
