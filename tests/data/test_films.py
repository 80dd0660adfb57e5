"""Film: the frames of the dataset's clip, a chunk at a time in any order; errors carried, files given back."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from unreel.data.dataset import Broken, ClipDataset
from unreel.data.films import Film
from unreel.data.manifest import Example
from unreel.data.sampling import SamplingConfig
from unreel.data.transforms import AugmentConfig, PreprocessConfig
from unreel.errors import ReadError

ALL = SamplingConfig("all")
SIZE = PreprocessConfig((6, 6), channels="grey")
STRONG = AugmentConfig(flip=True, crop=0.3, brightness=0.6, contrast=0.6)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    np.save(folder / "a.npy", rng.integers(0, 255, (11, 1, 9, 9), dtype=np.uint8))
    np.save(folder / "b.npy", rng.integers(0, 255, (4, 1, 9, 9), dtype=np.uint8))
    (folder / "bad.npy").write_text("no array")
    return folder


def dataset(root: Path, training: bool = True, sampling: SamplingConfig = ALL, **options: object) -> ClipDataset:
    def targets(example: Example, times: Tensor) -> dict[str, Tensor]:
        return {"label": times.long() * 10}

    examples = [Example("a.npy"), Example("a.npy", start=2.0, end=9.0), Example("b.npy"), Example("bad.npy")]
    return ClipDataset(examples, root, sampling, SIZE, STRONG, targets, seed=3, training=training, **options)


def opened(data: ClipDataset, epoch: int, index: int, chunk: int) -> Film:
    film = data.open(epoch, index, chunk)
    assert isinstance(film, Film)
    return film


@pytest.mark.parametrize("sampling", [ALL, SamplingConfig("segment", 5), SamplingConfig("window", 3, stride=2)])
@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("chunk", [1, 3, 20])
def test_chunks_joined_are_the_clip_of_the_dataset(
    root: Path, sampling: SamplingConfig, index: int, chunk: int
) -> None:
    for data in (dataset(root, sampling=sampling), dataset(root, training=False, sampling=sampling)):
        for epoch in (0, 1):
            clip = data[epoch, index]
            with opened(data, epoch, index, chunk) as film:
                assert film.clip.chunks == -(-len(clip) // chunk)
                frames = torch.cat([film.clip.read(place) for place in range(film.clip.chunks)], 1)
                assert torch.equal(frames[0], clip.frames)
                assert torch.equal(film.clip.whole.times[0], clip.times)
                assert torch.equal(film.clip.whole.targets["label"][0], clip.targets["label"])
                assert film.clip.key == clip.key
            assert data.count(index) == len(clip)


def test_any_order_gives_the_same_chunks(root: Path) -> None:
    data = dataset(root)
    frames = data[0, 0].frames.split(3)
    with opened(data, 0, 0, 3) as film:
        for place in [0, 1, 2, 3, 3, 2, 1, 0, 2, 0, 3, 1, 1]:
            assert torch.equal(film.clip.read(place)[0], frames[place])
        with pytest.raises(IndexError, match="chunks 0 to 3, chunk 4"):
            film.clip.read(4)


@pytest.mark.parametrize("codec", ["mpeg4", "ffv1"])
def test_a_video_is_read_in_chunks_forth_and_back(tmp_path: Path, codec: str) -> None:
    with av.open(str(tmp_path / "film.mkv"), "w") as container:
        stream = container.add_stream(codec, rate=10, options={"g": "5"})
        stream.height = stream.width = 32
        stream.pix_fmt = "yuv420p" if codec == "mpeg4" else "gray"
        for index in range(23):
            image = np.full((32, 32), 10 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        container.mux(stream.encode(None))
    data = ClipDataset([Example("film.mkv")], tmp_path, ALL, SIZE)
    frames = data[0, 0].frames
    assert len(frames) == 23
    with opened(data, 0, 0, 4) as film:
        for place in (*range(6), *reversed(range(6)), *range(6)):
            assert torch.equal(film.clip.read(place)[0], frames[4 * place : 4 * place + 4])


class Recording:
    """A source that notes what is read of it, in which thread, and whether it was closed."""

    times = torch.arange(12, dtype=torch.float64)
    frame_shape = (1,)

    def __init__(self, broken: Sequence[int] = ()) -> None:
        self.reads: list[int] = []
        self.threads: set[str] = set()
        self.broken = set(broken)
        self.closed = False

    def __len__(self) -> int:
        return 12

    def read(self, indices: Sequence[int]) -> Tensor:
        self.reads.append(indices[0] // 3)
        self.threads.add(threading.current_thread().name)
        if self.broken & set(indices):
            raise ReadError("film", "frame is damaged")
        return torch.tensor(indices, dtype=torch.float32)[:, None]

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *rest: object) -> None:
        self.close()


def film_of(source: Recording) -> Film:
    return Film("film", source, torch.arange(12), 3, lambda x: x, lambda x: x, {})


def test_the_next_chunk_is_read_ahead_in_the_direction_of_reading() -> None:
    source = Recording()
    with film_of(source) as film:
        for place in (0, 1, 2, 3, 3, 2, 1, 0):  # as recompute does
            film.clip.read(place)
            time.sleep(0.02)  # for the thread to begin with what it should read ahead
    assert source.reads == [0, 1, 2, 3, 3, 2, 1, 0]  # each once: what was read ahead was what was asked for
    assert all(name.startswith("unreel-film") for name in source.threads)


def test_a_film_is_given_back_whole() -> None:
    source = Recording()
    before = threading.active_count()
    film = film_of(source)
    film.clip.read(0)
    assert threading.active_count() == before + 1
    film.close()
    film.close()
    assert source.closed
    assert threading.active_count() == before


def test_what_the_thread_meets_is_raised_where_the_chunk_is_asked_for() -> None:
    with film_of(Recording(broken=[4])) as film:
        film.clip.read(0)
        assert film.broken is None  # though the thread has met it by now, or will
        with pytest.raises(ReadError, match="frame is damaged"):
            film.clip.read(1)
        assert film.broken == "frame is damaged"
        assert film.clip.read(2).flatten().tolist() == [6, 7, 8]


def test_files_that_cannot_be_opened_are_broken(root: Path) -> None:
    data = dataset(root)
    for broken in (data.open(0, 3, 4), data.count(3)):
        assert isinstance(broken, Broken)
        assert (broken.path, broken.reason[:24]) == ("bad.npy", "expected a NumPy array: ")


def test_frames_of_another_shape_are_refused_when_they_come(root: Path) -> None:
    with opened(dataset(root, frame_shape=(3, 6, 6)), 0, 0, 4) as film, pytest.raises(ReadError, match="like the"):
        film.clip.read(0)


def test_nothing_random_leaks(root: Path) -> None:
    state = torch.get_rng_state()
    with opened(dataset(root), 0, 0, 3) as film:
        for place in range(film.clip.chunks):
            film.clip.read(place)
    assert torch.equal(torch.get_rng_state(), state)
