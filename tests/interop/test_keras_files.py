"""Reading Keras's files: what they hold by name, and what is refused."""

import builtins
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from interop import golden_files
from unreel.errors import ConfigError, ReadError
from unreel.interop.keras import load_keras, read_keras


def weights_file(name: str, folder: Path) -> Path:
    """The `.weights.h5` of a golden."""
    weights = golden_files.read(name).weights
    assert weights is not None
    path = folder / "model.weights.h5"
    path.write_bytes(weights)
    return path


def model_file(name: str, folder: Path) -> Path:
    return golden_files.put_model(golden_files.read(name), folder)


def change_config(path: Path, change: Callable[[Any], None]) -> Path:
    """The same `.keras` file with another configuration."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    change(config)
    files["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("name", ["models/trailer", "models/functional", "channels_first/trailer_slip"])
def test_both_kinds_of_file_hold_the_same_weights_by_name(name: str, tmp_path: Path) -> None:
    model, weights = read_keras(model_file(name, tmp_path)), read_keras(weights_file(name, tmp_path))
    assert weights.config is None
    assert model.config is not None
    assert model.layers.keys() == weights.layers.keys()
    described = [entry for entry in model.config["config"]["layers"] if entry["class_name"] != "InputLayer"]
    assert {entry["config"]["name"] for entry in described} <= set(model.layers)
    for key, saved in model.layers.items():
        assert repr(saved) == repr(weights.layer(key))


def test_weights_are_those_that_h5py_reads(tmp_path: Path) -> None:
    path = weights_file("models/trailer", tmp_path)
    saved = read_keras(path).layer("conv_lstm2d").part("cell")
    with h5py.File(path) as file:
        for index, array in enumerate(saved.arrays):
            np.testing.assert_array_equal(array.numpy(), file[f"layers/conv_lstm2d/cell/vars/{index}"][()])
    assert [tuple(array.shape) for array in saved.arrays] == [(3, 3, 3, 12), (3, 3, 3, 12), (12,)]


def test_an_unknown_layer_is_answered_with_those_there_are(tmp_path: Path) -> None:
    file = read_keras(model_file("models/functional", tmp_path))
    with pytest.raises(ConfigError, match=r"no layer 'lstm'; the file holds .*carry\.on"):
        file.layer("lstm")
    with pytest.raises(ConfigError, match=r"layer 'carry\.on': expected saved weights of its 'forward_layer', found"):
        file.layer("carry.on").part("forward_layer")


def test_a_missing_file_and_one_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="there is none"):
        read_keras(tmp_path / "no.keras")
    path = tmp_path / "text.keras"
    path.write_text("these are no weights")
    with pytest.raises(ReadError, match=r"expected a zip .* begins with b'thes'"):
        read_keras(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.txt", "x")
    with pytest.raises(ReadError, match=r"expected config.json in the zip.*other.txt"):
        read_keras(path)


@pytest.mark.parametrize("make", [model_file, weights_file])
@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.7, 0.999])
def test_a_file_cut_short(make: Callable[[str, Path], Path], part: float, tmp_path: Path) -> None:
    path = make("models/trailer", tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(ReadError):
        read_keras(path)


def test_a_damaged_file_is_never_another_error(tmp_path: Path) -> None:
    path = weights_file("models/cnn_lstm", tmp_path)
    whole, generator, refused = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(100):
        data = bytearray(whole)
        for place in generator.integers(8, len(data), 8):
            data[place] = generator.integers(256)
        path.write_bytes(data)
        try:
            read_keras(path)
        except ReadError:
            refused += 1
    assert refused > 20


def test_a_damaged_zip_is_told_by_its_checksum(tmp_path: Path) -> None:
    path = model_file("lstm/default", tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ReadError, match="damaged"):
        read_keras(path)


def write_h5(path: Path, fill: Callable[[h5py.File], None]) -> Path:
    with h5py.File(path, "w") as file:
        fill(file)
    return path


def link_outside(file: h5py.File) -> None:
    file["layers"] = h5py.ExternalLink("other.h5", "/")


def link_softly(file: h5py.File) -> None:
    file["layers"] = h5py.SoftLink("/elsewhere")


def in_a_circle(file: h5py.File) -> None:
    file.create_group("layers/dense")
    file["layers/dense/again"] = file["layers"]


def in_another_file(file: h5py.File) -> None:
    file.create_dataset("layers/dense/vars/0", (4,), "float32", external=[("raw.bin", 0, 16)])


def far_more_than_stored(file: h5py.File) -> None:
    file.create_dataset("layers/dense/vars/0", (10**6, 10**4), "float32", chunks=(1000, 1000), compression="gzip")


def words(file: h5py.File) -> None:
    file.create_dataset("layers/dense/vars/0", data=np.array([b"import os"]))


def with_a_gap(file: h5py.File) -> None:
    file.create_dataset("layers/dense/vars/1", data=np.zeros(3))


def of_keras_2(file: h5py.File) -> None:
    file.attrs["layer_names"] = [b"dense"]


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (link_outside, "link to elsewhere"),
        (link_softly, "link to elsewhere"),
        (in_a_circle, "a second time"),
        (in_another_file, "lies in another file"),
        (far_more_than_stored, "claims 40000000000 bytes, 0 are stored"),
        (words, "expected numbers"),
        (with_a_gap, r"expected variables 0, 1, 2 ..., found \['1'\]"),
        (of_keras_2, "old way of Keras 2"),
    ],
)
def test_what_an_hdf5_file_must_not_hold(fill: Callable[[h5py.File], None], message: str, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=message):
        read_keras(write_h5(tmp_path / "bad.weights.h5", fill))


def test_a_zip_that_swells_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", '{"config": {}}')
        archive.writestr("model.weights.h5", bytes(10**7))
    assert path.stat().st_size < 20_000
    with pytest.raises(ReadError, match="claims 10000000 bytes"):
        read_keras(path)


@pytest.mark.parametrize("text", ["not json", "[]", '{"config": 3}', "[" * 100_000])
def test_a_configuration_that_is_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", text)
        archive.writestr("model.weights.h5", b"")
    with pytest.raises(ReadError, match=r"config\.json"):
        read_keras(path)


def test_weights_in_another_byte_order(tmp_path: Path) -> None:
    numbers = np.arange(3, dtype=">f4")
    path = write_h5(tmp_path / "big.weights.h5", lambda file: file.create_dataset("layers/dense/vars/0", data=numbers))
    assert torch.equal(read_keras(path).layer("dense").arrays[0], torch.arange(3.0))


def test_layers_of_a_subclassed_model_are_found_by_name(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file.create_dataset("head/vars/0", data=np.zeros((2, 3)))
        file["head/vars"].attrs["name"] = "my_dense"
        file.create_dataset("optimizer/vars/0", data=np.zeros(1))

    assert list(read_keras(write_h5(tmp_path / "own.weights.h5", fill)).layers) == ["my_dense"]


def test_without_h5py_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = model_file("lstm/default", tmp_path), builtins.__import__

    def without_h5py(name: str, *rest: Any) -> Any:
        if name == "h5py":
            raise ModuleNotFoundError("No module named 'h5py'", name="h5py")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_h5py)
    with pytest.raises(ConfigError, match=r"pip install 'unreel\[keras\]'"):
        read_keras(path)


def test_nothing_is_written_and_no_path_of_the_zip_is_followed(tmp_path: Path) -> None:
    path = model_file("lstm/default", tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../evil.txt", "x")
        archive.writestr("assets/evil.txt", "x")
    load_keras(path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]
    assert not (tmp_path.parent / "evil.txt").exists()


def test_a_file_of_weights_alone_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds weights and no model"):
        load_keras(weights_file("models/trailer", tmp_path))


def first_layer(config: Any) -> Any:
    return next(entry for entry in config["config"]["layers"] if entry["class_name"] != "InputLayer")


def lambda_layer(config: Any) -> None:
    code = {"class_name": "__lambda__", "config": {"code": "4wEAAAAA"}}
    first_layer(config).update(class_name="Lambda", config={"name": "twice", "function": code})


def unknown_layer(config: Any) -> None:
    first_layer(config).update(class_name="SpectralNormalization")


def own_layer(config: Any) -> None:
    first_layer(config).update(module="mine.layers", registered_name="mine>LSTM")


def own_activation(config: Any) -> None:
    first_layer(config)["config"]["activation"] = {"class_name": "function", "config": "swoosh"}


def strange_activation(config: Any) -> None:
    first_layer(config)["config"]["activation"] = "swoosh"


def other_size(config: Any) -> None:
    first_layer(config)["config"]["units"] = 7


def missing_option(config: Any) -> None:
    del first_layer(config)["config"]["units"]


def state_in_between(config: Any) -> None:
    config["config"]["layers"].append(
        {"module": "keras.layers", "class_name": "Flatten", "config": {"name": "f", "data_format": "channels_last"}}
    )
    first_layer(config)["config"]["return_state"] = True


def other_model(config: Any) -> None:
    config.update(class_name="Subclassed")


def own_model(config: Any) -> None:
    config.update(class_name="Mine", module="mine", registered_name="Custom>Mine")


def no_input(config: Any) -> None:
    del config["config"]["layers"][0]
    del first_layer(config)["build_config"]
    config["config"].pop("build_input_shape", None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda_layer, "layer 'twice' is a Lambda: its code lies in the file, and code from a file is never run"),
        (unknown_layer, r"layer 'lstm' is a SpectralNormalization, which is not supported; these are: .*ConvLSTM2D"),
        (own_layer, r"layer 'lstm' is of a class of your own, 'mine>LSTM' in mine\.layers"),
        (own_activation, "layer 'lstm': activation must be one of Keras's own by name"),
        (strange_activation, "layer 'lstm': activation must be one of tanh, .*, got 'swoosh'"),
        (
            other_size,
            r"layer 'lstm': expected weights of the shapes \[\(3, 28\), \(7, 28\), \(28,\)\], "
            r"found \[\(3, 20\), \(5, 20\), \(20,\)\]",
        ),
        (missing_option, "layer 'lstm': its saved configuration has no 'units', which LSTM has"),
        (state_in_between, "layer 'lstm' gives several tensors, so it can only be the last of a chain"),
        (other_model, "is a Subclassed; expected one of Sequential, Functional"),
        (own_model, "is of a class of your own, 'Custom>Mine'"),
        (no_input, "does not say the shape of its input"),
    ],
)
def test_what_a_model_must_not_say(change: Callable[[Any], None], message: str, tmp_path: Path) -> None:
    path = change_config(model_file("lstm/default", tmp_path), change)
    with pytest.raises(ConfigError, match=message):
        load_keras(path)


def test_a_model_with_branches_is_refused(tmp_path: Path) -> None:
    def branch(config: Any) -> None:
        layers = config["config"]["layers"]
        layers[3]["inbound_nodes"] = layers[2]["inbound_nodes"]

    path = change_config(model_file("models/functional", tmp_path), branch)
    with pytest.raises(ConfigError, match="is not a chain: layer 'forget' is called on"):
        load_keras(path)


def test_missing_weights_of_a_layer_name_it(tmp_path: Path) -> None:
    path = model_file("models/cnn_lstm", tmp_path)
    with zipfile.ZipFile(path) as archive:
        config, weights = archive.read("config.json"), io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(weights, "a") as file:
        del file["layers/dense"]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights.getvalue())
    with pytest.raises(ConfigError, match=r"layer 'dense': expected a kernel of 2 axes among its weights, found \[\]"):
        load_keras(path)
