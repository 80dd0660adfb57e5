"""Plain data out of a pickle, without running it: dicts, lists, numbers, text, bytes and arrays of numbers.

The original CIFAR-10 files for Python are pickles, and a pickle may ask for any function to be called. Here its opcodes
are only listed (`pickletools.genops` executes nothing) and followed on a stack of our own, which knows how NumPy writes
an array and nothing else: whatever names another function is refused.

What this file is not: `pickle` is never imported. Protocols 0 to 4 are followed as far as plain data need them.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_RECONSTRUCT = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_ARRAY, _DTYPE, _ENCODE = "numpy ndarray", "numpy dtype", "_codecs encode"
_KNOWN = (*_RECONSTRUCT, _ARRAY, _DTYPE, _ENCODE)
_SIMPLE_DTYPES = "buif"
_PUSHED = {
    *("INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_IGNORED = ("PROTO", "FRAME", "STOP")


class _Name(str):
    """A function or class that the pickle names."""


class _Mark:
    """Where a run of items begins on the stack."""


class _Array:
    """An array that is not yet filled."""

    value: NDArray[Any] | None = None


class _Dtype:
    """A kind of number, whose byte order comes later."""

    def __init__(self, code: str) -> None:
        self.value = np.dtype(code)


def read(data: bytes) -> Any:
    """What the pickle stands for.

    Raises:
        ValueError: it is torn, or asks for more than plain data.
    """
    stack: list[Any] = []
    kept: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(data):
        try:
            _follow(opcode.name, argument, stack, kept)
        except (IndexError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no pickle of plain data: {opcode.name} does not fit what stands before it") from error
    if len(stack) != 1:
        raise ValueError(f"no pickle of plain data: it ends with {len(stack)} values in place of one")
    return _finished(stack[0])


def _follow(name: str, argument: Any, stack: list[Any], kept: dict[int, Any]) -> None:
    if name in _IGNORED:
        return
    if name in _PUSHED:
        stack.append(argument)
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
        kept[argument] = stack[-1]
    elif name == "MEMOIZE":
        kept[len(kept)] = stack[-1]
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(kept[argument])
    elif name in ("GLOBAL", "STACK_GLOBAL"):
        stack.append(_named(argument if name == "GLOBAL" else " ".join((stack.pop(-2), stack.pop()))))
    elif name in _STEPS:
        _STEPS[name](stack)
    else:
        raise ValueError(f"expected a pickle of plain data, it holds {name}")


def _named(name: str) -> _Name:
    if name not in _KNOWN:
        raise ValueError(f"expected a pickle of plain data, it asks for {name.replace(' ', '.')}")
    return _Name(name)


def _since_mark(stack: list[Any]) -> list[Any]:
    begin = [place for place, item in enumerate(stack) if isinstance(item, _Mark)][-1]
    items = stack[begin + 1 :]
    del stack[begin:]
    return items


def _set_items(stack: list[Any], items: list[Any]) -> None:
    stack[-1].update(zip(items[::2], items[1::2], strict=True))


def _tuple(count: int) -> Callable[[list[Any]], None]:
    def step(stack: list[Any]) -> None:
        items = tuple(stack[-count:])
        del stack[-count:]
        stack.append(items)

    return step


def _call(stack: list[Any]) -> None:
    arguments, function = stack.pop(), stack.pop()
    if function in _RECONSTRUCT:
        stack.append(_Array())
    elif function == _DTYPE:
        code = arguments[0]
        if code[:1] not in _SIMPLE_DTYPES:
            raise ValueError(f"expected arrays of numbers, the pickle holds one of {code!r}")
        stack.append(_Dtype(code))
    elif function == _ENCODE:  # how Python 3 writes bytes for Python 2
        stack.append(arguments[0].encode("latin-1"))
    else:
        raise ValueError(f"expected a pickle of plain data, it calls {function}")


def _fill(stack: list[Any]) -> None:
    """How NumPy hands its state to a new array, (version, shape, dtype, columns first, bytes), or to a dtype."""
    state = stack.pop()
    target = stack[-1]
    if isinstance(target, _Dtype):
        target.value = target.value.newbyteorder(state[1]) if state[1] in ("<", ">") else target.value
        return
    if not isinstance(target, _Array):
        raise ValueError("expected a pickle of plain data, it fills an object")
    _, shape, dtype, columns_first, data = state
    data = data.encode("latin-1") if isinstance(data, str) else data
    flat = np.frombuffer(data, dtype.value)
    target.value = flat.reshape(shape, order="F" if columns_first else "C")


_STEPS: dict[str, Callable[[list[Any]], None]] = {
    "MARK": lambda stack: stack.append(_Mark()),
    "POP": lambda stack: stack.__delitem__(-1),
    "EMPTY_DICT": lambda stack: stack.append({}),
    "EMPTY_LIST": lambda stack: stack.append([]),
    "EMPTY_TUPLE": lambda stack: stack.append(()),
    "LIST": lambda stack: stack.append(_since_mark(stack)),
    "TUPLE": lambda stack: stack.append(tuple(_since_mark(stack))),
    "DICT": lambda stack: stack.append(dict(zip(*[iter(_since_mark(stack))] * 2, strict=True))),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "APPEND": lambda stack: stack[-2].append(stack.pop()),
    "APPENDS": lambda stack: _extend(stack, _since_mark(stack)),
    "SETITEM": lambda stack: _set_items(stack, [stack.pop(-2), stack.pop()]),
    "SETITEMS": lambda stack: _set_items(stack, _since_mark(stack)),
    "REDUCE": _call,
    "BUILD": _fill,
}


def _extend(stack: list[Any], items: list[Any]) -> None:
    stack[-1].extend(items)


def _finished(value: Any) -> Any:
    """Values with the arrays in place of what stood for them."""
    if isinstance(value, dict):
        return {_finished(key): _finished(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_finished(item) for item in value)
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("no pickle of plain data: an array without its numbers")
        return value.value
    if isinstance(value, _Name | _Dtype | _Mark):
        raise ValueError("no pickle of plain data: it holds a function or a type")
    return value
