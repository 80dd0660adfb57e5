"""Keras 3's side: its ConvLSTM2D and LSTM in the same networks, as jobs of `serve.py`.

    KERAS_BACKEND=... python -m peers.keras_jobs THREADS

The backend is the environment's. Each runs as it is fastest here: TensorFlow as one graph, made by tf.function (mode
`graph`) or by XLA (`xla`); JAX under jit with the weights as arguments; torch eagerly, which is all Keras offers there.
Data lie in channels-last, Keras's default, or in channels-first with the mode of that name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from peers.serve import Arrays, Job, serve

BACKEND = keras.backend.backend()
if BACKEND == "tensorflow":
    import tensorflow as framework
elif BACKEND == "jax":
    import jax as framework
else:
    import torch as framework

Loss = Callable[[Any], Any]


def conv_lstm_layer(features: int, kernel_size: int) -> layers.ConvLSTM2D:
    return layers.ConvLSTM2D(
        features, kernel_size, padding="same", recurrent_activation="sigmoid", return_sequences=True
    )


def conv_lstm_model(arrays: Arrays) -> keras.Model:
    kernel, recurrent = arrays["kernel"], arrays["recurrent_kernel"]
    channels_last = keras.config.image_data_format() == "channels_last"
    frames, *frame = arrays["x"].shape[1:]
    x = keras.Input((frames, *frame[1:], frame[0]) if channels_last else (frames, *frame), batch_size=len(arrays["x"]))
    model = keras.Model(x, conv_lstm_layer(recurrent.shape[1], kernel.shape[-1])(x))
    turned = [array.transpose(2, 3, 1, 0) for array in (kernel, recurrent)]
    model.set_weights([*turned, arrays["bias"]])
    return model


def image_lstm_model(arrays: Arrays) -> keras.Model:
    x = keras.Input((32, 32, 3), batch_size=len(arrays["x"]))
    grid = layers.MaxPooling2D(2)(layers.Conv2D(50, 3, padding="same", activation="relu")(x))
    model = keras.Model(x, layers.Dense(10)(layers.LSTM(50)(layers.Reshape((256, 50))(grid))))
    model.set_weights(
        [
            arrays["conv.weight"].transpose(2, 3, 1, 0),
            arrays["conv.bias"],
            arrays["lstm.kernel"].T,
            arrays["lstm.recurrent_kernel"].T,
            arrays["lstm.bias"],
            arrays["linear.weight"].T,
            arrays["linear.bias"],
        ]
    )
    return model


def trailer_model(arrays: Arrays) -> keras.Model:
    """Two ConvLSTM blocks, then for each head one more and dense layers per frame; normalised over the channel axis."""
    n, frames, channels, height, width = arrays["x"].shape
    x = data = keras.Input((frames, height, width, channels), batch_size=n)
    for features, pool in ((20, 2), (10, 3)):
        x = layers.BatchNormalization()(conv_lstm_layer(features, 3)(x))
        x = layers.MaxPooling3D((1, pool, pool), padding="same")(x)
    out = []
    for _ in range(arrays["labels"].shape[-1]):
        head = layers.MaxPooling3D((1, 2, 2))(conv_lstm_layer(5, 3)(x))
        head = layers.Reshape((frames, -1))(head)
        for units, activation in ((512, "relu"), (32, "relu"), (1, None)):
            head = layers.Dense(units, activation=activation)(head)
        out.append(head)
    return keras.Model(data, layers.Concatenate()(out))


def calls(
    model: keras.Model, x: Any, loss: Loss, cotangent: Any, mode: str
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Inference, and the training step: gradients of `loss` of the output, against the cotangent, to all weights."""
    if BACKEND == "tensorflow":
        weights = [weight.value for weight in model.trainable_variables]

        @framework.function(jit_compile=mode == "xla")
        def forward(x):
            return model(x, training=False)

        @framework.function(jit_compile=mode == "xla")
        def gradients(x, cotangent):
            with framework.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(weights)
                value = loss(model(x, training=True))
            return tape.gradient(value, weights, output_gradients=cotangent)

        return lambda: forward(x), lambda: [gradient.numpy() for gradient in gradients(x, cotangent)]
    if BACKEND == "jax":
        trainable = [weight.value for weight in model.trainable_variables]
        others = [weight.value for weight in model.non_trainable_variables]

        @framework.jit
        def forward(trainable, others, x):
            return model.stateless_call(trainable, others, x, training=False)[0]

        @framework.jit
        def gradients(trainable, others, x, cotangent):
            def value(trainable):
                out, changed = model.stateless_call(trainable, others, x, training=True)
                return loss(out), changed

            _, back, changed = framework.vjp(value, trainable, has_aux=True)
            return back(cotangent)[0], changed

        return (
            lambda: framework.block_until_ready(forward(trainable, others, x)),
            lambda: framework.block_until_ready(gradients(trainable, others, x, cotangent))[0],
        )

    def forward():
        with framework.no_grad():
            return model(x, training=False)

    def gradients():
        weights = [weight.value for weight in model.trainable_variables]
        return framework.autograd.grad(loss(model(x, training=True)), weights, cotangent)

    return forward, gradients


