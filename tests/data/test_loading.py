"""ClipLoader: order from (seed, epoch) alone, exact resume, broken files left out; the same under Lightning."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import ModelCheckpoint

from unreel.clip import ClipBatch
from unreel.data.dataset import ClipDataset
from unreel.data.loading import ClipLoader, EpochSampler
from unreel.data.manifest import Example
from unreel.data.sampling import SamplingConfig
from unreel.data.transforms import AugmentConfig, PreprocessConfig
from unreel.errors import ConfigError, ReadError, RunError

SIZE = PreprocessConfig((6, 6), channels="grey")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for number in range(11):
        np.save(folder / f"{number}.npy", rng.integers(0, 255, (int(rng.integers(2, 12)), 1, 7, 7), dtype=np.uint8))
    (folder / "bad.npy").write_text("no array")
    return folder


def make(
    root: Path, names: Sequence[object] = range(11), training: bool = True, memory: bool = False, **options: Any
) -> ClipLoader:
    dataset = ClipDataset(
        [Example(f"{name}.npy") for name in names],
        root,
        SamplingConfig("segment", 4),
        SIZE,
        AugmentConfig(flip=True, brightness=0.5),
        seed=3,
        training=training,
        memory=memory,
    )
    return ClipLoader(dataset, **{"batch_size": 3, "shuffle": training, "seed": 5, **options})


Row = tuple[tuple[str, ...], int]


def row(batch: ClipBatch) -> Row:
    return batch.keys, int(
        (batch.frames.long() * torch.arange(1, batch.frames[0].numel() + 1).view(batch.frames[0].shape)).sum()
    )


def epochs(loader: ClipLoader, count: int) -> list[Row]:
    return [row(batch) for _ in range(count) for batch in loader]


@pytest.fixture(scope="module")
def plain(root: Path) -> list[Row]:
    """Three epochs of four batches."""
    found = epochs(make(root), 3)
    assert len(found) == 12
    assert len(set(found)) == 12
    for epoch in range(3):
        keys = [key for batch in found[4 * epoch : 4 * epoch + 4] for key in batch[0]]
        assert sorted(keys) == sorted(f"{number}.npy" for number in range(11))
    return found


def test_workers_and_memory_change_nothing(root: Path, plain: list[Row]) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert epochs(make(root, workers=2), 3) == plain
    assert epochs(make(root, memory=True), 3) == plain
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ConfigError, match="workers=0"):
        make(root, memory=True, workers=1)


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_goes_on_with_exactly_the_next_batch(root: Path, plain: list[Row], workers: int) -> None:
    first, second = make(root, workers=workers), make(root, workers=workers)
    for done in range(9):
        first.load_state_dict(make(root).state_dict())
        passes = (batch for _ in range(3) for batch in first)
        assert [row(next(passes)) for _ in range(done)] == plain[:done]
        second.load_state_dict(first.state_dict())
        assert second.state_dict()["epoch"] == done // 4
        following = (batch for _ in range(3) for batch in second)
        assert [row(next(following)) for _ in range(3)] == plain[done : done + 3]


def test_set_epoch_chooses_the_epoch_and_keeps_a_restored_place(root: Path, plain: list[Row]) -> None:
    loader = make(root)
    for epoch in (2, 0, 0, 1):
        loader.sampler.set_epoch(epoch)
        assert epochs(loader, 1) == plain[4 * epoch : 4 * epoch + 4]
    loader.load_state_dict({**loader.state_dict(), "epoch": 1, "batch": 3})
    loader.sampler.set_epoch(1)
    assert epochs(loader, 1) == plain[7:8]
    assert epochs(loader, 1) == plain[8:12]


def test_a_pass_broken_off_begins_anew(root: Path, plain: list[Row]) -> None:
    loader = make(root, workers=1)
    for _ in range(3):
        passed = iter(loader)
        assert row(next(passed)) == plain[0]
        loader.sampler.set_epoch(0)
    assert epochs(loader, 1) == plain[:4]
    loader.close()
    assert epochs(loader, 1) == plain[4:8]


def test_a_state_of_other_settings_is_refused(root: Path) -> None:
    for other in (make(root, batch_size=2), make(root, seed=6), make(root, names=range(9))):
        with pytest.raises(RunError, match="as when the state was saved"):
            make(root).load_state_dict(other.state_dict())


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_keeps_the_order_and_leaves_broken_files_out(root: Path, workers: int) -> None:
    names = [0, "bad", 1, "bad2", "bad3", "bad4", 2]
    loader = make(root, names, training=False, workers=workers)
    for _ in range(2):
        assert [batch.keys for batch in loader] == [("0.npy", "1.npy"), ("2.npy",)]
    assert list(loader.left_out) == ["bad.npy", "bad2.npy", "bad3.npy", "bad4.npy"]
    assert "expected a NumPy array" in loader.left_out["bad.npy"]
    assert [batch.keys for batch in make(root, ["bad"], training=False)] == []


@pytest.mark.parametrize("workers", [0, 2])
def test_training_has_all_its_batches_whatever_is_broken(root: Path, workers: int) -> None:
    loader = make(root, ["bad", 0, "bad2", "bad3", 1, "bad4", "bad5"], batch_size=2, workers=workers)
    whole = epochs(loader, 2)
    assert len(whole) == 2 * len(loader) == 8
    assert len(loader.left_out) == 5
    for done in range(1, 4):
        loader.load_state_dict({**loader.state_dict(), "epoch": 0, "batch": done})
        assert epochs(loader, 1) == whole[done:4]
    with pytest.raises(ReadError, match="no other of 2 clips"):
        list(make(root, ["bad", "bad2"]))


def test_order_sizes_and_weights(root: Path) -> None:
    still = make(root, shuffle=False, batch_size=4, drop_last=True)
    assert [batch.keys for batch in still] == [tuple(f"{i}.npy" for i in range(b, b + 4)) for b in (0, 4)]
    assert len(still) == 2
    weights = torch.zeros(11)
    weights[[2, 7]] = torch.tensor([1.0, 3.0])
    drawn = [key for keys, _ in epochs(make(root, weights=weights), 30) for key in keys]
    assert set(drawn) == {"2.npy", "7.npy"}
    assert 0.68 < drawn.count("7.npy") / len(drawn) < 0.82
    with pytest.raises(ConfigError, match="shuffle=True"):
        make(root, weights=weights, shuffle=False)
    with pytest.raises(ConfigError, match="batch_size"):
        make(root, batch_size=0)


@given(
    examples=st.integers(1, 40),
    ranks=st.integers(1, 5),
    size=st.integers(1, 7),
    drop=st.booleans(),
    epoch=st.integers(0, 5),
)
def test_ranks_share_the_examples(examples: int, ranks: int, size: int, drop: bool, epoch: int) -> None:
    for training in (True, False):
        shares, batches = [], []
        for rank in range(ranks):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(EpochSampler, "_rank", lambda self, rank=rank: (rank, ranks))
                sampler = EpochSampler(examples, size, True, 1, None, drop, training, True)
                sampler.set_epoch(epoch)
                shares.append(sampler.order())
                batches.append(sampler.batches())
                assert len(batches[-1]) == len(sampler)
                assert all(len(batch) == size or not drop for batch in batches[-1])
        everything = [index for share in shares for index in share]
        assert set(everything) == set(range(examples))
        if training:
            assert len({len(share) for share in shares}) == len({len(found) for found in batches}) == 1
        else:
            assert len(everything) == examples


class Recorder(lightning.LightningModule):
    """Trains a number on the batches and writes down which they were."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.stop_after = stop_after
        self.trained: list[Row] = []
        self.validated: list[tuple[str, ...]] = []

    def training_step(self, batch: ClipBatch, batch_idx: int) -> torch.Tensor:
        if self.stop_after is not None and len(self.trained) == self.stop_after:
            raise InterruptedError
        self.trained.append(row(batch))
        return (self.weight - batch.frames.float().mean() / 255) ** 2

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        self.validated.append(batch.keys)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(root: Path, folder: Path, module: Recorder, workers: int = 0, resume: Path | None = None) -> float:
    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0 if resume else 1,
        default_root_dir=folder,
        callbacks=[ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)],
    )
    # a broken file in a batch of its own must not cost the validation at the epoch's end
    train = make(root, [*range(7), "bad"], batch_size=2, workers=workers)
    trainer.fit(module, train, make(root, range(4), training=False, batch_size=2), ckpt_path=resume, weights_only=False)
    train.close()
    return float(module.weight.detach())


