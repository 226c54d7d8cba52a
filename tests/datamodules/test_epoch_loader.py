"""Virtual epochs: no repeats over ranks, the same items for any number of workers, resumable between two batches."""

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import Dataset

from datamodules.epoch_loader import EpochDataLoader, EpochSampler
from overtone.audio import AudioError
from overtone.errors import OvertoneError


class Keys(Dataset):
    """Items that say which they are."""

    def __getitem__(self, key):
        return key


class Broken(Dataset):
    def __getitem__(self, key):
        raise AudioError("speech/a: b.wav: holds no samples. Remove it or replace it.")


def loader(examples=12, batch_size=4, replicas=1, rank=0, workers=0, dataset=None):
    return EpochDataLoader(
        dataset or Keys(),
        batch_size=batch_size,
        sampler=EpochSampler(examples, replicas, rank),
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=torch.Generator(),
        collate_fn=list,
    )


@pytest.mark.parametrize("examples", [12, 13, 17])
@pytest.mark.parametrize("replicas", [1, 2, 3, 5])
def test_ranks_share_an_epoch_evenly_and_without_repeats(examples, replicas):
    parts = [list(EpochSampler(examples, replicas, rank)) for rank in range(replicas)]
    assert len({len(part) for part in parts}) == 1
    keys = [key for part in parts for key in part]
    assert len(keys) == len(set(keys)) < examples + replicas
    assert set(keys) >= {(0, index) for index in range(examples)}


def test_ranks_together_make_the_batches_of_one_process():
    alone = list(loader(24, batch_size=8))
    together = zip(*(loader(24, batch_size=4, replicas=2, rank=rank) for rank in (0, 1)), strict=True)
    assert [sorted(batch) for batch in alone] == [sorted(a + b) for a, b in together]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("seen", [0, 1, 2, 3])
def test_a_loader_goes_on_between_two_batches(seen, workers):
    whole = loader(workers=workers)
    expected = list(whole)
    whole.sampler.set_epoch(1)
    following = list(whole)
    first = loader(workers=workers)
    iterator = iter(first)
    batches = [next(iterator) for _ in range(seen)]
    second = loader(workers=workers)
    second.load_state_dict(first.state_dict())
    rest = list(second)
    assert batches + rest == (expected if seen < 3 else expected + expected)  # a whole epoch seen: the next begins
    second.sampler.set_epoch(1)
    assert list(second) == following


def test_a_state_can_be_continued_on_another_number_of_ranks():
    two = loader(24, batch_size=4, replicas=2)
    iterator = iter(two)
    next(iterator), next(iterator)
    one = loader(24, batch_size=8)
    one.load_state_dict(two.state_dict())
    assert next(iter(one)) == [(0, index) for index in range(16, 24)]


def test_the_last_batch_may_be_smaller():
    whole = loader(10)
    batches = list(whole)
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert whole.state_dict() == {"examples": 0}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_file_is_one_line_also_from_a_worker(workers):
    with pytest.raises(OvertoneError, match=r"^speech/a: b\.wav: holds no samples\. Remove it or replace it\.$"):
        list(loader(workers=workers, dataset=Broken()))


class Recorder(pl.LightningModule):
    """Remembers what it was given; stops where it is told to."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []
        self.stop_after = stop_after

    def training_step(self, batch):
        self.seen += batch
        return self.weight.square()

    def on_train_batch_end(self, *_):
        if self.stop_after is not None and len(self.seen) >= self.stop_after:
            self.trainer.save_checkpoint(self.path)
            raise KeyboardInterrupt

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(module, workers, checkpoint=None):
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    try:
        trainer.fit(module, loader(workers=workers), ckpt_path=checkpoint, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        assert trainer.interrupted
    return trainer


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("stop_after", [4, 8, 12, 20, 24])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_training_goes_on_with_the_very_next_batch(tmp_path, stop_after, workers):
    expected = [(epoch, index) for epoch in range(3) for index in range(12)]
    stopped = Recorder(stop_after)
    stopped.path = tmp_path / "last.ckpt"
    fit(stopped, workers)
    assert stopped.seen == expected[:stop_after]
    resumed = Recorder()
    trainer = fit(resumed, workers, stopped.path)
    assert resumed.seen == expected[stop_after:]
    assert trainer.global_step == 9
