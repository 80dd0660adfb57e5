"""Which layer of torch and Unreel each layer of Keras becomes: the table `BUILDERS`, and what it needs.

A layer that works along one axis (Dense, BatchNormalization) looks it up among the axes of its tensor; a convolution
gets the order it wants and hands the old one back; a recurrence sets the order to (N, T, C, *space); Flatten and
Reshape get Keras's own, so that the Dense above finds its inputs where it learned them.

What this file is not: the modules are in `layers.py` and `recurrences.py`, the order of axes is explained in `axes.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from unreel.errors import ConfigError
from unreel.interop.keras import layers, recurrences
from unreel.interop.keras.axes import Axes, last, permutation, preferred_axes, with_time, without
from unreel.interop.keras.configs import MODELS, RECURRENCES, Layer, chain
from unreel.interop.keras.files import Saved
from unreel.interop.keras.weights import copy_weights
from unreel.nn.conv_recurrent import ConvLSTM, ConvLSTM1d, ConvLSTM2d, ConvLSTM3d
from unreel.nn.recurrent import GRU, LSTM, RNN
from unreel.ops.activations import ACTIVATIONS

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hard_sigmoid": functional.hardsigmoid,
    "elu": functional.elu,
    "selu": functional.selu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "softsign": functional.softsign,
    "relu6": functional.relu6,
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.2),
    "exponential": torch.exp,
}
"""Keras's activations by name, but for "linear" and "softmax"."""


@dataclass(frozen=True)
class Part:
    """One built layer.

    Args:
        module: of (x, lengths).
        takes: the order of axes in which x must come.
        gives: the order of axes of what comes out.
    """

    module: nn.Module
    takes: Axes
    gives: Axes


def build_chain(parts: Sequence[Layer], saved: Saved, axes: Axes) -> tuple[layers.Chain, Axes]:
    """The layers one after another, from a tensor in the order `axes`; and the order of what comes out.

    Args:
        parts: the layers.
        saved: the group of the file that holds a group for each of them.
        axes: of the input.
    """
    steps: dict[str, nn.Module] = {}
    used: dict[str, int] = {}
    for part in parts:
        key = _snake(part.kind)
        used[key] = used.get(key, -1) + 1
        own = saved.parts.get(f"{key}_{used[key]}" if used[key] else key, Saved(part.name, (), {}))
        built = build(part, own, axes)
        name = _module_name(part.name)
        if built.takes != axes:
            steps[f"{name}_order"] = layers.Reorder(permutation(axes, built.takes))
        if part is not parts[-1] and _gives_several(part):
            raise ConfigError(f"layer {part.name!r} gives several tensors, so it can only be the last of a chain")
        steps[name] = built.module
        axes = built.gives
    return layers.Chain(steps), axes


def build(layer: Layer, saved: Saved, axes: Axes) -> Part:
    """One layer with its weights, for a tensor in the order `axes`.

    Raises:
        ConfigError: the kind is not in `BUILDERS`, an option is not supported, or a weight has another shape.
    """
    if layer.kind not in BUILDERS:
        raise ConfigError(
            f"layer {layer.name!r} is a {layer.kind}, which is not supported; these are: {', '.join(sorted(BUILDERS))}"
        )
    return BUILDERS[layer.kind](layer, saved, axes)


def _dense(layer: Layer, saved: Saved, axes: Axes) -> Part:
    linear = nn.Linear(_kernel(layer, saved, 2).shape[0], layer["units"], layer["use_bias"])
    copy_weights(saved, linear)
    module = _then(linear, _activation(layer, layer.activation(), -1))
    return Part(layers.OnAxis(module, last(axes), -1), axes, axes)


def _convolution(layer: Layer, saved: Saved, axes: Axes) -> Part:
    rank = len(axes) - 2
    kernel = _kernel(layer, saved, rank + 2)
    size, stride, dilation = (tuple(layer[key]) for key in ("kernel_size", "strides", "dilation_rate"))
    groups = layer.options.get("groups", 1)
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    bias: bool = layer["use_bias"]
    conv = kind(kernel.shape[-2] * groups, layer["filters"], size, stride, 0, dilation, groups, bias)
    copy_weights(saved, conv)
    channels_first = layer["data_format"] == "channels_first"
    module = _then(conv, _activation(layer, layer.activation(), -1 if channels_first else 1))
    order = permutation(axes, preferred_axes(layer, len(axes)))
    return Part(layers.Spatial(module, order, size, stride, dilation, layer["padding"]), axes, axes)


def _pooling(layer: Layer, saved: Saved, axes: Axes) -> Part:
    rank = len(axes) - 2
    is_max = layer.kind.startswith("Max")
    size, stride = tuple(layer["pool_size"]), tuple(layer["strides"])
    if is_max:
        module: nn.Module = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[rank - 1](size, stride)
    else:
        module = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[rank - 1](size, stride)
    order = permutation(axes, preferred_axes(layer, len(axes)))
    fill = float("-inf") if is_max else 0.0
    pool = layers.Spatial(module, order, size, stride, (1,) * rank, layer["padding"], fill, mean=not is_max)
    return Part(pool, axes, axes)


