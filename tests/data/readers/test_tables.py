"""Tables of numbers as clips: header or none, separators, seconds, and what is refused with its line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from unreel.data.readers import open_source
from unreel.data.readers.tables import TableSource
from unreel.errors import ReadError


def written(folder: Path, text: str, name: str = "a.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("1,2\n3,4.5\n-5e-1,6\n", "a.csv"),
        ("x,y\n1,2\n3,4.5\n-5e-1,6\n", "a.csv"),
        ('"x","y"\r\n1,2\r\n3,4.5\r\n-5e-1,6', "a.csv"),
        ("\ufeffx;y\n1;2\n3;4.5\n\n-5e-1;6\n", "A.CSV"),
        ("x\ty\n1\t2\n3\t4.5\n-5e-1\t6\n", "a.tsv"),
    ],
)
def test_a_row_is_a_frame(tmp_path: Path, text: str, name: str) -> None:
    with open_source(written(tmp_path, text, name)) as source:
        assert source.frame_shape == (2,)
        assert source.times.tolist() == [0, 1, 2]
        assert source.times.dtype == torch.float64
        assert torch.equal(source.read([2, 0, 2]), torch.tensor([[-0.5, 6], [1, 2], [-0.5, 6]]))
        assert source.read([]).shape == (0, 2)
        with pytest.raises(IndexError, match="0 to 2"):
            source.read([3])
        source.close()
        source.close()
        with pytest.raises(ReadError, match="closed"):
            source.read([0])


def test_the_same_numbers_in_a_table_and_in_an_array(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    np.save(tmp_path / "a.npy", numbers)
    np.savetxt(tmp_path / "a.csv", numbers, delimiter=",", header="a,b,c", comments="")
    with open_source(tmp_path / "a.npy") as array, open_source(tmp_path / "a.csv") as table:
        assert torch.equal(array.read(range(20)), table.read(range(20)))
        assert torch.equal(array.times, table.times)


def test_seconds(tmp_path: Path) -> None:
    with open_source(written(tmp_path, "x,Time,y\n1,0.5,2\n3,0.75,4\n")) as source:
        assert source.times.tolist() == [0.5, 0.75]
        assert isinstance(source, TableSource)
        assert source.columns == ("x", "y")
        assert torch.equal(source.read([0, 1]), torch.tensor([[1.0, 2], [3, 4]]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "found none"),
        ("x,y\n", "found none"),
        ("x,y\n1,2\n3,four\n", "four"),
        ("x,y\n1,2\n3,\n", "numbers with ','"),
        ("1,2\n3\n", "columns"),
        ("x,y,z\n1,2\n", "3 numbers a row"),
        ("x,y\n1,2\n3,nan\n", "line 3, column 2"),
        ("1,2\ninf,4\n", "line 2, column 1"),
        ("time,x\n0,1\n1,2\n1,3\n", "line 4"),
        ("time\n0\n1\n", "features beside"),
    ],
)
def test_what_is_no_table_of_numbers(tmp_path: Path, text: str, reason: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ReadError, match=reason) as caught:
        open_source(path)
    assert caught.value.path == str(path)
    assert caught.value.reason.isprintable()


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="UTF-8"):
        open_source(written(tmp_path, "größe\n1\n", encoding="latin-1"))
