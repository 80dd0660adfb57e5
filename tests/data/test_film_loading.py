"""FilmLoader: films in the order of (seed, epoch), whole or in chunks, resumed after any step, damage passed over."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unreel.clip import Chunk, LongClip, Missing
from unreel.data.dataset import ClipDataset
from unreel.data.film_loading import FilmLoader
from unreel.data.loading import ClipLoader
from unreel.data.manifest import Example
from unreel.data.sampling import SamplingConfig
from unreel.data.transforms import AugmentConfig, PreprocessConfig
from unreel.errors import ReadError, RunError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    for number in range(5):
        np.save(folder / f"{number}.npy", rng.integers(0, 255, (3 + 2 * number, 1, 7, 7), dtype=np.uint8))
    (folder / "bad.npy").write_text("no array")
    (folder / "torn").mkdir()
    for number in range(9):
        Image.fromarray(rng.integers(0, 255, (7, 7), dtype=np.uint8)).save(folder / "torn" / f"{number}.png")
    (folder / "torn" / "4.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    return folder


def make(root: Path, names: Sequence[str], training: bool = True, **options: Any) -> FilmLoader:
    data = ClipDataset(
        [Example(name) for name in names],
        root,
        SamplingConfig("all"),
        PreprocessConfig((6, 6), channels="grey"),
        AugmentConfig(flip=True, brightness=0.5),
        encode_targets=lambda example, times: {"label": times.long()},
        seed=3,
        training=training,
    )
    return FilmLoader(data, 3, **{"shuffle": training, "seed": 5, **options})


NAMES = [f"{number}.npy" for number in range(5)]
STEPS = [1, 2, 3, 3, 4]

Row = tuple[str, int, bool, bool]


def row(one: LongClip | Chunk | Missing) -> Row:
    if isinstance(one, Chunk):
        begins, ends, batch = one.begins, one.ends, one.clip
        key = batch.keys[0]
        # the key says where the piece lies, and so do its targets and times
        first, last = batch.targets["label"][0, 0], batch.targets["label"][0, -1]
        assert key.endswith(f"@{float(first):.3f}-{float(last):.3f}")
        assert torch.equal(batch.times[0].long(), batch.targets["label"][0])
        assert batch.lengths.tolist() == [batch.frames.shape[1]]
        return key, int(batch.frames.long().sum()), begins, ends
    return (one.key, 0, isinstance(one, LongClip), isinstance(one, Missing))


@pytest.fixture(scope="module")
def plain(root: Path) -> list[list[Row]]:
    loader = make(root, NAMES, in_chunks=True)
    return [[row(one) for one in loader] for _ in range(3)]


def test_every_chunk_of_every_film_comes_once_an_epoch_in_film_order(root: Path, plain: list[list[Row]]) -> None:
    assert all(len(epoch) == sum(STEPS) == len(make(root, NAMES, in_chunks=True)) for epoch in plain)
    orders = []
    for epoch in plain:
        films = [rows[0].split("@")[0] for rows in epoch]
        order = list(dict.fromkeys(films))
        assert films == [name for name in order for _ in range(STEPS[NAMES.index(name)])]
        assert sorted(order) == NAMES
        begins = [number for number, rows in enumerate(epoch) if rows[2]]
        ends = [number for number, rows in enumerate(epoch) if rows[3]]
        assert begins == [films.index(name) for name in order]
        assert ends == [number - 1 for number in [*begins[1:], len(epoch)]]
        orders.append(order)
    assert orders[0] != orders[1] != orders[2]


def test_films_come_in_the_order_of_clips(root: Path) -> None:
    loader = make(root, NAMES)
    clips = ClipLoader(loader.dataset, 1, shuffle=True, seed=5)
    for _ in range(3):
        assert [one.key for one in loader if isinstance(one, LongClip)] == [batch.keys[0] for batch in clips]


@pytest.mark.parametrize("at", [0, 1, 4, 12, 13, 20])
def test_resume_goes_on_with_exactly_the_next_chunk(root: Path, plain: list[list[Row]], at: int) -> None:
    first, second = make(root, NAMES, in_chunks=True), make(root, NAMES, in_chunks=True)
    expected = [rows for epoch in plain for rows in epoch]
    stream = (row(one) for _ in range(3) for one in first)
    assert [next(stream) for _ in range(at)] == expected[:at]
    second.load_state_dict(first.state_dict())
    rest = [row(one) for _ in range(3 - at // 13) for one in second]
    assert rest == expected[at:][: len(rest)]
    assert len(rest) >= len(expected) - at
    first.close()


def test_resume_with_other_data_is_refused(root: Path) -> None:
    state = make(root, NAMES, in_chunks=True).state_dict()
    with pytest.raises(RunError, match="films=5"):
        make(root, NAMES[:4], in_chunks=True).load_state_dict(state)
    with pytest.raises(RunError, match="steps=13 an epoch"):
        make(root, NAMES).load_state_dict(state)


def test_a_damaged_chunk_is_missing_and_the_others_are_not(root: Path) -> None:
    loader = make(root, ["0.npy", "torn", "bad.npy"], in_chunks=True, shuffle=False)
    for _ in range(2):
        found = list(loader)
        assert len(found) == len(loader) == 1 + 3 + 1
        assert [isinstance(one, Missing) for one in found] == [False, False, True, False, True]
        assert sorted(loader.left_out) == ["bad.npy", "torn"]
        assert "4.png" in loader.left_out["torn"]


def test_a_film_that_cannot_be_opened_is_missing_in_training_and_passed_over_in_evaluation(root: Path) -> None:
    found = list(make(root, ["bad.npy", "0.npy"], shuffle=False))
    assert [type(one) for one in found] == [Missing, LongClip]
    loader = make(root, ["bad.npy", "0.npy"], training=False)
    assert [one.key for one in loader if isinstance(one, LongClip)] == ["0.npy"]
    assert list(loader.left_out) == ["bad.npy"]


def test_a_film_that_breaks_under_its_reader_is_listed_at_once(root: Path) -> None:
    loader = make(root, ["torn", "0.npy"], training=False)
    for clip in loader:
        assert isinstance(clip, LongClip)
        if clip.key == "torn":
            clip.read(0)
            assert loader.left_out == {}
            with pytest.raises(ReadError):
                clip.read(1)
            assert list(loader.left_out) == ["torn"]
    assert list(loader.left_out) == ["torn"]


@pytest.mark.parametrize("in_chunks", [False, True])
def test_nothing_to_learn_from_is_an_error(root: Path, in_chunks: bool) -> None:
    loader = make(root, ["bad.npy"], in_chunks=in_chunks)
    if not in_chunks:
        assert [type(one) for one in loader] == [Missing]  # whether it can be opened is not known before
    with pytest.raises(ReadError, match="no other of 1 films"):
        list(loader)


def test_the_film_under_way_is_closed_with_the_loader(root: Path) -> None:
    loader = make(root, NAMES)
    films = iter(loader)
    clip = next(films)
    assert isinstance(clip, LongClip)
    clip.read(0)
    loader.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        clip.read(1)
