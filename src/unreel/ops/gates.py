"""One step of a cell's gates, forward and backward, written into buffers that the engine owns.

Three twins with one signature: `Plain` in PyTorch's own operators, for every cell, dtype and device; `Native`, the
same in one pass over memory, in C (`_gates.c`), for float32 on the CPU; `TritonGates` the same on a GPU
(`ops/gates_triton.py`). `choose` picks. The gradient arithmetic of the cells is here; the forward arithmetic once more
than in `ops/cells.py`, because here it keeps what the backward needs.

What this file is not: it knows no product and no time.

Shape letters: N clips, S positions in space, H hidden features, G gates.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from unreel.ops.activations import ACTIVATIONS, activation
from unreel.ops.cells import Cell, State


def _load() -> Any:
    """The part in C, a module without types; None where it was not built for want of a compiler."""
    try:
        module = importlib.import_module("unreel.ops._gates")
    except ImportError:
        return None
    if getattr(module, "INTERFACE", 0) != 4:
        raise ImportError("the C part of unreel was built for another version: install unreel again (pip install)")
    return module


compiled: Any = _load()
"""What `_gates.c` offers, or None."""
PLANES = {"rnn": 0, "lstm": 4, "gru": 4}
"""How many tensors (N, *S, H) a step of each kind of cell keeps for its backward, beside the states."""
KINDS = ("rnn", "lstm", "gru")
"""Of cells, as the C code counts them."""
CODES = {name: code for code, name in enumerate(ACTIVATIONS)}
"""Of activations, as the C code counts them."""
_LARGE = 1 << 22  # bytes
_WIDEST = 1024  # features of a gate that fit the C code's block
_TRITON_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Biases(NamedTuple):
    """The vectors of a cell: b (G·H,), the recurrent bias (H,) of a GRU's candidate, peepholes (3, H); or None.

    The same class carries their gradients.
    """

    bias: Tensor | None
    recurrent_bias: Tensor | None
    peephole: Tensor | None


class Gates(Protocol):
    """What the engine asks of each twin."""

    def forward(
        self, zx: Tensor, zh: Tensor | None, base: Tensor | None, before: State, after: State, kept: Tensor | None
    ) -> None:
        """From products to the next state.

        Args:
            zx: (N, *S, G·H), x·W + b; with no zh, h·U is in it too.
            zh: (N, *S, G·H), h·U with the recurrent bias; None but for a GRU, whose zh stands apart.
            base: (2, G·H), what all of zx and of zh is overwritten with once read: there the next step's products
                are added. None leaves them alone.
            before: the state, tensors (N, *S, H).
            after: where the next state goes. Its c may be the one of `before`.
            kept: (planes, N, *S, H), where to keep what the backward needs; None to keep nothing.
        """
        ...

    def backward(
        self,
        dh: Tensor,
        dc: Tensor | None,
        kept: Tensor,
        before: State,
        after: State,
        dzx: Tensor,
        dzh: Tensor,
    ) -> None:
        """From gradients after a step to those before it.

        Args:
            dh: (N, *S, H) of h; of a GRU changed in place into what passes by the products to the h before.
            dc: (N, *S, H) of c, changed in place into that of the c before; None where there is no c.
            kept, before, after: as `forward` had and left them.
            dzx: (N, *S, G·H), where the gradient of zx goes.
            dzh: the same of zh; the same tensor as dzx, but for a GRU.
        """
        ...

    def gradients(self) -> Biases:
        """The gradients of the vectors, over all steps so far."""
        ...


class Plain:
    """The gates in PyTorch's own operators, one line an equation."""

    def __init__(self, cell: Cell, biases: Biases) -> None:
        self.cell = cell
        self.biases = biases
        self.grads = Biases(*(None if v is None else torch.zeros_like(v) for v in biases))
        self.act = activation(cell.activation)
        self.gate = activation(cell.recurrent_activation)

    def forward(
        self, zx: Tensor, zh: Tensor | None, base: Tensor | None, before: State, after: State, kept: Tensor | None
    ) -> None:
        """See `Gates.forward`."""
        if self.cell.kind == "gru":
            assert zh is not None
            self._gru(zx, zh, before, after, kept)
        elif self.cell.kind == "rnn":
            after[0].copy_(self.act.apply(zx))
        else:
            self._lstm(zx, before, after, kept)
        if base is not None:
            zx.copy_(base[0].expand_as(zx))
            if zh is not None:
                zh.copy_(base[1].expand_as(zh))

    def _lstm(self, z: Tensor, before: State, after: State, kept: Tensor | None) -> None:
        enter, forget, candidate, leave = z.chunk(4, -1)
        c, peephole = before[1], self.biases.peephole
        if peephole is not None:
            enter, forget = enter + peephole[0] * c, forget + peephole[1] * c
        enter, forget, candidate = self.gate.apply(enter), self.gate.apply(forget), self.act.apply(candidate)
        c = forget * c + enter * candidate
        if peephole is not None:
            leave = leave + peephole[2] * c
        leave = self.gate.apply(leave)
        after[1].copy_(c)
        after[0].copy_(leave * self.act.apply(c))
        _keep(kept, enter, forget, candidate, leave)

    def _gru(self, zx: Tensor, zh: Tensor, before: State, after: State, kept: Tensor | None) -> None:
        reset_x, update_x, candidate_x = zx.chunk(3, -1)
        reset_h, update_h, product = zh.chunk(3, -1)
        reset, update = self.gate.apply(reset_x + reset_h), self.gate.apply(update_x + update_h)
        candidate = self.act.apply(candidate_x + reset * product)
        after[0].copy_(candidate + update * (before[0] - candidate))
        _keep(kept, reset, update, candidate, product)

    def backward(
        self,
        dh: Tensor,
        dc: Tensor | None,
        kept: Tensor,
        before: State,
        after: State,
        dzx: Tensor,
        dzh: Tensor,
    ) -> None:
        """See `Gates.backward`."""
        if self.cell.kind == "rnn":
            dzx.copy_(dh * self.act.slope(after[0]))
        elif self.cell.kind == "gru":
            reset, update, candidate, product = kept.unbind(0)
            dcandidate = dh * (1 - update) * self.act.slope(candidate)
            dupdate = dh * (before[0] - candidate) * self.gate.slope(update)
            dreset = dcandidate * product * self.gate.slope(reset)
            _side_by_side(dzx, dreset, dupdate, dcandidate)
            _side_by_side(dzh, dreset, dupdate, dcandidate * reset)
            dh.mul_(update)
        else:
            assert dc is not None
            self._lstm_backward(dh, dc, kept, before[1], after[1], dzx)
        if self.grads.bias is not None:
            self.grads.bias.add_(dzx.flatten(0, -2).sum(0))
        if self.grads.recurrent_bias is not None:
            self.grads.recurrent_bias.add_(dzh.chunk(3, -1)[2].flatten(0, -2).sum(0))

    def gradients(self) -> Biases:
        """See `Gates.gradients`."""
        return self.grads

    def _lstm_backward(self, dh: Tensor, dc: Tensor, kept: Tensor, before: Tensor, after: Tensor, dz: Tensor) -> None:
        peephole = self.biases.peephole
        enter, forget, candidate, leave = kept.unbind(0)
        out = self.act.apply(after)
        dleave = dh * out * self.gate.slope(leave)
        whole = dc + dh * leave * self.act.slope(out)
        if peephole is not None:
            whole = whole + dleave * peephole[2]
        denter = whole * candidate * self.gate.slope(enter)
        dforget = whole * before * self.gate.slope(forget)
        dcandidate = whole * enter * self.act.slope(candidate)
        earlier = whole * forget
        if peephole is not None:
            earlier = earlier + denter * peephole[0] + dforget * peephole[1]
        if self.grads.peephole is not None:
            for row, part in enumerate((denter * before, dforget * before, dleave * after)):
                self.grads.peephole[row] += part.flatten(0, -2).sum(0)
        dc.copy_(earlier)
        _side_by_side(dz, denter, dforget, dcandidate, dleave)


