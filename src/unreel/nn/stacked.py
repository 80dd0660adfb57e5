"""Stacked: layers of a recurrence, in one or both directions of time, over features in the last axis.

What RNN, LSTM, GRU and their convolutional kin share: where layers and directions lie, dropout, lengths, and how a
state is cut up and put together. What this file is not: it knows no shape but (N, T, *S, D).

Shape letters: N clips, T frames, S positions in space, D features in, H hidden features, G gates, L layers,
R directions (1 or 2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unreel.errors import ConfigError
from unreel.ops import valid
from unreel.ops.cells import Cell, State
from unreel.ops.products import Product
from unreel.ops.scan import Impl, scan
from unreel.ops.weights import Weights

Shapes = tuple[tuple[int, ...], tuple[int, ...]]
"""Shapes of W and of U."""


class Direction(nn.Module):
    """One layer of a recurrence in one direction of time: its weights, and the scan over them."""

    def __init__(
        self, cell: Cell, product: Product, shapes: Shapes, bias: bool, peephole: bool, norm: bool, impl: Impl
    ) -> None:
        super().__init__()
        self.cell = cell
        self.product = product
        self.impl: Impl = impl
        self.kernel = nn.Parameter(torch.empty(shapes[0]))
        self.recurrent_kernel = nn.Parameter(torch.empty(shapes[1]))
        hidden = product.hidden(self.recurrent_kernel)
        width = len(cell.gates) * hidden
        self.bias = nn.Parameter(torch.empty(width)) if bias else None
        has_recurrent_bias = bias and cell.recurrent_bias is not None
        self.recurrent_bias = nn.Parameter(torch.empty(hidden)) if has_recurrent_bias else None
        self.peephole = nn.Parameter(torch.empty(3, hidden)) if peephole else None
        self.gains = nn.Parameter(torch.empty(2, width)) if norm else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights afresh."""
        nn.init.xavier_uniform_(self.kernel)
        nn.init.orthogonal_(self.recurrent_kernel)
        for zero in (self.bias, self.recurrent_bias, self.peephole):
            if zero is not None:
                nn.init.zeros_(zero)
        if self.gains is not None:
            nn.init.ones_(self.gains)
        if self.bias is not None and "forget" in self.cell.gates:
            with torch.no_grad():
                self.bias[self.cell.part("forget", self.product.hidden(self.recurrent_kernel))] = 1.0

    def forward(
        self, x: Tensor, lengths: Tensor | None, state: State | None, dropped: Tensor | None
    ) -> tuple[Tensor, State]:
        """As `ops.scan.scan`, with the weights of this module."""
        weights = Weights(self.kernel, self.recurrent_kernel, self.bias, self.recurrent_bias, self.peephole, self.gains)
        return scan(self.cell, x, weights, state, lengths, self.impl, self.product, dropped)


class Stacked(nn.Module):
    """Layers of one cell.

    Args:
        cell: one of `ops.cells`.
        products: how each layer transforms its input and state.
        shapes: of W and U of each layer.
        num_layers: L.
        bias: whether there is b.
        bidirectional: R = 2.
        dropout: between layers.
        recurrent_dropout: of h before its product with U.
        impl: see `ops.scan.scan`.
        peephole: whether c feeds the gates.
        norm: whether x·W and h·U are normalised.
        hold_dropout: drop the same features in all frames of a clip.

    Raises:
        ConfigError: a number is out of range.
    """

    def __init__(
        self,
        cell: Cell,
        products: Sequence[Product],
        shapes: Sequence[Shapes],
        num_layers: int,
        bias: bool,
        bidirectional: bool,
        dropout: float,
        recurrent_dropout: float,
        impl: Impl,
        peephole: bool = False,
        norm: bool = False,
        hold_dropout: bool = False,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ConfigError(f"num_layers must be at least 1, got {num_layers}")
        for name, value in (("dropout", dropout), ("recurrent_dropout", recurrent_dropout)):
            if not 0 <= value < 1:
                raise ConfigError(f"{name} must be in [0, 1), got {value}")
        self.cell = cell
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.hold_dropout = hold_dropout
        self.directions = 2 if bidirectional else 1
        self.layers = nn.ModuleList(
            Direction(cell, products[layer], shapes[layer], bias, peephole, norm, impl)
            for layer in range(num_layers)
            for _ in range(self.directions)
        )

    def run(self, x: Tensor, lengths: Tensor | None, state: State | None) -> tuple[Tensor, State]:
        """All layers: x (N, T, *S, D) to out (N, T, *S', H·R) and the state, tensors (N, L·R, *S', H)."""
        lengths = valid.ragged(lengths, x.shape[1])
        ends: list[State] = []
        for first in range(0, len(self.layers), self.directions):
            if first:
                x = self._drop(x)
            outs = []
            for direction in range(self.directions):
                index = first + direction
                start = None if state is None else tuple(member[:, index] for member in state)
                seen = _flip(x, lengths) if direction else x
                out, end = self.layers[index](seen, lengths, start, self._recurrent_mask(x))
                outs.append(_flip(out, lengths) if direction else out)
                ends.append(end)
            x = torch.cat(outs, -1) if self.bidirectional else outs[0]
        return x, tuple(torch.stack(member, 1) for member in zip(*ends, strict=True))

    def refuse_to_step_backwards(self) -> None:
        """Raise ConfigError where the layer looks backwards in time."""
        if self.bidirectional:
            raise ConfigError(
                "a bidirectional recurrence cannot run frame by frame: its backward direction begins at the last "
                "frame. Use forward on whole clips, or build it with bidirectional=False"
            )

    def _drop(self, x: Tensor) -> Tensor:
        if not (self.training and self.dropout):
            return x
        if not self.hold_dropout:
            return nn.functional.dropout(x, self.dropout)
        return x * nn.functional.dropout(x.new_ones(x.shape[0], 1, *(1,) * (x.ndim - 3), x.shape[-1]), self.dropout)

    def _recurrent_mask(self, x: Tensor) -> Tensor | None:
        if not (self.training and self.recurrent_dropout):
            return None
        hidden = self.layers[0].product.hidden(self.layers[0].recurrent_kernel)  # type: ignore[union-attr, operator]
        return nn.functional.dropout(x.new_ones(x.shape[0], *(1,) * (x.ndim - 3), hidden), self.recurrent_dropout)


def _flip(x: Tensor, lengths: Tensor | None) -> Tensor:
    return x.flip(1) if lengths is None else valid.flip(x, lengths)
