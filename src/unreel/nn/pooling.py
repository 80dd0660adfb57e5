"""TimePool: one vector for a clip out of one for each valid frame; last, mean, max or attention. Streamable.

What this file is not: no pooling over pixels, and no attention between frames. Attention here is the one-query
pooling of Yang et al. (2016), equations 5 to 7, computed with the running softmax of Milakov and Gimelshein (2018).

Shape letters: N clips, T frames, D features.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from unreel.errors import ConfigError
from unreel.ops import valid

State = tuple[Tensor, ...]
PoolKind = Literal["last", "mean", "max", "attention"]


class TimePool(nn.Module):
    """Pool over the valid frames of each clip.

    Args:
        kind: "last" valid frame, "mean", "max" of each feature, or "attention": a mean weighted by
            softmax_t(v·tanh(A·x_t + a)) with learned A, a, v.
        features: D.
    """

    def __init__(self, kind: PoolKind, features: int) -> None:
        super().__init__()
        if kind not in get_args(PoolKind):
            raise ConfigError(f"kind must be one of {', '.join(get_args(PoolKind))}, got {kind!r}")
        self.kind = kind
        self.features = features
        if kind == "attention":
            self.score = nn.Sequential(nn.Linear(features, features), nn.Tanh(), nn.Linear(features, 1, bias=False))

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> tuple[Tensor, State]:
        """Pool whole clips, or go on with the next frames of each.

        Args:
            x: (N, T, D).
            lengths: (N,) int64, valid frames of each clip; None where all are.
            state: what an earlier call returned; None at the start of the clips.

        Returns:
            pooled (N, D) over every frame so far, and the state: nothing for "last"; sum (N, D) and count (N,) for
            "mean"; the maximum (N, D) for "max"; the largest score (N,), the sum of weights (N,) and the weighted
            sum (N, D) for "attention".
        """
        if x.ndim != 3 or x.shape[-1] != self.features:
            raise ValueError(f"x must be (N, T, {self.features}), got {tuple(x.shape)}")
        lengths = valid.full(x) if lengths is None else lengths
        if self.kind == "last":
            return valid.last(x, lengths), ()
        if self.kind == "max":
            largest = valid.max(x, lengths)
            largest = largest if state is None else torch.maximum(largest, state[0])
            return largest, (largest,)
        if self.kind == "mean":
            count = lengths if state is None else lengths + state[1]
            exact = torch.promote_types(x.dtype, torch.float32)
            total = valid.zero_padding(x, lengths).sum(1, dtype=exact)
            total = total if state is None else total + state[0]
            return (total / count.unsqueeze(1)).to(x.dtype), (total, count)
        return self._attend(x, lengths, state)

    def _attend(self, x: Tensor, lengths: Tensor, state: State | None) -> tuple[Tensor, State]:
        x = valid.zero_padding(x, lengths)
        scores = self._scores(x, lengths)
        # Any shift of the scores gives the same pooled value, so the shift needs no gradient.
        largest = scores.detach().amax(1)
        largest = largest if state is None else torch.maximum(largest, state[0])
        weights = (scores - largest.unsqueeze(1)).exp()
        total = weights.sum(1)
        weighted = torch.einsum("nt,ntd->nd", weights, x)
        if state is not None:
            shrink = (state[0] - largest).exp()
            total = total + shrink * state[1]
            weighted = weighted + shrink.unsqueeze(1) * state[2]
        return weighted / total.unsqueeze(1), (largest, total, weighted)

    def weights(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """How much each frame of whole clips x (N, T, D) counts: (N, T), 1 over each clip, zeros in the padding.

        Raises:
            ValueError: the kind is not "attention".
        """
        if self.kind != "attention":
            raise ValueError(f"only pooling by attention weighs frames, this is {self.kind!r}")
        lengths = valid.full(x) if lengths is None else lengths
        return self._scores(x, lengths).softmax(1)

    def _scores(self, x: Tensor, lengths: Tensor) -> Tensor:
        seen = valid.mask(lengths, x.shape[1])
        return self.score(valid.zero_padding(x, lengths))[..., 0].masked_fill(~seen, -torch.inf)

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The next frame of each stream: x (N, D) to what is pooled so far (N, D) and the state after it."""
        return self(x.unsqueeze(1), None, state)

    def extra_repr(self) -> str:
        """The kind, for print(model)."""
        return f"{self.kind!r}, {self.features}"
