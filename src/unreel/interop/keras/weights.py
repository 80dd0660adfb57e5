"""Weights of one Keras layer into one module of torch or Unreel.

A kernel of Keras is (*k, in, out), of torch (out, in, *k). Gates lie side by side in the last axis: in LSTM and
ConvLSTM in the order that Unreel has too (enter, forget, candidate, leave, Keras's i, f, c, o), in GRU update, reset,
candidate, where Unreel has reset, update, candidate. GRU with the reset after the product has two biases; those of
reset and update are added, the candidate's recurrent one stays by itself.

What this file is not: it reads no file and builds no module.

Shape letters: D features in, H hidden features, G gates, C channels, F filters, k kernel size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from unreel.errors import ConfigError
from unreel.interop.keras.files import Saved
from unreel.nn.conv_recurrent import ConvLSTM
from unreel.nn.recurrent import GRU, LSTM, RNN
from unreel.nn.stacked import Direction
from unreel.nn.time_distributed import TimeDistributed


def copy_weights(saved: Saved, module: nn.Module) -> None:
    """Copy the weights of one Keras layer into a module of the same kind.

    Dense into nn.Linear; Conv1D, 2D, 3D into nn.Conv1d, 2d, 3d; BatchNormalization into nn.BatchNorm1d, 2d, 3d;
    Embedding into nn.Embedding; SimpleRNN, LSTM and GRU into unreel.nn's RNN, LSTM and GRU of one layer; ConvLSTM1D,
    2D, 3D into ConvLSTM1d, 2d, 3d; a Bidirectional into such a layer with bidirectional=True, which concatenates;
    TimeDistributed into unreel.nn's TimeDistributed around one of these. Options are not weights: a BatchNorm needs
    eps=epsilon and momentum=1 - momentum of Keras's, a recurrence the same activations. `load_keras` sees to them.

    Args:
        saved: what `read_keras(path).layer(name)` gives.
        module: changed in place.

    Raises:
        ConfigError: the kind of module is not one of these, or a shape differs. The message names the layer, the shape
            that the module needs and the one that was saved. Nothing is copied then.
    """
    for target, value in _pairs(saved, module):
        with torch.no_grad():
            target.copy_(value)


def _pairs(saved: Saved, module: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Where each tensor goes, checked: (parameter or buffer, its new value)."""
    if isinstance(module, TimeDistributed):
        return _pairs(saved.part("layer"), module.module)
    if isinstance(module, RNN | LSTM | GRU | ConvLSTM):
        return _recurrence(saved, module)
    if isinstance(module, nn.Linear):
        return _kernel_and_bias(saved, module.weight, module.bias)
    if isinstance(module, _ConvNd) and not module.transposed:
        return _kernel_and_bias(saved, module.weight, module.bias)
    if isinstance(module, nn.Embedding):
        (table,) = _expect(saved, tuple(module.weight.shape))
        return [(module.weight, table)]
    if isinstance(module, _BatchNorm):
        targets = [module.weight, module.bias, module.running_mean, module.running_var]
        present = [target for target in targets if target is not None]
        return list(zip(present, _expect(saved, *(tuple(target.shape) for target in present)), strict=True))
    raise ConfigError(
        f"layer {saved.name!r}: no way to copy weights into {type(module).__name__}; expected Linear, Conv1d, Conv2d, "
        "Conv3d, BatchNorm, Embedding, or unreel.nn's RNN, LSTM, GRU, ConvLSTM1d, 2d, 3d, TimeDistributed"
    )


def _kernel_and_bias(saved: Saved, weight: Tensor, bias: Tensor | None) -> list[tuple[Tensor, Tensor]]:
    shapes = [_keras_shape(weight), *([] if bias is None else [tuple(bias.shape)])]
    values = _expect(saved, *shapes)
    return [(weight, _torch_order(values[0])), *([] if bias is None else [(bias, values[1])])]


def _recurrence(saved: Saved, module: RNN | LSTM | GRU | ConvLSTM) -> list[tuple[Tensor, Tensor]]:
    if module.num_layers != 1:
        raise ConfigError(
            f"layer {saved.name!r}: a recurrence of Keras is one layer, the module has num_layers={module.num_layers}; "
            "make one module for each layer of Keras"
        )
    sides = [saved.part("forward_layer"), saved.part("backward_layer")] if module.bidirectional else [saved]
    pairs = []
    for side, layer in zip(sides, module.layers, strict=True):
        assert isinstance(layer, Direction)
        pairs += _direction(Saved(side.name, side.part("cell").arrays, {}), layer, isinstance(module, ConvLSTM))
    return pairs


def _direction(saved: Saved, layer: Direction, is_conv: bool) -> list[tuple[Tensor, Tensor]]:
    if layer.peephole is not None or layer.gains is not None:
        raise ConfigError(f"layer {saved.name!r}: Keras has no peepholes and no norm in the cell; the module has")
    kernels = (layer.kernel, layer.recurrent_kernel)
    shapes = [_keras_shape(kernel) if is_conv else tuple(kernel.shape) for kernel in kernels]
    if layer.bias is not None:
        width = len(layer.bias)
        shapes.append((width,) if layer.recurrent_bias is None else (2, width))
    values = list(_expect(saved, *shapes))
    if layer.bias is not None and layer.recurrent_bias is not None:
        candidate = layer.cell.part("candidate", len(layer.recurrent_bias))
        entering, recurrent = values.pop()
        recurrent = recurrent.clone()
        values += [entering, recurrent[candidate].clone()]
        recurrent[candidate] = 0
        values[2] = entering + recurrent
    targets = [tensor for tensor in (*kernels, layer.bias, layer.recurrent_bias) if tensor is not None]
    if "reset" in layer.cell.gates:
        values[:3] = [_reset_first(value) for value in values[:3]]
    if is_conv:
        values[:2] = [_torch_order(value) for value in values[:2]]
    return list(zip(targets, values, strict=True))


def _reset_first(value: Tensor) -> Tensor:
    update, reset, candidate = value.chunk(3, -1)
    return torch.cat([reset, update, candidate], -1)


def _keras_shape(weight: Tensor) -> tuple[int, ...]:
    return (*weight.shape[2:], weight.shape[1], weight.shape[0])


def _torch_order(kernel: Tensor) -> Tensor:
    """A kernel (*k, in, out) as (out, in, *k)."""
    return kernel.permute(-1, -2, *range(kernel.ndim - 2))


def _expect(saved: Saved, *shapes: tuple[int, ...]) -> tuple[Tensor, ...]:
    found = tuple(tuple(array.shape) for array in saved.arrays)
    if found != shapes:
        raise ConfigError(f"layer {saved.name!r}: expected weights of the shapes {list(shapes)}, found {list(found)}")
    return saved.arrays