def _global_pooling(layer: Layer, saved: Saved, axes: Axes) -> Part:
    order = permutation(axes, preferred_axes(layer, len(axes)))
    kind: Literal["max", "mean"] = "max" if "Max" in layer.kind else "mean"
    dims, keep = order[2:], bool(layer.options.get("keepdims", False))
    gives = axes if keep else without(axes, [axes[dim] for dim in dims])
    return Part(layers.Everywhere(kind, dims, keep), axes, gives)


def _batch_norm(layer: Layer, saved: Saved, axes: Axes) -> Part:
    if layer.options.get("renorm"):
        raise ConfigError(f"layer {layer.name!r}: renorm=True is not supported")
    if not saved.arrays:
        raise ConfigError(f"layer {layer.name!r}: expected the saved weights of a BatchNormalization, found none")
    features = len(saved.arrays[-1])
    norm = nn.BatchNorm1d(features, layer["epsilon"], 1 - layer["momentum"])
    if not layer["scale"]:
        norm.weight = None  # type: ignore[assignment]
    if not layer["center"]:
        norm.bias = None  # type: ignore[assignment]
    copy_weights(saved, norm)
    return Part(layers.OnAxis(norm, axes.index(layer["axis"] % len(axes)), 1), axes, axes)


def _recurrence(layer: Layer, saved: Saved, axes: Axes) -> Part:
    takes = preferred_axes(layer, len(axes)) or axes
    inner = _make_recurrence(layer, saved.part("cell"), len(axes))
    copy_weights(saved, inner)
    module = recurrences.Recurrence(
        inner,
        layer["return_sequences"],
        layer["return_state"],
        layer["go_backwards"],
        layer["stateful"],
        layer["dropout"],
    )
    return Part(module, takes, takes if layer["return_sequences"] else without(takes, [1]))


def _make_recurrence(layer: Layer, cell: Saved, rank: int) -> RNN | LSTM | GRU | ConvLSTM:
    bias, held = layer["use_bias"], layer["recurrent_dropout"]
    activation = _gate(layer, "activation")
    if layer.kind.startswith("ConvLSTM"):
        return (ConvLSTM1d, ConvLSTM2d, ConvLSTM3d)[rank - 4](
            _kernel(layer, cell, rank - 1).shape[-2],
            layer["filters"],
            tuple(layer["kernel_size"]),
            stride=tuple(layer["strides"]),
            padding=layer["padding"],
            dilation=tuple(layer["dilation_rate"]),
            bias=bias,
            recurrent_dropout=held,
            activation=activation,
            recurrent_activation=_gate(layer, "recurrent_activation"),
        )
    features, units = _kernel(layer, cell, 2).shape[0], layer["units"]
    if layer.kind == "SimpleRNN":
        return RNN(features, units, bias=bias, nonlinearity=activation, recurrent_dropout=held)
    gates = _gate(layer, "recurrent_activation")
    if layer.kind == "LSTM":
        return LSTM(
            features, units, bias=bias, activation=activation, recurrent_activation=gates, recurrent_dropout=held
        )
    return GRU(
        features,
        units,
        bias=bias,
        activation=activation,
        recurrent_activation=gates,
        recurrent_dropout=held,
        reset_after=layer["reset_after"],
    )


