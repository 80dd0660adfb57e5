"""Products in a lower precision than the state that they are added to, as autocast wants them."""

from __future__ import annotations

import torch
from torch import Tensor


def under_autocast(x: Tensor, kernel: Tensor) -> torch.dtype | None:
    """What autocast wants the products of x and W in; None where it is off, or where all is in that dtype already."""
    device = x.device.type
    compute = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    return None if compute == x.dtype == kernel.dtype else compute


def cast(x: Tensor, dtype: torch.dtype | None) -> Tensor:
    """x in `dtype`; None leaves it as it is."""
    return x if dtype is None else x.to(dtype)


def add_product(out: Tensor, x: Tensor, matrix: Tensor) -> None:
    """out += x·matrix in place, in the precision of the matrix."""
    if out.dtype == matrix.dtype:
        out.addmm_(x, matrix)
    else:
        out.add_(x @ matrix)
