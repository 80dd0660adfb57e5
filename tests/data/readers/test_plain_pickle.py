"""Plain data come out of pickles of both Pythons; whatever would run something is refused."""

import os
import pickle

import numpy as np
import pytest

from unreel.data.readers import plain_pickle

from image_files import pixels, python2_array  # isort: skip

PLAIN = {
    "numbers": [0, 1, 255, 256, 70_000, -3, 2**40, 1.5],
    "text": ("a", "ü", "x" * 300),
    "bytes": [b"ab", b"c" * 300],
    "other": {1: None, 2: (True, False), 3: (), 4: [[]], 5: (1, 2, 3, 4)},
}


@pytest.mark.parametrize("protocol", range(5))
def test_plain_data_come_back(protocol: int) -> None:
    if protocol < 2:  # bytes need a function there, and it is the one that is known
        assert plain_pickle.read(pickle.dumps({"a": [1, (2, 3)], "b": b"xy"}, protocol)) == {
            "a": [1, (2, 3)],
            "b": b"xy",
        }
        return
    assert plain_pickle.read(pickle.dumps(PLAIN, protocol)) == PLAIN


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["u1", "<i8", ">f4", "?"])
def test_arrays_come_back(protocol: int, dtype: str) -> None:
    array = (np.arange(6).reshape(2, 3) % 2 + 1).astype(dtype)
    for each in (array, np.asfortranarray(array)):
        found = plain_pickle.read(pickle.dumps([each, each], protocol))
        assert found[0].dtype == array.dtype
        assert (found[0] == array).all()
        assert found[1] is not None


def test_an_array_of_python_2_comes_back() -> None:
    array = pixels(3, 400)
    assert (plain_pickle.read(b"\x80\x02" + python2_array(array) + b".") == array).all()


class Evil:
    def __reduce__(self):
        return os.mkdir, ("should-not-be",)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (pickle.dumps({"data": Evil()}, 2), "it asks for"),
        (pickle.dumps(Evil(), 4), "it asks for"),
        (pickle.dumps(np.array([{}], object), 2), "arrays of numbers"),
        (pickle.dumps(range(3), 2), "it asks for"),
        (pickle.dumps({1, 2}, 4), "it holds EMPTY_SET"),
        (b"cnumpy\nndarray\n.", "a function or a type"),
        (b"cnumpy\nndarray\n)R.", "it calls numpy ndarray"),
        (b"cnumpy.core.multiarray\n_reconstruct\n)R.", "without its numbers"),
        (b"]]b.", "it fills an object"),
        (b"u.", "SETITEMS does not fit"),
        (b"h\x05.", "BINGET does not fit"),
        (b"NN.", "2 values in place of one"),
        (b"hello", " "),
        (b"", " "),
    ],
)
def test_what_is_no_plain_data_is_refused(data: bytes, said: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=said):
        plain_pickle.read(data)
    assert not list(tmp_path.iterdir())


def test_mutated_pickles_raise_or_read() -> None:
    data = pickle.dumps({**PLAIN, "array": pixels(3, 5)}, 2)
    refused = 0
    for seed in range(300):
        generator = np.random.default_rng(seed)
        changed = np.frombuffer(data, np.uint8).copy()
        changed[generator.integers(0, len(changed), 3)] = generator.integers(0, 256, 3)
        try:
            plain_pickle.read(changed.tobytes()[: len(data) if seed % 3 else int(generator.integers(len(data)))])
        except ValueError:
            refused += 1
    assert refused > 100
