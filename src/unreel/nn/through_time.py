"""A causal model over a film that is read chunk by chunk: exact gradients, or answers, with no film in memory.

The state is carried from chunk to chunk. `recompute` keeps only the states between chunks and runs each chunk a second
time in the backward pass, last chunk first, as Chen et al. (2016, arXiv 1604.06174) do with layers and Gruslys et al.
(2016, arXiv 1606.03401) with time. What this file is not: it knows no file and no clip; `read` does.

Shape letters: N clips, T frames of the film, t frames of a chunk, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from unreel.nn.stacked import Stacked

Read = Callable[[int], Tensor]
"""Number of a chunk, 0 first, to its frames (N, t, *frame), all valid, on the model's device. Asked again for the same
chunk in the backward pass, it must give the same frames."""
State = Any
"""A tensor, or a tuple of states: what the model takes and gives. None before the first chunk."""


def recompute(model: nn.Module, read: Read, chunks: int) -> Tensor:
    """Outputs over all chunks, differentiable in the model's parameters, as if the film were one tensor.

    The memory is that of one chunk's activations, and one state for each chunk. A BatchNorm updates its running
    statistics once, in the forward pass. Every chunk starts from the same random numbers: dropout that is the same in
    all frames of a clip is so in all of the film; dropout that differs from frame to frame repeats in each chunk.

    Args:
        model: (frames, lengths, state) to (outputs (N, t, K), state), causal.
        read: see `Read`.
        chunks: how many there are.

    Returns:
        (N, T, K).

    Raises:
        ConfigError: the model has a bidirectional recurrence.
        ValueError: no chunks, or the model does not answer for each frame.
        RuntimeError: in a backward pass with create_graph=True, or after a parameter was changed in place.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if torch.is_grad_enabled() and parameters:
        return cast(Tensor, _Recompute.apply(model, read, chunks, *parameters))
    return torch.cat(list(stream(model, read, chunks)), 1)


def stream(model: nn.Module, read: Read, chunks: int) -> Iterator[Tensor]:
    """Outputs (N, t, K) of one chunk after another, without gradients, in constant memory.

    Arguments and errors are those of `recompute`.
    """
    _check(model, chunks)
    state: State = None
    for index in range(chunks):
        with torch.no_grad():
            outputs, after = _run(model, read(index), state)
        state = _map(_kept, after)
        yield outputs


class _Recompute(torch.autograd.Function):
    """The outputs of all chunks. Parameters come as arguments so that autograd knows of them."""

    @staticmethod
    def forward(ctx: Any, model: nn.Module, read: Read, chunks: int, *parameters: Tensor) -> Tensor:  # type: ignore[override]
        """Run all chunks and keep the states between them; no gradient is recorded in here."""
        _check(model, chunks)
        ctx.surroundings = _Surroundings(parameters[0].device)
        outputs: list[Tensor] = []
        before: list[State] = []
        state: State = None
        for index in range(chunks):
            frames = read(index)
            ctx.surroundings.rewind()
            out, after = _run(model, frames, state)
            outputs.append(out)
            before.append(state)
            state = _map(_kept, after)
        ctx.model, ctx.read, ctx.before = model, read, before
        ctx.sizes = [out.shape[1] for out in outputs]
        ctx.save_for_backward(*parameters)
        return torch.cat(outputs, 1)

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor) -> Any:  # type: ignore[override]
        """Run each chunk again, with gradients, from the state before it: the last chunk first."""
        if torch.is_grad_enabled():
            raise RuntimeError(
                "recompute through time gives first derivatives only: its backward pass cannot be differentiated. "
                "Take second derivatives over the whole clip"
            )
        parameters = ctx.saved_tensors  # raises where one was changed since
        totals: list[Tensor | None] = [None] * len(parameters)
        # the second run writes its running statistics into copies
        buffers = {name: buffer.clone() for name, buffer in ctx.model.named_buffers()}
        pieces = d_outputs.split(ctx.sizes, 1)
        d_after: Sequence[Tensor | None] = ()
        for index in reversed(range(len(pieces))):
            frames = ctx.read(index)
            state = _map(_as_input, ctx.before[index])
            with ctx.surroundings.again(), torch.enable_grad():
                outputs, after = functional_call(ctx.model, buffers, (frames, None, state))
            inputs = [leaf for leaf in _leaves(state) if leaf.requires_grad]
            found = _gradients((outputs, *_leaves(after)), (pieces[index], *d_after), (*parameters, *inputs))
            del outputs, after  # before the next chunk is read
            for place, gradient in enumerate(found[: len(parameters)]):
                if gradient is not None:
                    total = totals[place]
                    totals[place] = gradient.clone() if total is None else total.add_(gradient)
            d_inputs = iter(found[len(parameters) :])
            d_after = [next(d_inputs) if leaf.requires_grad else None for leaf in _leaves(state)]
        return None, None, None, *totals


class _Surroundings:
    """Random numbers and autocast as they are now, for the second run of what ran here.

    Args:
        device: of the model.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        kinds = {"cpu", device.type}
        self.autocast = [
            (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
            for kind in sorted(kinds)
            if torch.amp.is_autocast_available(kind)
        ]
        self.cpu = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def rewind(self) -> None:
        """Draw the same random numbers again from here on."""
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, self.device)

    @contextmanager
    def again(self) -> Iterator[None]:
        """The surroundings as they were, and those of outside afterwards."""
        devices = [] if self.cuda is None else [self.device]
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(devices, device_type="cuda"))
            for kind, dtype, enabled in self.autocast:
                stack.enter_context(torch.amp.autocast(kind, dtype, enabled))
            self.rewind()
            yield


def _run(model: nn.Module, frames: Tensor, state: State) -> tuple[Tensor, State]:
    outputs, after = model(frames, None, state)
    if outputs.ndim < 3 or outputs.shape[:2] != frames.shape[:2]:
        raise ValueError(
            f"through time a model must answer for each of the {tuple(frames.shape[:2])} frames (N, T), got outputs "
            f"{tuple(outputs.shape)}: build it with readout='frame'"
        )
    return outputs, after


def _check(model: nn.Module, chunks: int) -> None:
    if chunks < 1:
        raise ValueError(f"expected at least one chunk, got {chunks}")
    for part in model.modules():
        if isinstance(part, Stacked):
            part.refuse_to_step_backwards()


def _gradients(
    outputs: Sequence[Tensor], cotangents: Sequence[Tensor | None], inputs: Sequence[Tensor]
) -> Sequence[Tensor | None]:
    """Of the sum of outputs times cotangents; outputs that come without one do not count."""
    pairs = [
        (output, cotangent)
        for output, cotangent in zip(outputs, cotangents, strict=False)
        if cotangent is not None and output.requires_grad
    ]
    if not pairs:
        return [None] * len(inputs)
    return torch.autograd.grad(
        [output for output, _ in pairs], inputs, [cotangent for _, cotangent in pairs], allow_unused=True
    )


def _leaves(state: State) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif state is not None:
        for branch in state:
            yield from _leaves(branch)


def _map(function: Callable[[Tensor], Tensor], state: State) -> State:
    if isinstance(state, Tensor):
        return function(state)
    return None if state is None else tuple(_map(function, branch) for branch in state)


def _kept(leaf: Tensor) -> Tensor:
    """A copy, since a view would keep all of its chunk alive."""
    return leaf.detach().clone()


def _as_input(leaf: Tensor) -> Tensor:
    return leaf.detach().requires_grad_(leaf.is_floating_point())