def _gate(layer: Layer, option: str) -> str:
    name = layer.activation(option)
    if name not in ACTIVATIONS:
        raise ConfigError(f"layer {layer.name!r}: {option} must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
    return name


def _bidirectional(layer: Layer, saved: Saved, axes: Axes) -> Part:
    ahead = layer.wrapped()
    turned = {**ahead.options, "go_backwards": not ahead["go_backwards"]}
    back = (
        layer.wrapped("backward_layer") if "backward_layer" in layer.options else Layer(ahead.kind, ahead.name, turned)
    )
    for side in (ahead, back):
        if side.kind not in RECURRENCES:
            raise ConfigError(f"layer {layer.name!r} holds a {side.kind}; expected one of {', '.join(RECURRENCES)}")
    first = _recurrence(ahead, saved.part("forward_layer"), axes)
    second = _recurrence(back, saved.part("backward_layer"), axes)
    dim = last(first.gives)
    module = recurrences.Bidirectional(first.module, second.module, layer["merge_mode"], dim)  # type: ignore[arg-type]
    return Part(module, first.takes, first.gives)


def _time_distributed(layer: Layer, saved: Saved, axes: Axes) -> Part:
    straight = axes if axes[:2] == (0, 1) else tuple(range(len(axes)))
    takes = preferred_axes(layer, len(axes)) or straight
    inner = layer.wrapped()
    within = Saved(saved.name, (), {_snake(inner.kind): saved.part("layer")})
    module, gives = build_chain([inner], within, (0, *(axis - 1 for axis in takes[2:])))
    return Part(layers.EachFrame(module), takes, with_time(gives))


def _model(layer: Layer, saved: Saved, axes: Axes) -> Part:
    module, gives = build_chain(chain(layer), saved.parts.get("layers", Saved(layer.name, (), {})), axes)
    return Part(module, axes, gives)


def _embedding(layer: Layer, saved: Saved, axes: Axes) -> Part:
    rows = nn.Embedding(layer["input_dim"], layer["output_dim"])
    copy_weights(saved, rows)
    steps: dict[str, nn.Module] = {"mask": layers.MakeLengths(0)} if layer["mask_zero"] else {}
    return Part(layers.Chain({**steps, "table": layers.Table(rows)}), axes, (*axes, len(axes)))


def _masking(layer: Layer, saved: Saved, axes: Axes) -> Part:
    return Part(layers.MakeLengths(layer["mask_value"]), axes, axes)


def _flatten(layer: Layer, saved: Saved, axes: Axes) -> Part:
    wanted = tuple(range(len(axes)))
    if layer["data_format"] == "channels_first":
        wanted = (0, *wanted[2:], 1)
    return Part(layers.Reorder(permutation(axes, wanted), (-1,)), axes, (0, 1))


def _reshape(layer: Layer, saved: Saved, axes: Axes) -> Part:
    shape = tuple(layer["target_shape"])
    return Part(layers.Reorder(permutation(axes, tuple(range(len(axes)))), shape), axes, tuple(range(len(shape) + 1)))


def _permute(layer: Layer, saved: Saved, axes: Axes) -> Part:
    return Part(layers.Reorder(permutation(axes, (0, *layer["dims"]))), axes, tuple(range(len(axes))))


def _elementwise(make: Callable[[Layer], nn.Module]) -> Callable[[Layer, Saved, Axes], Part]:
    return lambda layer, saved, axes: Part(layers.OnAxis(make(layer), last(axes), -1), axes, axes)


def _relu(layer: Layer) -> nn.Module:
    if layer["threshold"] != 0 or layer["negative_slope"] != 0 or layer["max_value"] is not None:
        raise ConfigError(f"layer {layer.name!r}: ReLU with a threshold, slope or largest value is not supported")
    return nn.ReLU()


def _dropout(layer: Layer) -> nn.Module:
    if layer["noise_shape"] is not None:
        raise ConfigError(f"layer {layer.name!r}: Dropout with noise_shape={layer['noise_shape']} is not supported")
    return nn.Dropout(layer["rate"])


BUILDERS: dict[str, Callable[[Layer, Saved, Axes], Part]] = {
    **dict.fromkeys(RECURRENCES, _recurrence),
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), _convolution),
    **dict.fromkeys([f"{kind}Pooling{rank}D" for kind in ("Max", "Average") for rank in (1, 2, 3)], _pooling),
    **dict.fromkeys(
        [f"Global{kind}Pooling{rank}D" for kind in ("Max", "Average") for rank in (1, 2, 3)], _global_pooling
    ),
    **dict.fromkeys(MODELS, _model),
    "Bidirectional": _bidirectional,
    "TimeDistributed": _time_distributed,
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "Embedding": _embedding,
    "Masking": _masking,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "Activation": _elementwise(lambda layer: _activation(layer, layer.activation(), -1) or nn.Identity()),
    "ReLU": _elementwise(_relu),
    "Dropout": _elementwise(_dropout),
}


def _activation(layer: Layer, name: str, dim: int) -> nn.Module | None:
    """The activation as a module, softmax along `dim`; None for "linear"."""
    if name == "linear":
        return None
    if name == "softmax":
        return nn.Softmax(dim)
    if name not in FUNCTIONS:
        known = ", ".join(["linear", "softmax", *FUNCTIONS])
        raise ConfigError(f"layer {layer.name!r}: expected an activation among {known}; got {name!r}")
    return layers.Function(FUNCTIONS[name], name)


def _then(module: nn.Module, activation: nn.Module | None) -> nn.Module:
    return module if activation is None else nn.Sequential(module, activation)


def _kernel(layer: Layer, saved: Saved, ndim: int) -> Tensor:
    """The kernel among the weights, for the sizes that no option tells."""
    if not saved.arrays or saved.arrays[0].ndim != ndim:
        found = [tuple(array.shape) for array in saved.arrays]
        raise ConfigError(f"layer {layer.name!r}: expected a kernel of {ndim} axes among its weights, found {found}")
    return saved.arrays[0]


def _gives_several(layer: Layer) -> bool:
    if layer.kind == "Bidirectional":
        return layer["merge_mode"] is None or bool(layer.wrapped()["return_state"])
    return layer.kind in RECURRENCES and bool(layer["return_state"])


def _snake(name: str) -> str:
    """The name of a layer's group in the file. Source: keras/src/utils/naming.py."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _module_name(name: str) -> str:
    """A layer's name as torch allows it: without dots, and none that nn.ModuleDict has itself."""
    name = name.replace(".", "_")
    return f"{name}_" if hasattr(nn.ModuleDict, name) else name
