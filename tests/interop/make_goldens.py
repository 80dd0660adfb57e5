"""Make the golden files of this folder with the real Keras 3: run by hand, in an environment that has Keras.

    pip install keras tensorflow jax
    KERAS_BACKEND=tensorflow python tests/interop/make_goldens.py make     # all but channels_first
    KERAS_BACKEND=jax python tests/interop/make_goldens.py make channels_first
    KERAS_BACKEND=jax python tests/interop/make_goldens.py check           # another backend gives the same numbers

TensorFlow has no channels_first convolution on a CPU, so that family is made by JAX; JAX in turn fails on a ConvLSTM
with a mask, and torch on a layer with a dot in its name, so check the families that a backend can run. Each family is
one zip; in it each case has a folder: `model.keras` and, for some, `model.weights.h5` as Keras saved them, `x0.npy` (a
second call `x1.npy`), `y0_0.npy` (call 0, output 0) and so on, float32 (tokens int32), and `mask.npy` where there was
one. `versions.json` says what made the family. What this file is not: a test; it knows nothing of Unreel.
"""

from __future__ import annotations

import io
import json
import platform
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

GOLDENS = Path(__file__).parent / "goldens"


@dataclass(frozen=True)
class Case:
    """One model, what it is fed, and how often: a stateful model is called twice."""

    model: keras.Model
    shape: tuple[int, ...]  # with the batch
    calls: int = 1
    lengths: tuple[int, ...] | None = None  # frames that the mask leaves of each clip
    tokens: int | None = None  # the input is indices below this
    weights_file: bool = False


def one(layer: layers.Layer, *shape: int, calls: int = 1, lengths: tuple[int, ...] | None = None) -> Case:
    """A model of a single layer."""
    return chain(shape, layer, calls=calls, lengths=lengths)


def chain(shape: tuple[int, ...], *parts: layers.Layer, **rest: Any) -> Case:
    """A Sequential model of several."""
    return Case(keras.Sequential([keras.Input(batch_shape=(shape[0], *shape[1:])), *parts]), shape, **rest)


def dense_recurrences(kind: type[layers.Layer], **fixed: Any) -> dict[str, Case]:
    n, t, d = 2, 4, 3
    options: dict[str, dict[str, Any]] = {
        "default": {},
        "sequences": {"return_sequences": True},
        "state": {"return_state": True},
        "sequences_state": {"return_sequences": True, "return_state": True},
        "backwards": {"go_backwards": True},
        "backwards_sequences_state": {"go_backwards": True, "return_sequences": True, "return_state": True},
        "no_bias": {"use_bias": False, "return_sequences": True},
        "relu": {"activation": "relu", "return_sequences": True},
        "linear": {"activation": "linear", "return_sequences": True},
        "sigmoid": {"activation": "sigmoid", "return_sequences": True},
        "hard_sigmoid": {"activation": "hard_sigmoid", "return_sequences": True},
    }
    if kind is not layers.SimpleRNN:
        gate = {"recurrent_activation": "hard_sigmoid", "return_sequences": True}
        options |= {"gate_hard_sigmoid": gate, "gate_relu": {**gate, "recurrent_activation": "relu"}}
    cases = {name: one(kind(5, **fixed, **option), n, t, d) for name, option in options.items()}
    stateful = {"stateful": True, "return_sequences": True, "return_state": True}
    cases["stateful"] = one(kind(5, **fixed, **stateful), n, t, d, calls=2)
    cases["stateful_backwards"] = one(kind(5, **fixed, stateful=True, go_backwards=True), n, t, d, calls=2)
    cases["masked"] = one(kind(5, **fixed, return_state=True), n, t, d, lengths=(4, 2))
    cases["masked_sequences"] = one(kind(5, **fixed, return_sequences=True), n, t, d, lengths=(1, 3))
    cases["masked_backwards"] = one(kind(5, **fixed, go_backwards=True), n, t, d, lengths=(3, 2))
    return cases