class Native:
    """The same in C: one pass over memory, on the threads of PyTorch. Float32 on the CPU, buffers contiguous.

    Holds what every step of one scan shares, so a step costs little more than its arithmetic.
    """

    def __init__(self, cell: Cell, biases: Biases, hidden: int) -> None:
        self.threads = torch.get_num_threads()
        self.head = (CODES[cell.activation], CODES[cell.recurrent_activation], self.threads)
        self.kind = KINDS.index(cell.kind)
        self.hidden = hidden
        self.gru = cell.kind == "gru"
        width = len(cell.gates) * hidden
        self.has = tuple(v is not None for v in biases)
        self.sums = torch.zeros(2, width)  # gradients of b, and of a GRU's recurrent products
        self.scratch = torch.empty(2 * self.threads, width)

    def forward(
        self, zx: Tensor, zh: Tensor | None, base: Tensor | None, before: State, after: State, kept: Tensor | None
    ) -> None:
        """See `Gates.forward`."""
        compiled.forward(
            self.kind,
            after[0].numel() // self.hidden,
            self.hidden,
            *self.head,
            zx.data_ptr(),
            0 if zh is None else zh.data_ptr(),
            0 if base is None else base.data_ptr(),
            before[0].data_ptr(),
            before[-1].data_ptr(),
            after[0].data_ptr(),
            after[-1].data_ptr(),
            0 if kept is None else kept.data_ptr(),
        )

    def backward(
        self,
        dh: Tensor,
        dc: Tensor | None,
        kept: Tensor,
        before: State,
        after: State,
        dzx: Tensor,
        dzh: Tensor,
    ) -> None:
        """See `Gates.backward`."""
        compiled.backward(
            self.kind,
            dh.numel() // self.hidden,
            self.hidden,
            *self.head,
            dh.data_ptr(),
            0 if dc is None else dc.data_ptr(),
            kept.data_ptr(),
            before[0].data_ptr(),
            before[-1].data_ptr(),
            after[0].data_ptr(),
            after[-1].data_ptr(),
            dzx.data_ptr(),
            dzh.data_ptr(),
            self.sums.data_ptr(),
            self.sums[1].data_ptr() if self.gru else 0,
            self.scratch.data_ptr(),
        )

    def gradients(self) -> Biases:
        """See `Gates.gradients`."""
        return Biases(
            self.sums[0] if self.has[0] else None, self.sums[1, -self.hidden :] if self.has[1] else None, None
        )


