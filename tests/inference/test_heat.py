"""Heat against what can be known without it: linear models, models that look at one frame, autograd without hooks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unreel.clip import ClipBatch
from unreel.inference.heat import find_heat, over_frames, score_of, strongest
from unreel.models import CNNRNN, CRDNN, CNNRNNConfig, CRDNNConfig, EncoderConfig
from unreel.nn import Site, Sites, TimeDistributed
from unreel.ops import valid

T, C, H, W = 5, 3, 4, 6
both_methods = pytest.mark.parametrize("method", ["hires_cam", "grad_cam"])


def batch_of(frames: Tensor, lengths: list[int] | None = None, views: Tensor | None = None) -> ClipBatch:
    n, t = frames.shape[:2]
    counts = torch.tensor(lengths or [t] * n)
    frames = valid.zero_padding(frames, counts)
    return ClipBatch(frames, counts, torch.zeros(n, t, dtype=torch.float64), tuple(map(str, range(n))), views)


class Weighted(nn.Module):
    """Output k is the sum over frames of weight (K, T, C, H, W) times the map, which is the frame itself."""

    def __init__(self, weight: Tensor, micro_batch: int | None = None, recompute: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.encoder = TimeDistributed(nn.Sequential(nn.Conv2d(C, C, 1, bias=False), nn.ReLU()), micro_batch, recompute)
        for layer in self.encoder.module.children():
            if isinstance(layer, nn.Conv2d):
                nn.init.dirac_(layer.weight)

    def sites(self) -> Sites:
        return Sites((Site(self.encoder.module[1]),))  # type: ignore[index]

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        return torch.einsum("ntchw,ktchw->nk", self.encoder(frames, lengths), self.weight)

    def __call__(self, batch: ClipBatch) -> Tensor:
        return super().__call__(batch.frames, batch.lengths)


def heat_of(model: Weighted, batch: ClipBatch, target: int = 0, method: str = "hires_cam"):
    return find_heat(model, model.sites(), batch, torch.full((len(batch),), target), method)  # type: ignore[arg-type]


def test_of_a_linear_model_the_heat_is_what_each_place_adds() -> None:
    frames, weight = torch.rand(2, T, C, H, W), torch.randn(2, T, C, H, W)
    found = heat_of(Weighted(weight), batch_of(frames, [5, 3]), target=1)
    added = valid.zero_padding((frames * weight[1]).sum(2), torch.tensor([5, 3]))
    torch.testing.assert_close(found.places, added.relu())
    torch.testing.assert_close(found.scores, added.sum((1, 2, 3)))
    shares = added.relu().sum((2, 3))
    torch.testing.assert_close(found.importance, shares / shares.sum(1, keepdim=True))


def test_grad_cam_is_the_formula_of_selvaraju() -> None:
    frames, weight = torch.rand(1, T, C, H, W), torch.randn(2, T, C, H, W)
    found = heat_of(Weighted(weight), batch_of(frames), method="grad_cam")
    alpha = weight[0].mean((-1, -2))
    torch.testing.assert_close(found.places[0], torch.einsum("tc,tchw->thw", alpha, frames[0]).relu())


@both_methods
def test_a_model_that_looks_at_one_frame_gives_it_all(method: str) -> None:
    weight = torch.zeros(2, T, C, H, W)
    weight[0, 3] = 1
    weight[1, 2] = 1
    frames = torch.rand(2, T, C, H, W)
    assert heat_of(Weighted(weight), batch_of(frames), 0, method).importance.tolist() == [[0, 0, 0, 1, 0]] * 2
    assert heat_of(Weighted(weight), batch_of(frames), 1, method).importance.tolist() == [[0, 0, 1, 0, 0]] * 2


@both_methods
def test_padding_gets_nothing_whatever_the_weights_behind_it(method: str) -> None:
    weight = torch.zeros(1, T, C, H, W)
    weight[0, 3:] = 9  # where the second clip has ended
    weight[0, 1] = 1
    found = heat_of(Weighted(weight), batch_of(torch.rand(2, T, C, H, W), [5, 3]), method=method)
    assert found.importance[1].tolist() == [0, 1, 0, 0, 0]
    assert not found.places[1, 3:].any()


def test_each_clip_is_explained_by_its_own_output() -> None:
    weight = torch.zeros(2, T, C, H, W)
    weight[0, 0], weight[1, 4] = 1, 1
    batch = batch_of(torch.rand(2, T, C, H, W))
    model = Weighted(weight)
    found = find_heat(model, model.sites(), batch, torch.tensor([1, 0]), "hires_cam")
    assert found.importance.argmax(1).tolist() == [4, 0]


def test_nothing_that_speaks_for_an_answer_is_no_importance() -> None:
    found = heat_of(Weighted(-torch.ones(1, T, C, H, W)), batch_of(torch.rand(1, T, C, H, W)))
    assert found.importance.tolist() == [[0.0] * T]


@both_methods
@pytest.mark.parametrize(("micro_batch", "recompute"), [(3, False), (None, True), (3, True), (1, True)])
def test_pieces_and_recomputing_change_nothing(method: str, micro_batch: int | None, recompute: bool) -> None:
    frames, weight = torch.rand(2, T, C, H, W), torch.randn(1, T, C, H, W)
    batch = batch_of(frames, [4, 5])
    plain = heat_of(Weighted(weight), batch, method=method)
    pieces = heat_of(Weighted(weight, micro_batch, recompute), batch, method=method)
    torch.testing.assert_close(pieces.places, plain.places)


def test_a_frozen_encoder_is_explained_as_well() -> None:
    weight = torch.randn(1, T, C, H, W)
    batch = batch_of(torch.rand(1, T, C, H, W))
    plain = heat_of(Weighted(weight), batch)
    frozen = Weighted(weight).requires_grad_(False)
    torch.testing.assert_close(heat_of(frozen, batch).places, plain.places)


class OfVectors(nn.Module):
    """Output k is the sum over frames and features of weight (K, D) times the frame (N, T, D)."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.seen = nn.Identity()

    def __call__(self, batch: ClipBatch) -> Tensor:
        return torch.einsum("ntd,kd->nk", self.seen(batch.frames), self.weight)