def bidirectional() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    n, t, d = 2, 4, 3
    for merge in ("concat", "sum", "mul", "ave", None):
        for sequences in (True, False):
            name = f"lstm_{merge}_{'sequences' if sequences else 'last'}".lower()
            cases[name] = one(layers.Bidirectional(layers.LSTM(4, return_sequences=sequences), merge), n, t, d)
    both = {"return_sequences": True, "return_state": True}
    cases["gru_state"] = one(layers.Bidirectional(layers.GRU(4, **both)), n, t, d)
    cases["gru_none_state"] = one(layers.Bidirectional(layers.GRU(4, reset_after=False, **both), None), n, t, d)
    cases["rnn_stateful"] = one(layers.Bidirectional(layers.SimpleRNN(4, stateful=True), "sum"), n, t, d, calls=2)
    backward = layers.GRU(4, return_sequences=True, go_backwards=True, activation="relu")
    forward = layers.LSTM(4, return_sequences=True)
    cases["two_kinds"] = one(layers.Bidirectional(forward, "mul", backward_layer=backward), n, t, d)
    masked = layers.Bidirectional(layers.LSTM(4, return_sequences=True))
    cases["masked_sequences"] = one(masked, n, t, d, lengths=(4, 2))
    cases["masked_last"] = one(layers.Bidirectional(layers.GRU(4)), n, t, d, lengths=(3, 1))
    for merge in ("concat", "ave"):
        conv = layers.ConvLSTM2D(2, 3, padding="same", return_sequences=True)
        cases[f"conv_lstm2d_{merge}"] = one(layers.Bidirectional(conv, merge), 2, 3, 5, 6, 2)
    return cases


def conv_recurrences() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    kinds = {1: layers.ConvLSTM1D, 2: layers.ConvLSTM2D, 3: layers.ConvLSTM3D}
    for rank, kind in kinds.items():
        space = ((9,), (5, 6), (4, 5, 3))[rank - 1]
        shape = (2 if rank < 3 else 1, 4 if rank < 3 else 3, *space, 2)
        kernel = ((3,), (3, 2), (2, 3, 1))[rank - 1]
        both = {"return_sequences": True, "return_state": True}
        options: dict[str, dict[str, Any]] = {
            "valid": {},
            "same": {"padding": "same", **both},
            "strides_valid": {"strides": 2, "return_sequences": True},
            "strides_same": {"strides": 2, "padding": "same", "return_sequences": True},
            "dilation_same": {"dilation_rate": 2, "padding": "same", "return_sequences": True},
            "backwards_sequences": {"padding": "same", "go_backwards": True, "return_sequences": True},
            "relu_hard_sigmoid": {"activation": "relu", "recurrent_activation": "hard_sigmoid", "padding": "same"},
            "no_bias": {"use_bias": False, "return_state": True},
        }
        if rank < 3:
            options |= {
                "dilation_valid": {"dilation_rate": 2, "return_sequences": True},
                "backwards": {"go_backwards": True, "return_state": True},
                "linear_sigmoid": {"activation": "linear", "padding": "same", **both},
                "sigmoid_relu": {"activation": "sigmoid", "recurrent_activation": "relu", "padding": "same"},
                "hard_sigmoid_linear": {"activation": "hard_sigmoid", "recurrent_activation": "linear"},
                "even_kernel": {"kernel_size": 4, "padding": "same", "strides": 2, "return_sequences": True},
            }
        for name, option in options.items():
            cases[f"{rank}d_{name}"] = one(kind(3, **({"kernel_size": kernel} | option)), *shape)
        stateful = kind(3, kernel, padding="same", stateful=True, return_sequences=True)
        cases[f"{rank}d_stateful"] = one(stateful, *shape, calls=2)
    masked = layers.ConvLSTM2D(3, 3, padding="same", return_state=True)
    cases["2d_masked"] = one(masked, 2, 4, 5, 6, 2, lengths=(4, 2))
    return cases


