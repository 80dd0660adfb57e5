"""The three networks in PyTorch, each with plain PyTorch's recurrence or with Unreel's in its place.

The plain ConvLSTM is the loop that users write: one convolution of input and state side by side, step by step.

Modes: `unreel`, or for plain PyTorch `channels-first` and `channels-last`, each also with `-compile` behind it.
Compiled is the cell, not the loop: a graph of all steps takes minutes to make and is another for each length.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Recurrent = Callable[[int, int, int], nn.Module]


def cell(x: Tensor, h: Tensor, c: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    z = functional.conv2d(torch.cat((x, h), 1), weight, bias, padding=weight.shape[-1] // 2)
    enter, forget, candidate, leave = z.chunk(4, 1)
    c = torch.sigmoid(forget) * c + torch.sigmoid(enter) * torch.tanh(candidate)
    return torch.sigmoid(leave) * torch.tanh(c), c


# the trailer model has three cells in two modes at two lengths, each compiled by itself; the default gives up at eight
torch._dynamo.config.recompile_limit = 64
compiled_cell = torch.compile(cell, dynamic=False, fullgraph=True)


class PlainConvLSTM2d(nn.Module):
    """(N, T, C, H, W) to (N, T, F, H, W); in channels-last it expects and returns frames that lie so in memory."""

    def __init__(self, channels: int, features: int, kernel_size: int, mode: str) -> None:
        super().__init__()
        weight = nn.Conv2d(channels + features, 4 * features, kernel_size).weight.detach()
        self.last = mode.startswith("channels-last")
        layout = torch.channels_last if self.last else torch.contiguous_format
        self.weight = nn.Parameter(weight.to(memory_format=layout))
        self.bias = nn.Parameter(torch.zeros(4 * features))
        self.cell = compiled_cell if mode.endswith("-compile") else cell

    def forward(self, x: Tensor) -> Tensor:
        n, _, _, height, width = x.shape
        layout = torch.channels_last if self.last else torch.contiguous_format
        shape = (n, len(self.bias) // 4, height, width)
        h = c = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout).zero_()
        out = []
        for frame in x.unbind(1):
            h, c = self.cell(frame, h, c, self.weight, self.bias)
            out.append(h)
        if self.last:
            return torch.stack([h.permute(0, 2, 3, 1) for h in out], 1).permute(0, 1, 4, 2, 3)
        return torch.stack(out, 1)


class First(nn.Module):
    """The first of what a layer of Unreel returns: the output without the state."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


class ImageLSTM(nn.Module):
    """(N, 3, 32, 32) to (N, 10): a convolution, halved, read row by row as 256 steps of 50 features."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.last = "channels-last" in mode
        self.conv = nn.Conv2d(3, 50, 3, padding="same")
        if self.last:
            self.conv = self.conv.to(memory_format=torch.channels_last)
        self.unreel = mode.startswith("unreel")
        if self.unreel:
            from unreel.nn import LSTM

            self.lstm = First(LSTM(50, 50))
        else:
            self.lstm = First(nn.LSTM(50, 50, batch_first=True))
        self.linear = nn.Linear(50, 10)

    def forward(self, x: Tensor) -> Tensor:
        grid = functional.max_pool2d(torch.relu(self.conv(x)), 2)
        return self.linear(self.lstm(grid.flatten(2).transpose(1, 2))[:, -1])


class Trailer(nn.Module):
    """(N, T, 3, 400, 400) to (N, T, 6): two ConvLSTM blocks, then for each head one more and dense layers per frame."""

    def __init__(self, recurrent: Recurrent, size: int, heads: int = 6) -> None:
        super().__init__()
        self.blocks = nn.ModuleList((recurrent(3, 20, 3), recurrent(20, 10, 3)))
        self.norms = nn.ModuleList((nn.BatchNorm2d(20), nn.BatchNorm2d(10)))
        self.heads = nn.ModuleList(recurrent(10, 5, 3) for _ in range(heads))
        flat = 5 * (math.ceil(size // 2 / 3) // 2) ** 2
        self.dense = nn.ModuleList(
            nn.Sequential(nn.Linear(flat, 512), nn.ReLU(), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 1))
            for _ in range(heads)
        )

    def forward(self, x: Tensor) -> Tensor:
        n, frames = x.shape[:2]
        for block, norm, pool in zip(self.blocks, self.norms, (2, 3), strict=True):
            x = functional.max_pool2d(norm(block(x).flatten(0, 1)), pool, ceil_mode=True).unflatten(0, (n, frames))
        out = []
        for head, dense in zip(self.heads, self.dense, strict=True):
            out.append(dense(functional.max_pool2d(head(x).flatten(0, 1), 2).flatten(1)).unflatten(0, (n, frames)))
        return torch.cat(out, -1)


def recurrent_of(mode: str) -> Recurrent:
    if mode.startswith("unreel"):
        from unreel.nn import ConvLSTM2d

        return lambda channels, features, kernel_size: First(ConvLSTM2d(channels, features, kernel_size))
    return lambda channels, features, kernel_size: PlainConvLSTM2d(channels, features, kernel_size, mode)
