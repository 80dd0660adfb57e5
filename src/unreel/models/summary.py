"""A model as a table: every layer with the shape of its output and the number of its parameters, by torchinfo.

What this file is not: it measures no time and no memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from unreel.nn import SeesViews


def summarize(model: nn.Module, frame_shape: tuple[int, ...], T: int = 8) -> str:  # noqa: N803, the house's letter
    """The table of a model for one clip of T frames. The layers of an encoder show shapes (V, ...), frame by frame.

    Args:
        model: called as `model(frames)`.
        frame_shape: shape of a frame, such as (C, H, W); () of tokens.
        T: frames of the clip.
    """
    from torchinfo import summary

    device = next(model.parameters()).device
    kind = torch.float32 if frame_shape else torch.int64
    views: dict[str, Any] = {}
    if isinstance(model, SeesViews):
        T = max(T, model.views)  # noqa: N806, one of each view at least
        views = {"views": (torch.arange(T, device=device) % model.views).unsqueeze(0)}
    table = summary(
        model,
        input_data=torch.zeros(1, T, *frame_shape, dtype=kind, device=device),
        col_names=("output_size", "num_params", "trainable"),
        depth=8,
        verbose=0,
        **views,
    )
    # what runs outside the part that holds it, as the keys of attention do, is counted twice there
    parameters = [(one.numel(), one.requires_grad) for one in model.parameters()]
    table.total_params = sum(count for count, _ in parameters)
    table.trainable_params = sum(count for count, trained in parameters if trained)
    return str(table)
