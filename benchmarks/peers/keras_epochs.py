"""Keras's side of `cifar_epoch.py`: epochs of the tutorials' two networks by `model.fit`, as a job of `serve.py`.

    KERAS_BACKEND=tensorflow python -m peers.keras_epochs THREADS

The networks are the tutorials' own, fed with pixels of mean 0 and deviation 1, so that they train at all. Modes:
`graph`, and `xla`, where Keras compiles the step.
"""

from __future__ import annotations

import sys

import keras
import numpy as np
import tensorflow
from keras import layers, ops

from peers.serve import Arrays, Job, serve


def network(form: str) -> keras.Model:
    x = keras.Input((32, 32, 3))
    grid = layers.MaxPooling2D(2)(layers.Conv2D(50, 3, padding="same", activation="relu")(x))
    if form == "sequential":
        return keras.Model(x, layers.Dense(10)(layers.LSTM(50)(layers.Reshape((256, 50))(grid))))
    seen = layers.Dense(100)(layers.Flatten()(grid))
    told = layers.Dense(100)(layers.LSTM(50)(layers.Reshape((1024, 3))(x)))
    return keras.Model(x, layers.Dense(10)(layers.Concatenate()([seen, told])))


def build(name: str, arrays: Arrays, mode: str) -> Job:
    mean, deviation = arrays["x"].mean((0, 1, 2)), arrays["x"].std((0, 1, 2))
    x, x_test = (((arrays[side] - mean) / deviation).astype(np.float32) for side in ("x", "x_test"))
    model = network(name)
    model.compile(
        keras.optimizers.Adam(float(arrays["lr"]), global_clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=mode == "xla",
    )

    def epoch() -> None:
        model.fit(x, arrays["y"], batch_size=int(arrays["batch"]), epochs=1, verbose=0)

    def results() -> Arrays:
        said = ops.convert_to_numpy(model.predict(x_test, batch_size=500, verbose=0)).argmax(1)
        parameters = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
        return {"accuracy": np.asarray((said == arrays["y_test"]).mean()), "parameters": np.asarray(parameters)}

    return Job({"epoch": epoch}, results)


if __name__ == "__main__":
    threads = int(sys.argv[1])
    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
    keras.utils.set_random_seed(0)
    serve(build, {"keras": keras.__version__, "tensorflow": tensorflow.__version__})
