"""Sites: where in a model the maps lie that explain it, and how to take them out.

A model names its sites (`model.sites()`), and whoever explains it needs to know nothing else of it. What this file is
not: it computes no explanation, and knows no class and no loss.

Shape letters: N clips, T frames, V valid frames of all clips, C channels, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from unreel.nn.pooling import TimePool
from unreel.ops import valid


@dataclass(frozen=True)
class Site:
    """A part of a model whose output is a map of each frame.

    Args:
        module: the part. Its output is a tensor.
        packed: the output is (V, C, *space), a row for each valid frame, as inside `TimeDistributed`; else it is
            (N, T, C, *space). The space may be empty: a vector for each frame.
        view: the part sees frames of this view only; None where it sees all.
    """

    module: nn.Module
    packed: bool = True
    view: int | None = None


@dataclass(frozen=True)
class Sites:
    """What a model has to be explained by.

    Args:
        maps: its last maps, before anything that forgets where in a frame something is. Together they see each frame
            once.
        pool: the pooling over time that reads the answer out, None where there is none.
    """

    maps: tuple[Site, ...]
    pool: TimePool | None = None


class Watch:
    """Takes the maps of a model out of its next run, as leaves of the graph: `with Watch(sites) as watch: model(...)`.

    Each map is detached from what made it and put back in its place, so that a gradient ends there; also where what
    made it is frozen. The pieces of a micro-batch are put together, and a second run of the same part in the backward
    pass, as recomputing makes one, is not recorded. The block must enclose the backward pass.

    Args:
        sites: of the model.
    """

    def __init__(self, sites: Sites) -> None:
        self.sites = sites
        self._leaves: list[list[Tensor]] = [[] for _ in sites.maps]
        self._pooled: list[tuple[Tensor, Tensor | None]] = []
        self._recording = True
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Watch:
        for leaves, site in zip(self._leaves, self.sites.maps, strict=True):
            self._handles.append(site.module.register_forward_hook(self._hook(leaves)))
        if self.sites.pool is not None:
            self._handles.append(self.sites.pool.register_forward_pre_hook(self._keep_pooled))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def gradients(self, score: Tensor, again: bool = False) -> list[Tensor]:
        """The gradient of a scalar for each of `leaves`, zeros where the map plays no part in it.

        Args:
            score: the scalar.
            again: another scalar of the same run follows, so that the graph is kept for it.
        """
        self._recording = False
        leaves = self.leaves
        found = torch.autograd.grad(score, leaves, retain_graph=again, allow_unused=True) if leaves else ()
        return [torch.zeros_like(leaf) if one is None else one for leaf, one in zip(leaves, found, strict=True)]

    @property
    def leaves(self) -> list[Tensor]:
        """The recorded maps, piece after piece, site after site."""
        return [leaf for leaves in self._leaves for leaf in leaves]

    def owners(self) -> list[Site]:
        """The site of each of `leaves`."""
        return [site for site, leaves in zip(self.sites.maps, self._leaves, strict=True) for _ in leaves]

    def per_frame(self, values: Sequence[Tensor], lengths: Tensor, t: int, views: Tensor | None) -> Tensor:
        """What was computed of each of `leaves`, put in the place of its frames.

        Args:
            values: for each of `leaves` one row for each of its rows, (V, *) or (N, T, *).
            lengths: (N,).
            t: T.
            views: (N, T), None where there is one view.

        Returns:
            (N, T, *), zeros in the padding.
        """
        rest = list(values)
        packed: list[Tensor] = []
        places: list[Tensor] = []
        of_view = None if views is None else valid.pack(views, lengths)
        everywhere = torch.arange(int(lengths.sum()), device=lengths.device)
        for site, leaves in zip(self.sites.maps, self._leaves, strict=True):
            pieces, rest = rest[: len(leaves)], rest[len(leaves) :]
            if not pieces:  # no frame is of its view
                continue
            rows = torch.cat(pieces)
            packed.append(rows if site.packed else valid.pack(rows, lengths))
            seen = site.view is None or of_view is None
            places.append(everywhere if seen else everywhere[of_view == site.view])
        order = torch.cat(places).argsort()
        return valid.unpack(torch.cat(packed)[order], lengths, t)

    def attention(self) -> Tensor | None:
        """Weights (N, T') of the frames that were pooled, None where the model pools without attention."""
        if self.sites.pool is None or self.sites.pool.kind != "attention" or not self._pooled:
            return None
        with torch.no_grad():
            return self.sites.pool.weights(*self._pooled[0])

    def _hook(self, leaves: list[Tensor]) -> Any:
        def replace(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            leaf = output.detach().requires_grad_()
            if self._recording:
                leaves.append(leaf)
            return leaf.clone()  # what follows may write into it

        return replace

    def _keep_pooled(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._pooled.append((inputs[0].detach(), inputs[1] if len(inputs) > 1 else None))