def convolutions() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    kinds = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}
    for rank, kind in kinds.items():
        space = ((9,), (7, 6), (5, 6, 4))[rank - 1]
        options: dict[str, dict[str, Any]] = {
            "valid": {"activation": "relu"},
            "same": {"padding": "same", "activation": "tanh", "kernel_size": 4},
            "strides_same": {"padding": "same", "strides": 2},
            "strides_valid": {"strides": 2, "use_bias": False},
            "dilation_same": {"padding": "same", "dilation_rate": 2, "activation": "hard_sigmoid"},
            "groups": {"groups": 2, "activation": "sigmoid"},
        }
        if rank == 1:
            options["causal"] = {"padding": "causal", "dilation_rate": 2}
        for name, option in options.items():
            cases[f"{rank}d_{name}"] = one(kind(4, **({"kernel_size": 3} | option)), 2, *space, 4)
    return cases


def pooling() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for rank in (1, 2, 3):
        shape = (2, *(7, 6, 5)[:rank], 2)
        for kind in ("Max", "Average"):
            windowed = getattr(layers, f"{kind}Pooling{rank}D")
            cases[f"{kind}{rank}d_valid".lower()] = one(windowed(2), *shape)
            cases[f"{kind}{rank}d_same".lower()] = one(windowed(3, strides=2, padding="same"), *shape)
            everywhere = getattr(layers, f"Global{kind}Pooling{rank}D")
            cases[f"global_{kind}{rank}d".lower()] = one(everywhere(keepdims=rank == 2), *shape)
    return cases


def frame_layers() -> dict[str, Case]:
    """Dense, BatchNormalization, reshaping, and what TimeDistributed makes of them."""
    smooth = ["sigmoid", "tanh", "elu", "selu", "gelu", "silu", "softplus", "softsign", "exponential"]
    cut = ["linear", "relu", "relu6", "leaky_relu", "hard_sigmoid"]
    activations = {f"activation_{name}": one(layers.Activation(name), 3, 5) for name in smooth + cut}
    cnn = [keras.Input((6, 5, 2)), layers.Conv2D(3, 3, activation="relu"), layers.MaxPooling2D(2), layers.Flatten()]
    return {
        **activations,
        "activation_softmax": chain((2, 5, 4, 2), layers.Conv2D(3, 2), layers.Activation("softmax")),
        "conv_softmax": one(layers.Conv2D(3, 2, activation="softmax"), 2, 5, 4, 2),
        "dense": one(layers.Dense(4, activation="softmax"), 3, 5),
        "dense_no_bias": one(layers.Dense(4, use_bias=False), 3, 5),
        "dense_frames": one(layers.Dense(4, activation="relu"), 2, 3, 5),
        "dense_pixels": chain((2, 5, 4, 2), layers.Conv2D(3, 2), layers.Dense(4, activation="elu")),
        "batch_norm": one(layers.BatchNormalization(), 3, 5),
        "batch_norm_images": chain((2, 5, 4, 2), layers.Conv2D(3, 2), layers.BatchNormalization()),
        "batch_norm_bare": one(layers.BatchNormalization(center=False, scale=False, epsilon=0.1), 3, 4, 5),
        "batch_norm_scale": one(layers.BatchNormalization(center=False, momentum=0.8), 3, 4, 5),
        "batch_norm_axis": one(layers.BatchNormalization(axis=1), 3, 4, 5),
        "flatten": chain((2, 5, 4, 3), layers.Conv2D(2, 2), layers.Flatten(), layers.Dense(3)),
        "reshape": chain((2, 4, 6, 2), layers.Conv2D(3, 1), layers.Reshape((4, -1)), layers.GRU(3)),
        "permute": chain((2, 4, 6, 2), layers.Conv2D(3, 1), layers.Permute((2, 1, 3)), layers.Reshape((6, 12))),
        "time_distributed_dense": one(layers.TimeDistributed(layers.Dense(4, activation="tanh")), 2, 3, 5),
        "time_distributed_conv1d": one(layers.TimeDistributed(layers.Conv1D(4, 3, padding="same")), 2, 3, 7, 2),
        "time_distributed_conv2d": one(layers.TimeDistributed(layers.Conv2D(4, 3, strides=2)), 2, 3, 6, 5, 2),
        "time_distributed_norm": one(layers.TimeDistributed(layers.BatchNormalization()), 2, 3, 6, 5, 2),
        "time_distributed_cnn": one(layers.TimeDistributed(keras.Sequential(cnn)), 2, 3, 6, 5, 2),
        "time_distributed_lstm": one(layers.TimeDistributed(layers.LSTM(3)), 2, 3, 4, 5),
    }