# Lightning 2.6 asks torch's pytree in a way that torch 2.11 and later call deprecated
lightning_warns = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*exists and is not empty")


@lightning_warns
def test_lightning_resumes_after_any_step(root: Path, tmp_path: Path) -> None:
    whole = Recorder()
    weight = fit(root, tmp_path / "whole", whole)
    assert len(whole.trained) == 12
    assert whole.validated == [("0.npy", "1.npy")] + 3 * [("0.npy", "1.npy"), ("2.npy", "3.npy")]
    for step in range(1, 12):
        resumed = Recorder()
        last = fit(root, tmp_path / "whole", resumed, resume=tmp_path / "whole" / f"step={step}.ckpt")
        assert resumed.trained == whole.trained[step:]
        assert last == weight


@lightning_warns
def test_lightning_resumes_after_a_crash_with_workers(root: Path, tmp_path: Path) -> None:
    whole = Recorder()
    weight = fit(root, tmp_path / "whole", whole)
    with pytest.raises(InterruptedError):
        fit(root, tmp_path / "run", Recorder(stop_after=6), workers=2)
    resumed = Recorder()
    assert fit(root, tmp_path / "run", resumed, workers=1, resume=tmp_path / "run" / "step=6.ckpt") == weight
    assert resumed.trained == whole.trained[6:]
