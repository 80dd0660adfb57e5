"""TimeDistributed: any module, once per valid frame. Keras' layer of that name, with padding that stays invisible.

What this file is not: it looks at one frame at a time, and carries nothing from frame to frame. The wrapper is
transparent in the state dict, so `TimeDistributed(Sequential(a, b))` and
`TimeSequential(TimeDistributed(a), TimeDistributed(b))` have the same keys, as they give the same numbers.

Shape letters: N clips, T frames, V valid frames of all clips together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from unreel.errors import ConfigError
from unreel.ops import valid

# A tensor, or a tuple, list or dict of such: what modules take and give.
Tree = Any


class TimeDistributed(nn.Module):
    """Run a module on the valid frames of all clips at once.

    The module sees (V, *) where it would see a batch of V images, and never a frame of padding; so BatchNorm's
    statistics are those of valid frames.
    In a program that torch.export writes of a layer in eval mode, all frames run at once: pieces and recomputing save
    memory in training, and the number of pieces would be frozen.

    Args:
        module: takes and gives tensors whose first size is the number of frames, or tuples, lists, dicts of them.
            A tuple of inputs is handed over as that many arguments.
        micro_batch: run at most so many frames at a time; None for all at once. A BatchNorm in train mode then takes
            its statistics from that many frames.
        recompute: keep only the inputs of each micro-batch for the backward pass, and run the module a second time
            there (Chen et al. 2016): memory for time. BatchNorm's running statistics are updated once.
    """

    def __init__(self, module: nn.Module, micro_batch: int | None = None, recompute: bool = False) -> None:
        super().__init__()
        if micro_batch is not None and micro_batch < 1:
            raise ConfigError(f"micro_batch must be at least 1 frame, or None, got {micro_batch}")
        self.module = module
        self.micro_batch = micro_batch
        self.recompute = recompute
        self.register_state_dict_post_hook(_hide_wrapper)
        self.register_load_state_dict_pre_hook(_find_wrapper)

    def forward(self, x: Tree, lengths: Tensor | None = None) -> Tree:
        """Give the module's outputs for every frame.

        Args:
            x: (N, T, *), or a tuple, list or dict of such.
            lengths: (N,) int64, valid frames of each clip; None where all are.

        Returns:
            What the module gives, each tensor as (N, T, *) with zeros in the padding.

        Raises:
            ValueError: inputs disagree in (N, T), or an output has no row for each frame.
        """
        leaves = list(_leaves(x))
        n, t = leaves[0].shape[:2]
        for leaf in leaves:
            if leaf.shape[:2] != (n, t):
                raise ValueError(f"inputs must agree in (N, T): got {(n, t)} and {tuple(leaf.shape[:2])}")
        frames = _map(lambda leaf: valid.pack(leaf, lengths), x)
        outputs = self._run_in_pieces(frames)
        return _map(lambda leaf: valid.unpack(leaf, lengths, t), outputs)

    def _run_in_pieces(self, frames: Tree) -> Tree:
        total = next(_leaves(frames)).shape[0]
        if self.micro_batch is None or (torch.compiler.is_exporting() and not self.training):
            return self._run(frames, total)
        size = self.micro_batch
        pieces = [
            self._run(_map(lambda leaf, first=first: leaf[first : first + size], frames), min(size, total - first))
            for first in range(0, total, size)
        ]
        return pieces[0] if len(pieces) == 1 else _cat(pieces)

    def _run(self, frames: Tree, count: int) -> Tree:
        arguments = frames if isinstance(frames, tuple) else (frames,)
        if not (self.recompute and torch.is_grad_enabled()) or torch.compiler.is_exporting():
            outputs = self.module(*arguments)
        elif torch.compiler.is_compiling():
            # the graph writes running statistics once by itself, and takes no contexts of ours
            outputs = checkpoint(self.module, *arguments, use_reentrant=False)
        else:
            outputs = checkpoint(self.module, *arguments, use_reentrant=False, context_fn=self._contexts)
        for leaf in _leaves(outputs):
            if leaf.ndim == 0 or leaf.shape[0] != count:
                raise ValueError(
                    f"the wrapped module must give a row for each of its {count} frames, got {tuple(leaf.shape)}"
                )
        return outputs

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_stand(self.module)


class TimeSequential(nn.Module):
    """Layers that take (x, lengths), one after another: TimeDistributed each.

    Args:
        layers: modules called as `layer(x, lengths)`, named "0", "1" ... as in torch.nn.Sequential.
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        for index, layer in enumerate(layers):
            self.add_module(str(index), layer)

    def forward(self, x: Tree, lengths: Tensor | None = None) -> Tree:
        """Hand x (N, T, *) through every layer with the same lengths."""
        for layer in self.children():
            x = layer(x, lengths)
        return x


@contextmanager
def _statistics_stand(module: nn.Module) -> Iterator[None]:
    """Let BatchNorm run as always but leave its running statistics as they are."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def _hide_wrapper(module: nn.Module, state_dict: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    _rename(state_dict, prefix + "module.", prefix)


def _find_wrapper(module: nn.Module, state_dict: dict[str, Any], prefix: str, *rest: object) -> None:
    _rename(state_dict, prefix, prefix + "module.")


def _rename(state_dict: dict[str, Any], old: str, new: str) -> None:
    for key in [key for key in state_dict if key.startswith(old)]:
        state_dict[new + key.removeprefix(old)] = state_dict.pop(key)


def _leaves(tree: Tree) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, tuple | list | dict):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from _leaves(branch)
    else:
        raise ValueError(f"expected a tensor or a tuple, list or dict of tensors, got {type(tree).__name__}")


def _map(function: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    if isinstance(tree, tuple | list):
        return type(tree)(_map(function, branch) for branch in tree)
    if isinstance(tree, dict):
        return {key: _map(function, branch) for key, branch in tree.items()}
    return function(tree)


def _cat(pieces: list[Tree]) -> Tree:
    """Join trees of one structure, leaf by leaf, along the first size."""
    if isinstance(pieces[0], tuple | list):
        return type(pieces[0])(_cat(list(branch)) for branch in zip(*pieces, strict=True))
    if isinstance(pieces[0], dict):
        return {key: _cat([piece[key] for piece in pieces]) for key in pieces[0]}
    return torch.cat(pieces)
