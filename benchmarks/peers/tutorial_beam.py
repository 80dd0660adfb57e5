"""The beam search of the tutorials on captions in PyTorch, written from their description: one picture at a time.

The captions in the making are rows of one tensor, k at first. In each step the logits of all rows become
log-probabilities, the sums so far are added, the k best of all k·V are taken, a row that has written its end leaves the
beam, and k falls by one; until none is left, or the greatest length is reached. The best by its sum is the caption.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from peers.beam_jobs import Weights


def writer(weights: Weights) -> Callable[[], tuple[Tensor, Tensor]]:
    words, size, hidden = weights.sizes
    picture, embedding, head = (
        nn.Linear(weights.images.shape[1], size),
        nn.Embedding(words, size),
        nn.Linear(hidden, words),
    )
    weights.fill(picture, embedding, head)
    lstm = nn.LSTMCell(size, hidden, bias=False)
    with torch.no_grad():
        lstm.weight_ih.copy_(weights.kernel)
        lstm.weight_hh.copy_(weights.recurrent)

    def caption(image: Tensor) -> tuple[list[int], float]:
        k = weights.beam
        h, c = (member.expand(k, -1) for member in lstm(picture(image).unsqueeze(0)))
        before = torch.zeros(k, dtype=torch.int64)
        sequences, sums = torch.zeros(k, 1, dtype=torch.int64), torch.zeros(k, 1)
        finished: list[tuple[float, list[int]]] = []
        for place in range(weights.length):
            h, c = lstm(embedding(before), (h, c))
            scores = sums + head(h).log_softmax(1)
            best, chosen = (scores[0] if place == 0 else scores.view(-1)).topk(k)
            rows, before = chosen // words, chosen % words
            sequences = torch.cat([sequences[rows], before.unsqueeze(1)], 1)
            going = [row for row, word in enumerate(before.tolist()) if word != 0]
            ended = set(range(len(before))) - set(going)
            finished += [(best[row].item(), sequences[row, 1:].tolist()) for row in ended]
            k -= len(ended)
            if k == 0:
                break
            sequences, h, c = sequences[going], h[rows[going]], c[rows[going]]
            sums, before = best[going].unsqueeze(1), before[going]
        finished += (
            [(total, row[1:]) for total, row in zip(sums[:, 0].tolist(), sequences.tolist(), strict=True)] if k else []
        )
        score, said = max(finished)
        return said, score

    def write() -> tuple[Tensor, Tensor]:
        found = [caption(image) for image in weights.images]
        length = max(len(said) for said, _ in found)
        padded = [said + [0] * (length - len(said)) for said, _ in found]
        return torch.tensor(padded), torch.tensor([score for _, score in found])

    return write