def test_maps_that_are_not_packed_have_their_features_behind_clips_and_frames() -> None:
    frames, weight = torch.randn(2, T, C), torch.randn(2, C)
    model, lengths = OfVectors(weight), torch.tensor([5, 3])
    sites = Sites((Site(model.seen, packed=False),))
    found = find_heat(model, sites, batch_of(frames, lengths.tolist()), torch.tensor([1, 0]), "hires_cam")
    added = valid.zero_padding((frames * weight[[1, 0]][:, None]).sum(2).relu(), lengths)
    torch.testing.assert_close(found.places, added)
    torch.testing.assert_close(found.importance, added / added.sum(1, keepdim=True))


def test_attention_to_pooled_time_is_told_of_the_frames() -> None:
    config = CRDNNConfig(channels=(4,), pools=(2,), time_pool=2, hidden_size=5, dense=(), pool="attention")
    model = CRDNN(config, (6,), 2).eval()
    found = find_heat(
        lambda clips: model(clips.frames, clips.lengths)[0],
        model.sites(),
        batch_of(torch.randn(2, T, 6), [5, 3]),
        torch.zeros(2, dtype=torch.int64),
        "hires_cam",
    )
    assert found.attention is not None
    weights = found.attention
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert not weights[1, 3:].any()
    torch.testing.assert_close(weights[:, 0], weights[:, 1])  # pooled to one
    torch.testing.assert_close(weights[0, 2], weights[0, 3])
    assert len(weights[0].unique()) == 3