def channels_first() -> dict[str, Case]:
    first: dict[str, Any] = {"data_format": "channels_first"}
    same = {"padding": "same", **first}
    return {
        "conv_lstm1d": one(layers.ConvLSTM1D(3, 3, strides=2, return_sequences=True, **same), 2, 4, 2, 9),
        "conv_lstm2d": one(layers.ConvLSTM2D(3, 3, return_sequences=True, return_state=True, **same), 2, 4, 2, 5, 6),
        "conv_lstm2d_valid": one(
            layers.ConvLSTM2D(3, (3, 2), dilation_rate=2, go_backwards=True, **first), 2, 4, 2, 7, 6
        ),
        "conv_lstm3d": one(layers.ConvLSTM3D(2, 2, return_sequences=True, **same), 1, 3, 2, 4, 5, 3),
        "bidirectional": one(
            layers.Bidirectional(layers.ConvLSTM2D(2, 3, return_sequences=True, **same)), 2, 3, 2, 4, 5
        ),
        "conv1d": one(layers.Conv1D(4, 3, strides=2, activation="relu", **same), 2, 2, 9),
        "conv2d": one(layers.Conv2D(4, 3, dilation_rate=2, **first), 2, 2, 7, 6),
        "conv3d": one(layers.Conv3D(4, 3, strides=2, **same), 2, 2, 5, 6, 4),
        "max_pooling2d": one(layers.MaxPooling2D(3, strides=2, **same), 2, 2, 7, 6),
        "average_pooling3d": one(layers.AveragePooling3D(2, **same), 2, 2, 5, 6, 5),
        "global_average2d": one(layers.GlobalAveragePooling2D(**first), 2, 2, 7, 6),
        "flatten": chain((2, 3, 5, 4), layers.Conv2D(2, 2, **first), layers.Flatten(**first), layers.Dense(3)),
        "flatten_last": chain(
            (2, 3, 5, 4), layers.Conv2D(2, 2, **first), layers.Flatten("channels_last"), layers.Dense(3)
        ),
        "time_distributed": one(layers.TimeDistributed(layers.Conv2D(4, 3, **same)), 2, 3, 2, 6, 5),
        "trailer_slip": chain(
            (1, 4, 2, 8, 6),
            layers.ConvLSTM2D(3, 3, return_sequences=True, recurrent_activation="hard_sigmoid", **same),
            layers.BatchNormalization(),
            layers.MaxPooling3D((1, 2, 2), **same),
            layers.ConvLSTM2D(2, 3, return_sequences=True, **same),
            layers.BatchNormalization(axis=2),
            layers.TimeDistributed(layers.Flatten(**first)),
            layers.Dense(1, activation="sigmoid"),
            weights_file=True,
        ),
    }


