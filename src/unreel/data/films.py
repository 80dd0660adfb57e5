"""Film: an open file whose frames are read a chunk at a time, the next chunk ahead in a thread.

A film holds no more than one chunk of frames: the one that is read ahead. Chunks may be asked for in any order and
again; what is read ahead is the chunk after the last one, or, when chunks are asked for from the last to the first, the
one before it.

What this file is not: it chooses no frames and knows no order of films (`dataset.py`, `film_loading.py`).

Shape letters: T frames of the film, t of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from unreel.clip import ClipBatch, LongClip
from unreel.data.readers import Source
from unreel.errors import ReadError

LONG_FRAMES = 256
"""A clip of more frames than this is long: it is not held at once where that can be done without."""


class Film:
    """An example whose file is open. A context manager: leaving it closes the file and ends the thread.

    Args:
        key: of the example.
        source: the open file; from now on only the film's thread reads from it.
        chosen: (T,) int64, ascending: the frames that are taken.
        chunk: frames in a chunk; the last one may have fewer.
        prepare: what is done to the frames of a chunk in the thread. It must not draw at random.
        change: what is done to them by whoever asks for the chunk, such as augmentation, which draws.
        targets: of the whole film, by name, without the axis of clips.
        views: (T,) int64, of the frames that are taken; None for one view.

    Attributes:
        clip: the film as a LongClip.
        broken: why a chunk could not be read, once one could not.
    """

    def __init__(
        self,
        key: str,
        source: Source,
        chosen: Tensor,
        chunk: int,
        prepare: Callable[[Tensor], Tensor],
        change: Callable[[Tensor], Tensor],
        targets: Mapping[str, Tensor],
        views: Tensor | None = None,
    ) -> None:
        self.broken: str | None = None
        self._source = source
        self._chosen = chosen.split(chunk)
        self._prepare = prepare
        self._change = change
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="unreel-film")
        self._ahead: tuple[int, Future[Tensor]] | None = None
        self._last = -1
        whole = ClipBatch(
            frames=torch.empty(1, len(chosen), 0),
            lengths=torch.tensor([len(chosen)]),
            times=source.times[chosen].unsqueeze(0),
            keys=(key,),
            views=None if views is None else views.unsqueeze(0),
            targets={name: target.unsqueeze(0) for name, target in targets.items()},
        )
        self.clip = LongClip(whole, chunk, self._read)

    def close(self) -> None:
        """End the thread and release the file. Closing twice does nothing."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._ahead = None
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, index: int) -> Tensor:
        """Frames (t, *frame) of a chunk."""
        if not 0 <= index < len(self._chosen):
            raise IndexError(f"{self.clip.key} has chunks 0 to {len(self._chosen) - 1}, chunk {index} was asked for")
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead[0] != index:
            if ahead is not None:
                ahead[1].cancel()
            ahead = index, self._thread.submit(self._make, index)
        backwards = index < self._last or index == self._last == len(self._chosen) - 1
        self._last = index
        try:
            frames = ahead[1].result()
        except ReadError as error:
            self.broken = error.reason
            raise
        after = index - 1 if backwards else index + 1
        if 0 <= after < len(self._chosen):
            self._ahead = after, self._thread.submit(self._make, after)
        return self._change(frames)

    def _make(self, index: int) -> Tensor:
        return self._prepare(self._source.read(self._chosen[index].tolist()))