def named(name: str, gradients: list[Any]) -> Arrays:
    """Gradients under the names and in the shapes that all contestants use: those of torch, one bias a layer."""
    turned = [np.moveaxis(g, (-1, -2), (0, 1)) if g.ndim > 1 else g for g in map(ops.convert_to_numpy, gradients)]
    if name == "conv_lstm":
        return dict(zip(("kernel", "recurrent_kernel", "bias"), turned, strict=True))
    if name == "lstm":
        first, last = ("conv.weight", "conv.bias"), ("linear.weight", "linear.bias")
        names = (*first, "lstm.kernel", "lstm.recurrent_kernel", "lstm.bias", *last)
        return dict(zip(names, turned, strict=True))
    return {"parameters": np.asarray(sum(gradient.size for gradient in turned))}


def build(name: str, arrays: Arrays, mode: str) -> Job:
    channels_last = mode != "channels-first"
    keras.config.set_image_data_format("channels_last" if channels_last else "channels_first")
    frames = np.ascontiguousarray(np.moveaxis(arrays["x"], -3, -1)) if channels_last else arrays["x"]
    x = ops.convert_to_tensor(frames)
    one = ops.convert_to_tensor(np.float32(1))
    if name == "conv_lstm":
        cotangent = (
            np.ascontiguousarray(np.moveaxis(arrays["cotangent"], -3, -1)) if channels_last else arrays["cotangent"]
        )
        model = conv_lstm_model(arrays)
        cotangent = ops.convert_to_tensor(cotangent, dtype=keras.config.floatx())
        forward, gradients = calls(model, x, lambda out: out, cotangent, mode)
    elif name == "lstm":
        labels = ops.convert_to_tensor(arrays["labels"])
        model = image_lstm_model(arrays)

        def cross_entropy(out):
            return ops.mean(ops.sparse_categorical_crossentropy(labels, out, from_logits=True))

        forward, gradients = calls(model, x, cross_entropy, one, mode)
    else:
        truth = ops.convert_to_tensor(arrays["labels"])
        model = trailer_model(arrays)

        def binary_cross_entropy(out):
            return ops.mean(ops.binary_crossentropy(truth, out, from_logits=True))

        forward, gradients = calls(model, x, binary_cross_entropy, one, mode)

    def results() -> Arrays:
        out = ops.convert_to_numpy(forward())
        return {"inference": np.moveaxis(out, -1, -3) if name == "conv_lstm" and channels_last else out} | named(
            name, gradients()
        )

    return Job({"inference": forward, "step": gradients}, results)


if __name__ == "__main__":
    threads = int(sys.argv[1])
    if BACKEND == "tensorflow":
        framework.config.threading.set_intra_op_parallelism_threads(threads)
        framework.config.threading.set_inter_op_parallelism_threads(threads)
    elif BACKEND == "torch":
        framework.set_num_threads(threads)
    keras.utils.set_random_seed(0)
    serve(build, {"keras": keras.__version__, BACKEND: framework.__version__})