def whole_models() -> dict[str, Case]:
    frames = keras.Input((4, 8, 6, 3), name="frames")
    x = layers.TimeDistributed(layers.Conv2D(3, 3, activation="relu"), name="see")(frames)
    x = layers.TimeDistributed(layers.GlobalAveragePooling2D(), name="pool")(x)
    x = layers.Dropout(0.5, name="forget")(x)
    x = layers.LSTM(4, return_sequences=True, recurrent_dropout=0.2, name="carry.on")(x)
    functional = keras.Model(frames, layers.Dense(2, activation="softmax", name="values")(x), name="tagger")
    inner = keras.Sequential([keras.Input((7, 2)), layers.Conv1D(3, 3), layers.ReLU(), layers.MaxPooling1D(2)])
    return {
        "cnn_lstm": chain(
            (2, 4, 9, 8, 3),
            layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu")),
            layers.TimeDistributed(layers.MaxPooling2D(2)),
            layers.TimeDistributed(layers.BatchNormalization()),
            layers.TimeDistributed(layers.Flatten()),
            layers.LSTM(5, return_sequences=True, dropout=0.2),
            layers.LSTM(4),
            layers.Dropout(0.3),
            layers.Dense(3, activation="softmax"),
            weights_file=True,
        ),
        "trailer": chain(
            (1, 4, 8, 6, 3),
            layers.ConvLSTM2D(3, 3, padding="same", return_sequences=True, recurrent_activation="hard_sigmoid"),
            layers.BatchNormalization(),
            layers.MaxPooling3D((1, 2, 2), padding="same"),
            layers.ConvLSTM2D(2, 3, padding="same", return_sequences=True, recurrent_activation="hard_sigmoid"),
            layers.BatchNormalization(),
            layers.MaxPooling3D((1, 2, 2), padding="same"),
            layers.TimeDistributed(layers.Flatten()),
            layers.Dense(6, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
            weights_file=True,
        ),
        "functional": Case(functional, (2, 4, 8, 6, 3), weights_file=True),
        "nested": chain((2, 7, 2), inner, layers.Bidirectional(layers.GRU(3)), layers.Dense(1)),
        "text": chain(
            (2, 6),
            layers.Embedding(9, 4),
            layers.Conv1D(3, 3, padding="same", activation="relu"),
            layers.LSTM(4),
            layers.Dense(2),
            tokens=9,
        ),
        "masking": chain(
            (2, 5, 3),
            layers.Masking(0.0),
            layers.LSTM(4, return_sequences=True),
            layers.GRU(3),
            layers.Dense(2),
            lengths=(5, 3),
        ),
        "embedding_mask": chain(
            (2, 6),
            layers.Embedding(9, 4, mask_zero=True),
            layers.Bidirectional(layers.LSTM(3)),
            tokens=9,
            lengths=(4, 6),
        ),
        "conv_gru_image": chain(
            (2, 8, 6, 2),
            layers.Conv2D(3, 3, padding="same", activation="relu"),
            layers.AveragePooling2D(2),
            layers.Reshape((4, 9)),
            layers.SimpleRNN(4, activation="relu"),
            layers.Activation("sigmoid"),
        ),
    }


FAMILIES = {
    "simple_rnn": lambda: dense_recurrences(layers.SimpleRNN),
    "lstm": lambda: dense_recurrences(layers.LSTM),
    "gru": lambda: dense_recurrences(layers.GRU),
    "gru_reset_before": lambda: dense_recurrences(layers.GRU, reset_after=False),
    "bidirectional": bidirectional,
    "conv_lstm": conv_recurrences,
    "conv": convolutions,
    "pooling": pooling,
    "frame_layers": frame_layers,
    "models": whole_models,
    "channels_first": channels_first,
}


def draw_weights(model: keras.Model, generator: np.random.Generator) -> None:
    """Every weight at random, biases and statistics too: what is zero hides mistakes."""
    for variable in model.weights:
        if "float" not in variable.dtype:
            continue
        values = generator.normal(0, 0.4, variable.shape)
        variable.assign((np.abs(values) + 0.2 if "variance" in variable.path else values).astype("float32"))


def draw_inputs(case: Case, generator: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray | None]:
    mask = None
    if case.lengths is not None:
        mask = np.arange(case.shape[1]) < np.array(case.lengths)[:, None]
    inputs = []
    for _ in range(case.calls):
        if case.tokens is not None:
            x = generator.integers(1, case.tokens, case.shape).astype("int32")
        else:
            x = generator.normal(0, 1, case.shape).astype("float32")
        if mask is not None:
            x = x * mask.reshape(mask.shape + (1,) * (x.ndim - 2)).astype(x.dtype)
        inputs.append(x)
    return inputs, mask


def run(model: keras.Model, x: np.ndarray, mask: np.ndarray | None) -> list[np.ndarray]:
    """Outputs and final states, flat; the mask is handed over unless a layer makes it of the input."""
    makes_mask = any(isinstance(layer, layers.Masking | layers.Embedding) for layer in model.layers)
    if mask is None or makes_mask:
        outputs = model(x, training=False)
    else:
        outputs = model.layers[-1](keras.ops.convert_to_tensor(x), mask=keras.ops.convert_to_tensor(mask))
    return [keras.ops.convert_to_numpy(leaf) for leaf in keras.tree.flatten(outputs)]


def versions() -> dict[str, str]:
    backend = keras.backend.backend()
    return {
        "keras": keras.__version__,
        "backend": backend,
        backend: sys.modules[backend].__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def make(names: list[str]) -> None:
    GOLDENS.mkdir(exist_ok=True)
    for family in names:
        keras.utils.clear_session()  # layers are named from one again
        with (
            zipfile.ZipFile(GOLDENS / f"{family}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
            tempfile.TemporaryDirectory() as folder,
        ):
            archive.writestr("versions.json", json.dumps(versions(), indent=1))
            for index, (name, case) in enumerate(FAMILIES[family]().items()):
                generator = np.random.default_rng(index)
                draw_weights(case.model, generator)
                inputs, mask = draw_inputs(case, generator)
                arrays = {f"x{call}": x for call, x in enumerate(inputs)} | ({} if mask is None else {"mask": mask})
                for call, x in enumerate(inputs):
                    arrays |= {f"y{call}_{part}": y for part, y in enumerate(run(case.model, x, mask))}
                for key, array in arrays.items():
                    file = io.BytesIO()
                    np.save(file, array)
                    archive.writestr(f"{name}/{key}.npy", file.getvalue())
                case.model.save(Path(folder, "model.keras"))
                archive.write(Path(folder, "model.keras"), f"{name}/model.keras")
                if case.weights_file:
                    case.model.save_weights(Path(folder, "model.weights.h5"))
                    archive.write(Path(folder, "model.weights.h5"), f"{name}/model.weights.h5")
        print(f"{family}: {(GOLDENS / family).with_suffix('.zip').stat().st_size} bytes")


def check(names: list[str]) -> None:
    """Load the saved models in this backend, and print the largest difference of each family."""
    for family in names:
        worst, where = 0.0, ""
        with zipfile.ZipFile(GOLDENS / f"{family}.zip") as archive, tempfile.TemporaryDirectory() as folder:
            files = archive.namelist()
            made_by = json.loads(archive.read("versions.json"))["backend"]
            for name in sorted({file.split("/")[0] for file in files if "/" in file}):
                archive.extract(f"{name}/model.keras", folder)
                model = keras.saving.load_model(Path(folder, name, "model.keras"))
                arrays = {
                    file.split("/")[1].removesuffix(".npy"): np.load(io.BytesIO(archive.read(file)))
                    for file in files
                    if file.startswith(f"{name}/") and file.endswith(".npy")
                }
                for call in range(sum(key.startswith("x") for key in arrays)):
                    for part, y in enumerate(run(model, arrays[f"x{call}"], arrays.get("mask"))):
                        difference = float(np.abs(y - arrays[f"y{call}_{part}"]).max())
                        if difference >= worst:
                            worst, where = difference, name
        print(f"{family}: {made_by} and {keras.backend.backend()} differ by at most {worst:.1e} ({where})")


if __name__ == "__main__":
    verb, *chosen = sys.argv[1:]
    if verb == "make":
        make(chosen or [family for family in FAMILIES if family != "channels_first"])
    elif verb == "check":
        check(chosen or list(FAMILIES))
    else:
        sys.exit(f"expected 'make' or 'check', got {verb!r}")