class TwoViews(nn.Module):
    """An encoder for each view; the answer is the sum of what both give, the second one ten times."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleList([nn.Identity(), nn.Identity()])

    def sites(self) -> Sites:
        return Sites(tuple(Site(encoder, view=view) for view, encoder in enumerate(self.encoders)))

    def __call__(self, batch: ClipBatch) -> Tensor:
        assert batch.views is not None
        packed, views = valid.pack(batch.frames, batch.lengths), valid.pack(batch.views, batch.lengths)
        maps = torch.zeros_like(packed)
        for view, encoder in enumerate(self.encoders):
            if (views == view).any():
                maps[views == view] = encoder(packed[views == view]) * (1, 10)[view]
        return valid.unpack(maps, batch.lengths, batch.frames.shape[1]).sum((1, 2, 3, 4)).unsqueeze(1)


def test_maps_of_several_views_come_back_in_the_place_of_their_frames() -> None:
    frames = torch.rand(2, T, C, H, W)
    views = torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 0]])
    model = TwoViews()
    for batch in (batch_of(frames, [5, 2], views), batch_of(frames[1:], [2], views[1:])):
        found = find_heat(model, model.sites(), batch, torch.zeros(len(batch), dtype=torch.int64), "hires_cam")
        assert batch.views is not None
        times = torch.where(batch.views == 1, 10.0, 1.0)[..., None, None]
        torch.testing.assert_close(found.places, valid.zero_padding(times * batch.frames.sum(2), batch.lengths))


@pytest.mark.parametrize("recurrence", ["lstm", "gru"])
@pytest.mark.parametrize("pool", ["last", "attention"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_gradient_runs_through_recurrence_and_readout(recurrence: str, pool: str, bidirectional: bool) -> None:
    """Against autograd over the two halves of the model, run one after the other without hooks."""
    config = CNNRNNConfig(
        encoder=EncoderConfig(channels=(4, 5), features=6),
        recurrence=recurrence,  # type: ignore[arg-type]
        hidden_size=7,
        pool=pool,  # type: ignore[arg-type]
        bidirectional=bidirectional,
    )
    model = CNNRNN(config, (1, 8, 8), 3).eval()
    batch = batch_of(torch.randint(0, 256, (2, T, 1, 8, 8), dtype=torch.uint8), [5, 3])
    targets = torch.tensor([2, 0])
    found = find_heat(lambda clips: model(clips.frames, clips.lengths)[0], model.sites(), batch, targets, "hires_cam")

    net = model.encoder.module.net  # conv, norm, ReLU, pool, conv, norm, ReLU | pool, flatten, linear, ReLU
    with torch.no_grad():
        seen = model.normalize(batch.frames.flatten(0, 1))
        maps = net[:7](seen)
    maps.requires_grad_()
    features = net[7:](maps).unflatten(0, (2, T))
    outputs, _ = model.decode(features, batch.lengths)
    (gradient,) = torch.autograd.grad(outputs[0, 2] + outputs[1, 0], maps)
    wanted = (gradient * maps.detach()).sum(1).relu().unflatten(0, (2, T))
    torch.testing.assert_close(found.places, wanted)
    assert found.places.shape == (2, T, 4, 4)
    assert not wanted[1, 3:].any()


def test_attention_is_that_of_the_readout() -> None:
    config = CNNRNNConfig(encoder=EncoderConfig(channels=(4,), features=6), hidden_size=7, pool="attention")
    model = CNNRNN(config, (1, 8, 8), 3).eval()
    batch = batch_of(torch.randint(0, 256, (2, T, 1, 8, 8), dtype=torch.uint8), [5, 2])
    found = find_heat(
        lambda clips: model(clips.frames, clips.lengths)[0],
        model.sites(),
        batch,
        torch.zeros(2, dtype=torch.int64),
        "hires_cam",
    )
    assert found.attention is not None
    assert not found.attention[1, 2:].any()
    with torch.no_grad():
        assert model.recurrence is not None
        out, _ = model.recurrence(model.encode(batch.frames, batch.lengths), batch.lengths)
        pooled = torch.einsum("nt,ntd->nd", found.attention, out)
        torch.testing.assert_close(model.head(pooled), model(batch.frames, batch.lengths)[0])
        plain = CNNRNN(CNNRNNConfig(encoder=config.encoder), (1, 8, 8), 3)
    assert plain.pool is not None
    with pytest.raises(ValueError, match="only pooling by attention"):
        plain.pool.weights(out)


def test_scores_of_frames_are_means_over_valid_ones() -> None:
    outputs = torch.tensor([[[1.0, 5.0], [3.0, 0.0], [100.0, 0.0]]])
    lengths, targets = torch.tensor([2]), torch.tensor([0])
    assert score_of(outputs, lengths, targets).tolist() == [2.0]
    assert strongest(outputs, lengths).tolist() == [1]
    assert score_of(outputs[:, 0], lengths, targets).tolist() == [1.0]


def test_heat_is_spread_over_the_pixels() -> None:
    places = torch.zeros(2, 3, 3)
    places[1, 1, 1], places[0, 0, 2] = 4.0, 1.0
    spread = over_frames(places, (9, 9))
    assert spread is not None
    assert divmod(int(spread[1].argmax()), 9) == (4, 4)
    torch.testing.assert_close(spread[:, 1::3, 1::3], places / 4)  # the centres
    assert over_frames(torch.ones(4), ()) is None
    assert over_frames(torch.ones(4), (7,)) is None
    assert over_frames(torch.ones(4, 2), (7,)).shape == (4, 7)  # type: ignore[union-attr]
