"""A model that Keras saved as a module of torch and Unreel, without Keras.

What this file is not: which layer becomes what is in `builders.py`, how a file is read in `files.py`.

Shape letters: N clips, T frames, C channels, D features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from unreel.errors import ConfigError
from unreel.interop.keras import layers
from unreel.interop.keras.axes import Axes, first_preferred
from unreel.interop.keras.builders import build_chain
from unreel.interop.keras.configs import chain, describe, input_rank
from unreel.interop.keras.files import Saved, read_keras
from unreel.interop.keras.recurrences import Recurrence


class KerasModel(nn.Module):
    """A chain of layers that Keras saved. Made by `load_keras`.

    Args:
        chain: the layers, by their names in Keras.
        input_axes: axis i of the input is axis `input_axes[i]` of Keras's: `x = keras_x.transpose(input_axes)`.
        output_axes: the same of the output; of the first, where the last layer gives several.
    """

    def __init__(self, chain: layers.Chain, input_axes: Axes, output_axes: Axes) -> None:
        super().__init__()
        self.chain = chain
        self.input_axes = input_axes
        self.output_axes = output_axes

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Any:
        """What Keras's model says of x.

        Args:
            x: in torch's order: frames (N, T, D) or (N, T, C, *space), images (N, C, *space), tokens (N, T) int64.
            lengths: (N,) int64, valid frames of each clip, where Keras would take a mask; None where all are.

        Returns:
            The last layer's output in torch's order, zeros in the padding; a tuple where that layer gives its states,
            too, or its two directions unmerged.

        Raises:
            ValueError: x has another shape, or lengths are given and a layer would mix padding into frames.
        """
        return self.chain(x, lengths)[0]

    def reset_state(self) -> None:
        """Let the stateful layers begin anew, as Keras's `reset_state` does."""
        for module in self.modules():
            if isinstance(module, Recurrence):
                module.state = None

    def extra_repr(self) -> str:
        """The orders of axes, for print(model)."""
        return f"input_axes={self.input_axes}, output_axes={self.output_axes}"


def load_keras(path: str | Path) -> KerasModel:
    """Load a model that Keras 3 saved as `.keras`: a Sequential, or a functional model that is a chain.

    The module takes tensors in torch's order: what the first layer that minds takes in torch or Unreel. Frames
    (N, T, H, W, C) of Keras become (N, T, C, H, W), images (N, H, W, C) become (N, C, H, W), a Conv1D's (N, L, C)
    becomes (N, C, L), features (N, T, D) stay. Whatever Keras flattens is flattened in Keras's order. `channels_first`
    layers take what they took in Keras. The attribute `input_axes` says it exactly.

    The model is in eval mode, in float32. Optimizer, loss, initializers, regularizers, constraints and `trainable` are
    not taken over.

    Raises:
        ReadError: the file is missing, damaged, or not a `.keras` file.
        ConfigError: h5py is not installed; a layer is a Lambda, of one's own class, or not supported; a weight has
            another shape than the configuration says; the model has branches.
    """
    file = read_keras(path)
    if file.config is None:
        raise ConfigError(
            f"{path} holds weights and no model. Save the model as .keras, or build the module and copy the weights "
            "with read_keras and copy_weights"
        )
    model = describe(file.config)
    parts, rank = chain(model), input_rank(model)
    input_axes = first_preferred(parts, rank) or tuple(range(rank))
    saved = file.root.parts.get("layers", Saved(model.name, (), {}))
    steps, output_axes = build_chain(parts, saved, input_axes)
    return KerasModel(steps, input_axes, output_axes).eval()
