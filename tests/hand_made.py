"""What tests of tasks are made of: rows of a manifest, a model that does nothing, batches of targets."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unreel.clip import ClipBatch


@dataclass(frozen=True)
class Span:
    start: float
    end: float
    label: str


@dataclass(frozen=True)
class Row:
    key: str = "a.mp4"
    labels: tuple[str, ...] = ()
    segments: tuple[Span, ...] = field(default=())


class Same(nn.Module):
    """Gives its input back as the output, with a state of None."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, None]:
        return frames * self.scale, None


def batch_of(targets: dict[str, Tensor], n: int, t: int = 4, lengths: list[int] | None = None) -> ClipBatch:
    return ClipBatch(
        frames=torch.zeros(n, t, 1),
        lengths=torch.tensor(lengths or [t] * n),
        times=torch.arange(t, dtype=torch.float64).expand(n, t) / 10,
        keys=tuple(f"clip{index}" for index in range(n)),
        targets=targets,
    )
