"""FilmLoader: clips too long to be held, one at a time: as films to be read in chunks, or as chunks in film order.

The order of films depends on (seed, epoch) only, and a resume goes on with the very next film or chunk. What cannot be
read is listed in `left_out`. In training a `Missing` stands in its place, so that every epoch has `len(loader)` steps:
for a film that cannot be opened, and where films come in chunks for each chunk that cannot be read; the chunks before
and after it are learned from. In evaluation a film that cannot be opened is skipped. A film whose frames turn out to be
damaged while somebody else reads them in chunks raises there, and is listed here.

What this file is not: it reads nothing itself (`films.py`), and knows no batch of several clips (`loading.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from unreel.clip import Chunk, LongClip, Missing
from unreel.data.dataset import Broken, ClipDataset
from unreel.data.films import Film
from unreel.data.loading import EpochSampler
from unreel.errors import ReadError, RunError


class FilmSampler:
    """The order of steps in each epoch, and how far it has been followed.

    Args:
        steps: how many each film gives.
        shuffle: draw the order of films anew in each epoch. Steps of one film always follow each other.
        seed: of the order.
        weights: (films,) draw films with replacement by these; needs shuffle and films of one step.
    """

    def __init__(self, steps: Sequence[int], shuffle: bool, seed: int, weights: Tensor | None) -> None:
        self.steps = tuple(steps)
        self._films = EpochSampler(
            len(self.steps), 1, shuffle, seed, weights, drop_last=False, training=shuffle, shared=False
        )
        self.epoch = 0
        self.yielded = 0
        """Steps of this epoch that were handed out."""
        self.resume_at = 0
        """Steps of this epoch that the next pass leaves out."""

    def set_epoch(self, epoch: int) -> None:
        """Begin this epoch at its first step, unless it is the one that was just restored or is under way."""
        if epoch != self.epoch or self.yielded >= len(self):
            self.epoch, self.yielded, self.resume_at = epoch, 0, 0

    def after(self, begin: int) -> Iterator[tuple[int, range]]:
        """Films of this epoch behind its first `begin` steps: index, and the steps of it that are to be done."""
        self._films.epoch = self.epoch
        for film in self._films.order():
            if begin < self.steps[film]:
                yield film, range(begin, self.steps[film])
            begin = max(0, begin - self.steps[film])

    def __len__(self) -> int:
        return sum(self.steps)


class FilmLoader:
    """Films of a dataset.

    Args:
        dataset: opens films.
        chunk: frames that are read at a time.
        in_chunks: hand out chunks, each a step, and not whole films.
        shuffle: another order of films in each epoch.
        seed: of the order.
        weights: (films,) draw films with replacement by these; not with `in_chunks`, where an epoch would then have
            another number of steps each time.

    Attributes:
        sampler: the order, with `set_epoch`.
        lengths: frames of each film, 0 where it cannot be opened; counted with `in_chunks` only, else None.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        chunk: int,
        in_chunks: bool = False,
        shuffle: bool = False,
        seed: int = 0,
        weights: Tensor | None = None,
    ) -> None:
        self.dataset = dataset
        self.chunk = chunk
        self.in_chunks = in_chunks
        self.lengths: tuple[int, ...] | None = None
        self._left_out: dict[str, str] = {}
        self._open: tuple[str, Film] | None = None
        steps = [1] * len(dataset)
        if in_chunks:
            self.lengths = tuple(self._count(index) for index in range(len(dataset)))
            steps = [max(1, -(-length // chunk)) for length in self.lengths]
        self.sampler = FilmSampler(steps, shuffle, seed, weights)
        self.batch_sampler = None  # Lightning looks for one beside `sampler`
        self._seed = seed

    @property
    def left_out(self) -> dict[str, str]:
        """Path and reason of every file that could not be read, or not to its end, so far."""
        if self._open is None or self._open[1].broken is None:
            return self._left_out
        return self._left_out | {self._open[0]: self._open[1].broken}

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[LongClip | Chunk | Missing]:
        # a generator, for the same reason as that of ClipLoader
        sampler = self.sampler
        begin, sampler.resume_at = sampler.resume_at, 0
        if begin == 0 and sampler.yielded >= len(self) > 0:
            sampler.epoch += 1
        sampler.yielded = begin
        self.check_some_are_left()
        for index, steps in sampler.after(begin):
            film = self.dataset.open(sampler.epoch, index, self.chunk)
            if isinstance(film, Broken):
                self._left_out[film.path] = film.reason
                for _ in steps:
                    sampler.yielded += 1
                    if self.dataset.training:
                        yield Missing(film.key, film.reason)
                continue
            with film:
                self._open = self.dataset.examples[index].path, film
                for step in steps:
                    sampler.yielded += 1
                    yield self._cut(film.clip, step) if self.in_chunks else film.clip
                self.close()

    def check_some_are_left(self) -> None:
        """Refuse to go on where there is nothing to learn from.

        Raises:
            ReadError: no film of a training side can be read, or, without `in_chunks`, none of them to its end.
        """
        left_out = self.left_out
        if self.lengths is not None:
            nothing = not any(self.lengths)
        else:
            nothing = all(example.path in left_out for example in self.dataset.examples)
        if self.dataset.training and left_out and nothing:
            path, reason = next(iter(left_out.items()))
            raise ReadError(path, f"{reason} (and no other of {len(self.dataset)} films could be read either)")

    def state_dict(self) -> dict[str, int]:
        """Where the next step is: `epoch` and `step` of it. After an epoch's last one, the next epoch's first."""
        sampler = self.sampler
        done = sampler.yielded >= len(self)
        return {
            "epoch": sampler.epoch + 1 if done else sampler.epoch,
            "step": 0 if done else sampler.yielded,
            "films": len(self.dataset),
            "steps": len(self),
            "seed": self._seed,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            RunError: it was taken with other films, another chunk or another seed.
        """
        for name, found in (("films", len(self.dataset)), ("steps", len(self)), ("seed", self._seed)):
            if state[name] != found:
                raise RunError(
                    f"expected {name}={state[name]} an epoch as when the state was saved, got {found}: resume with the "
                    "same data and settings, or start anew"
                )
        self.sampler.epoch = state["epoch"]
        self.sampler.yielded = self.sampler.resume_at = state["step"]

    def close(self) -> None:
        """Release the film that is open."""
        if self._open is not None:
            self._open[1].close()
            self._left_out = self.left_out  # with why this film broke, if it did
            self._open = None

    def _count(self, index: int) -> int:
        length = self.dataset.count(index)
        if isinstance(length, Broken):
            self._left_out[length.path] = length.reason
            return 0
        return length

    def _cut(self, clip: LongClip, step: int) -> Chunk | Missing:
        try:
            return Chunk(clip.cut(step), begins=step == 0, ends=step == clip.chunks - 1)
        except ReadError as error:
            return Missing(clip.key, error.reason)
