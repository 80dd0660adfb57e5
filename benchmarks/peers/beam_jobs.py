"""Captions of a batch by beam search, with the same weights: Unreel's, Hugging Face's, and the loop of the tutorials.

    python -m peers.beam_jobs THREADS

The network is that of Show and Tell: a vector of the picture is the first input of an LSTM, then come the words. The
mode comes with each job: `unreel` (the Captioner and `unreel.nn.search`), `float64` (the same, the reference),
`generate` (`peers.generate_lstm`), `tutorial` (`peers.tutorial_beam`) and `bare` (only the products of matrices that
the search needs, one after another).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from peers.serve import Arrays, Job, serve


class Weights:
    """The arrays as tensors: the kernels of a linear layer and of an LSTM as PyTorch has them."""

    def __init__(self, arrays: Arrays) -> None:
        self.images = torch.from_numpy(arrays["images"])
        self.picture = torch.from_numpy(arrays["picture"])
        self.embedding = torch.from_numpy(arrays["embedding"])
        self.kernel, self.recurrent = torch.from_numpy(arrays["kernel"]), torch.from_numpy(arrays["recurrent"])
        self.head, self.head_bias = torch.from_numpy(arrays["head"]), torch.from_numpy(arrays["head.bias"])
        self.beam, self.length = int(arrays["beam"]), int(arrays["length"])

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Words, numbers of which a word's vector is made, features of the LSTM."""
        return (*self.embedding.shape, self.recurrent.shape[1])

    def fill(self, picture: nn.Linear, embedding: nn.Embedding, head: nn.Linear) -> None:
        with torch.no_grad():
            picture.weight.copy_(self.picture)
            if picture.bias is not None:
                picture.bias.zero_()
            embedding.weight.copy_(self.embedding)
            head.weight.copy_(self.head)
            head.bias.copy_(self.head_bias)

    def lstm(self) -> nn.LSTM:
        """PyTorch's own, without biases."""
        layer = nn.LSTM(self.embedding.shape[1], self.recurrent.shape[1], bias=False, batch_first=True)
        with torch.no_grad():
            layer.weight_ih_l0.copy_(self.kernel)
            layer.weight_hh_l0.copy_(self.recurrent)
        return layer


def unreel(weights: Weights, dtype: torch.dtype) -> Job:
    from unreel.models.captioner import Captioner, CaptionerConfig
    from unreel.models.encoders import EncoderConfig
    from unreel.nn import SearchConfig, search

    words, embedding, hidden = weights.sizes
    config = CaptionerConfig(encoder=EncoderConfig("identity"), embedding_size=embedding, hidden_size=hidden, dropout=0)
    model = Captioner(config, (weights.images.shape[1],), words)
    model.picture.norm.eps = 0.0  # mean 0 and variance 1 at first: it changes nothing, as in the peers, who have none
    weights.fill(model.picture.linear, model.decoder.embedding, model.decoder.head)
    with torch.no_grad():
        for name, parameter in model.decoder.recurrence.named_parameters():
            value = {"kernel": weights.kernel.T, "recurrent_kernel": weights.recurrent.T}.get(name.rpartition(".")[2])
            parameter.zero_() if value is None else parameter.copy_(value)
    model = model.to(dtype).eval()
    settings = SearchConfig(beam=weights.beam, max_length=weights.length)
    features = weights.images.to(dtype).unsqueeze(1)

    def write() -> tuple[Tensor, Tensor]:
        memory = model.read(features)
        found = search(lambda said, state: model.next(said, memory, state), model.start(memory, 1), settings)
        return found.words[:, 0], found.scores[:, 0]

    return job_of(write, write)


def bare(weights: Weights) -> Job:
    """The rows of each step times the matrices, alone: the picture, the begin of each clip, then a beam of each."""
    clips = len(weights.images)
    inputs = torch.cat((weights.kernel, weights.recurrent), 1).T.contiguous()
    head = weights.head.T.contiguous()
    x = torch.randn(clips * weights.beam, inputs.shape[0])
    h = torch.randn(clips * weights.beam, head.shape[0])

    def products() -> None:
        x[:clips] @ inputs
        for rows in [clips] + [clips * weights.beam] * (weights.length - 1):
            x[:rows] @ inputs
            h[:rows] @ head

    return Job({"write": products}, dict)


def job_of(write: Callable[[], tuple[Tensor, Tensor]], scored: Callable[[], tuple[Tensor, Tensor]]) -> Job:
    """Timed is `write`; the results are those of `scored`, which may keep more."""

    def results() -> Arrays:
        words, scores = scored()
        return {"words": words.numpy(), "scores": scores.numpy()}

    return Job({"write": write}, results)


def build(name: str, arrays: Arrays, mode: str) -> Job:
    weights = Weights(arrays)
    if mode == "bare":
        return bare(weights)
    if mode == "generate":
        from peers.generate_lstm import writer

        write = writer(weights)
        return job_of(write, partial(write, scored=True))
    if mode == "tutorial":
        from peers.tutorial_beam import writer

        write = writer(weights)
        return job_of(write, write)
    return unreel(weights, torch.float64 if mode == "float64" else torch.float32)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(0)
    with torch.inference_mode():
        serve(build, {"torch": torch.__version__})
