"""ClipLoader: a dataset as batches, in an order that depends on (seed, epoch) only, resumable after any batch.

    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)      # Lightning does this; without it, each full pass is the next epoch
        for batch in loader: ...

Number of workers changes nothing. Broken files are left out of their batch and listed in `left_out`. In training a
batch of nothing but broken files is replaced by one readable clip of the same epoch, so that every epoch, on every
rank, has `len(loader)` batches; in evaluation such a batch is skipped.

What this file is not: it decodes nothing (`dataset.py`).

Shape letters: N clips of a batch.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader

from unreel.clip import Clip, ClipBatch, collate
from unreel.data.dataset import Broken, ClipDataset
from unreel.errors import ConfigError, ReadError, RunError


class EpochSampler:
    """The order of examples in each epoch, on this rank, and how far it has been followed.

    Args:
        examples: how many there are.
        batch_size: N.
        shuffle: draw the order anew in each epoch.
        seed: of the order.
        weights: (examples,) draw with replacement by these; needs shuffle.
        drop_last: leave out a last batch that is smaller.
        training: pad the shares of ranks to equal length by repeating clips; else no clip is ever repeated.
        shared: each rank takes its share of the examples; else every rank takes all.
    """

    def __init__(
        self,
        examples: int,
        batch_size: int,
        shuffle: bool,
        seed: int,
        weights: Tensor | None,
        drop_last: bool,
        training: bool,
        shared: bool,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
        if weights is not None and (not shuffle or weights.shape != (examples,)):
            raise ConfigError(
                f"weights need shuffle=True and one number for each of {examples} examples, "
                f"got shuffle={shuffle} and {tuple(weights.shape)}"
            )
        self.examples = examples
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.weights = weights
        self.drop_last = drop_last
        self.training = training
        self.shared = shared
        self.epoch = 0
        self.yielded = 0
        """Batches of this epoch that were handed out."""
        self.resume_at = 0
        """Batches of this epoch that the next pass leaves out."""

    def set_epoch(self, epoch: int) -> None:
        """Begin this epoch at its first batch, unless it is the one that was just restored or is under way."""
        if epoch != self.epoch or self.yielded >= len(self):
            self.epoch, self.yielded, self.resume_at = epoch, 0, 0

    def order(self) -> list[int]:
        """Indices of the examples of this epoch, on this rank."""
        if not self.shuffle:
            order = torch.arange(self.examples)
        else:
            # not one seed's epoch another seed's, for 2^31 epochs
            generator = Generator().manual_seed((self.seed << 31) + self.epoch)
            if self.weights is None:
                order = torch.randperm(self.examples, generator=generator)
            else:
                order = torch.multinomial(self.weights, self.examples, replacement=True, generator=generator)
        rank, ranks = self._rank()
        if self.training and len(order) % ranks:
            more = ranks - len(order) % ranks
            order = torch.cat([order, order.repeat(-(-more // len(order)))[:more]])
        return order[rank::ranks].tolist()

    def batches(self) -> list[list[tuple[int, int]]]:
        """(epoch, index) of every clip of this epoch, batch after batch."""
        order = self.order()
        cut = [order[begin : begin + self.batch_size] for begin in range(0, len(order), self.batch_size)]
        return [[(self.epoch, index) for index in batch] for batch in cut[: len(self)]]

    def _rank(self) -> tuple[int, int]:
        distributed = torch.distributed
        if self.shared and distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return 0, 1

    def __len__(self) -> int:
        rank, ranks = self._rank()
        share = -(-self.examples // ranks) if self.training else len(range(rank, self.examples, ranks))
        return share // self.batch_size if self.drop_last else -(-share // self.batch_size)


class _Plan:
    """What the DataLoader takes its batches from: whatever is planned when it begins a pass."""

    def __init__(self) -> None:
        self.batches: Sequence[list[tuple[int, int]]] = ()

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _Fetched(NamedTuple):
    batch: ClipBatch | None
    broken: tuple[tuple[str, str], ...]


class ClipLoader:
    """Batches of a dataset.

    Args:
        dataset: makes clips.
        batch_size: N, clips a batch and rank.
        workers: processes that read ahead; 0 reads in this one.
        shuffle: another order in each epoch.
        seed: of the order.
        weights: (examples,) draw with replacement by these (`weights.example_weights`).
        drop_last: leave out a last batch that is smaller.
        pin_memory: batches in page-locked memory, for a fast way to a CUDA device.
        shared: where several processes train together, each takes its share; else every one takes all.

    Attributes:
        left_out: path and reason of every file that could not be read so far.
        sampler: the order, with `set_epoch`.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        batch_size: int,
        workers: int = 0,
        shuffle: bool = False,
        seed: int = 0,
        weights: Tensor | None = None,
        drop_last: bool = False,
        pin_memory: bool = False,
        shared: bool = True,
    ) -> None:
        if dataset.memory and workers:
            raise ConfigError(f"frames kept in memory need workers=0, got {workers}: each worker would keep its own")
        self.dataset = dataset
        self.left_out: dict[str, str] = {}
        self.sampler = EpochSampler(
            len(dataset), batch_size, shuffle, seed, weights, drop_last, dataset.training, shared
        )
        self.batch_sampler = None  # Lightning looks for one beside `sampler`
        self._pin_memory = pin_memory
        self._plan = _Plan()
        self._loader = DataLoader(
            dataset,
            batch_sampler=self._plan,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=_fetch,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            worker_init_fn=_leave_signals_to_parent,
            # the DataLoader draws a seed for its workers at each pass: not from the global generator
            generator=Generator(),
        )

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[ClipBatch]:
        # a generator: nothing is read, and no epoch chosen, before the first batch is asked for. Lightning makes its
        # iterators before it sets the epoch.
        sampler = self.sampler
        begin, sampler.resume_at = sampler.resume_at, 0
        if begin == 0 and sampler.yielded >= len(self) > 0:
            sampler.epoch += 1
        sampler.yielded = begin
        self._plan.batches = sampler.batches()[begin:]
        for fetched in self._loader:
            self.left_out.update(fetched.broken)
            batch = fetched.batch
            if batch is None and self.dataset.training:
                batch = self._substitute()
            sampler.yielded += 1
            if batch is not None:
                yield batch

    def state_dict(self) -> dict[str, int]:
        """Where the next batch is: `epoch` and `batch` of it. After an epoch's last one, the next epoch's first."""
        sampler = self.sampler
        done = sampler.yielded >= len(self)
        return {
            "epoch": sampler.epoch + 1 if done else sampler.epoch,
            "batch": 0 if done else sampler.yielded,
            "batch_size": sampler.batch_size,
            "examples": sampler.examples,
            "seed": sampler.seed,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            RunError: it was taken with another batch size, number of examples or seed.
        """
        sampler = self.sampler
        for name in ("batch_size", "examples", "seed"):
            if state[name] != getattr(sampler, name):
                raise RunError(
                    f"expected {name}={state[name]} as when the state was saved, got {getattr(sampler, name)}: "
                    "resume with the same data and settings, or start anew"
                )
        sampler.epoch = state["epoch"]
        sampler.yielded = sampler.resume_at = state["batch"]

    def close(self) -> None:
        """End the workers. The next pass starts new ones."""
        self._loader._iterator = None

    def _substitute(self) -> ClipBatch:
        """The first readable clip after the present place in the order, as a batch of one."""
        order = self.sampler.order()
        place = self.sampler.yielded * self.sampler.batch_size
        for index in order[place:] + order[:place]:
            clip = self.dataset[self.sampler.epoch, index]
            if isinstance(clip, Clip):
                batch = collate([clip])
                return batch.pin_memory() if self._pin_memory else batch
        path, reason = next(iter(self.left_out.items()))
        raise ReadError(path, f"{reason} (and no other of {len(order)} clips could be read either)")


def _leave_signals_to_parent(worker: int) -> None:
    """Ctrl-C and `timeout` signal all processes of a group. The parent answers, and needs its workers until then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _fetch(clips: ClipBatch | Sequence[Clip | Broken]) -> _Fetched:
    if isinstance(clips, ClipBatch):  # the dataset has joined them
        return _Fetched(clips, ())
    good = [clip for clip in clips if isinstance(clip, Clip)]
    broken = tuple((clip.path, clip.reason) for clip in clips if isinstance(clip, Broken))
    return _Fetched(collate(good) if good else None, broken)