def choose(cell: Cell, biases: Biases, like: Tensor) -> Gates:
    """The fastest twin that can serve states like `like` (N, *S, H)."""
    if is_native(cell, biases, like):
        return Native(cell, biases, like.shape[-1])
    if is_triton(biases, like):
        from unreel.ops.gates_triton import TritonGates

        return TritonGates(cell, biases, like)
    return Plain(cell, biases)


def is_native(cell: Cell, biases: Biases, like: Tensor) -> bool:
    """Whether the C code is there and can serve states like `like` (N, *S, H)."""
    fits = like.dtype == torch.float32 and like.device.type == "cpu" and like.shape[-1] <= _WIDEST
    return compiled is not None and fits and biases.peephole is None


def is_triton(biases: Biases, like: Tensor) -> bool:
    """Whether Triton is there and its kernels can serve states like `like` (N, *S, H)."""
    fits = like.device.type == "cuda" and like.dtype in _TRITON_DTYPES and like.numel() > 0
    return fits and biases.peephole is None and importlib.util.find_spec("triton") is not None


def buffer(like: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Uninitialised memory on the device of `like`, on large pages where it is large."""
    made = like.new_empty(shape, dtype=dtype)
    size = made.numel() * made.element_size()
    if compiled is not None and made.device.type == "cpu" and size >= _LARGE:
        compiled.advise(made.data_ptr(), size)
    return made


def _keep(kept: Tensor | None, *planes: Tensor) -> None:
    if kept is not None:
        for place, plane in zip(kept, planes, strict=True):
            place.copy_(plane)


def _side_by_side(out: Tensor, *parts: Tensor) -> None:
    for place, part in zip(out.chunk(len(parts), -1), parts, strict=True):
        place.copy_(part)
