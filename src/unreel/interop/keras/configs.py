"""The configuration of a model as Keras saves it: which layers, with which options, one after another.

What this file is not: it makes no module, see `builders.py`. Nothing that a configuration names is imported or run.
Source: keras/src/saving/serialization_lib.py and the `get_config` of Keras 3's layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from unreel.errors import ConfigError

MODELS = ("Sequential", "Functional")
RECURRENCES = ("SimpleRNN", "LSTM", "GRU", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")


@dataclass(frozen=True)
class Layer:
    """One layer as Keras describes it.

    Args:
        kind: the name of its class in Keras.
        name: its own name.
        options: what `get_config` gave.
        links: of a layer in a functional model, what it is called on.
    """

    kind: str
    name: str
    options: Mapping[str, Any]
    links: tuple[Any, ...] = ()

    def __getitem__(self, option: str) -> Any:
        if option not in self.options:
            raise ConfigError(f"layer {self.name!r}: its saved configuration has no {option!r}, which {self.kind} has")
        return self.options[option]

    def wrapped(self, option: str = "layer") -> Layer:
        """The layer inside it."""
        return describe(self[option])

    def activation(self, option: str = "activation") -> str:
        """The name of an activation.

        Raises:
            ConfigError: it is a function of one's own, or a layer.
        """
        name = self[option]
        if not isinstance(name, str):
            raise ConfigError(f"layer {self.name!r}: {option} must be one of Keras's own by name, got {name!r}")
        return name


def describe(entry: Any) -> Layer:
    """A layer from its saved entry.

    Raises:
        ConfigError: it is none, holds code, or is of a class that is not Keras's own.
    """
    if not isinstance(entry, Mapping) or not isinstance(entry.get("config"), Mapping):
        raise ConfigError(f"expected the saved configuration of a Keras layer, got {str(entry)[:80]!r}")
    kind, options = str(entry.get("class_name")), entry["config"]
    name = str(options.get("name", kind))
    if kind == "Lambda":
        raise ConfigError(
            f"layer {name!r} is a Lambda: its code lies in the file, and code from a file is never run. "
            "Write it as a module, and copy the other layers' weights with read_keras and copy_weights"
        )
    module, registered = str(entry.get("module")), entry.get("registered_name") or kind
    if module.split(".")[0] != "keras" or registered != kind:
        raise ConfigError(
            f"layer {name!r} is of a class of your own, {registered!r} in {module}. Build the model from torch and "
            "Unreel layers, and copy the weights with read_keras and copy_weights"
        )
    return Layer(kind, name, options, tuple(entry.get("inbound_nodes") or ()))


def chain(model: Layer) -> list[Layer]:
    """The layers of a Sequential, or of a functional model whose layers form a chain, without the input.

    Raises:
        ConfigError: it is another kind of model, or has branches.
    """
    if model.kind not in MODELS:
        raise ConfigError(f"model {model.name!r} is a {model.kind}; expected one of {', '.join(MODELS)}")
    layers = [describe(entry) for entry in model["layers"]]
    if model.kind == "Sequential":
        return [layer for layer in layers if layer.kind != "InputLayer"]
    following: dict[str, Layer] = {}
    starts = []
    for layer in layers:
        if layer.kind == "InputLayer":
            starts.append(layer.name)
            continue
        sources = [source for link in layer.links for source in _sources(link)]
        if len(layer.links) != 1 or len(sources) != 1 or sources[0][2] != 0 or sources[0][0] in following:
            raise ConfigError(
                f"model {model.name!r} is not a chain: layer {layer.name!r} is called on {sources or 'nothing'}; "
                "expected one tensor that no other layer takes. Build it by hand, and use copy_weights"
            )
        following[sources[0][0]] = layer
    if len(starts) != 1:
        raise ConfigError(f"model {model.name!r} has the inputs {starts}; expected one")
    ordered, name = [], starts[0]
    while name in following:
        ordered.append(following[name])
        name = ordered[-1].name
    return ordered


def input_rank(model: Layer) -> int:
    """How many axes the input has, the batch's among them.

    Raises:
        ConfigError: the model was never built, so that nothing says so.
    """
    first = model["layers"][0] if model["layers"] else {}
    known = [
        first.get("config", {}).get("batch_shape"),
        model.options.get("build_input_shape"),
        (first.get("build_config") or {}).get("input_shape"),
    ]
    shapes = [shape for shape in known if isinstance(shape, list)]
    if not shapes:
        raise ConfigError(f"model {model.name!r} does not say the shape of its input: call it once before saving")
    return len(shapes[0])


def _sources(node: Any) -> Iterator[tuple[str, int, int]]:
    """The tensors that a call takes: (layer, which call of it, which of its outputs)."""
    if isinstance(node, Mapping):
        history = node.get("config", {}).get("keras_history") if node.get("class_name") == "__keras_tensor__" else None
        if history is not None:
            yield (str(history[0]), int(history[1]), int(history[2]))
            return
        node = list(node.values())
    if isinstance(node, list):
        for branch in node:
            yield from _sources(branch)
