"""The DataModule: pairs of narrowband and wideband speech, the same for every architecture."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from datamodules.clip_choice import ClipChoice
from datamodules.clip_reader import ClipReader
from datamodules.corpora.corpus import Clip, Corpus
from datamodules.corpora.manifest import SPLITS
from datamodules.degradation.conditions import Condition, parse_conditions
from datamodules.epoch_loader import DealtBatches, EpochDataLoader, EpochSampler, FixedDataLoader, Item
from datamodules.pair_datasets import (
    FixedPairs,
    Surroundings,
    TrainingPairs,
    band_hz_of,
    collate,
    join,
    joined_name,
    loudness_gain,
)
from datamodules.pair_settings import PairSettings
from evaluation.contracts import Utterance
from overtone.audio import Waveform
from overtone.errors import OvertoneError


class SpeechPairsDataModule(pl.LightningDataModule):
    """Pairs of speech for training and validation, and utterances for scoring.

    Batches are dictionaries: ``narrowband`` and ``wideband`` ``(batch, samples)`` float32, ``cutoff_hz`` and
    ``band_hz`` ``(batch,)`` in Hz (``cutoff_hz`` is the Nyquist frequency where no band is missing), and the lists
    ``condition``, ``speaker`` and ``file``. Those for validation have ``clips``, the number of items that count.

    Args:
        corpus: what `datamodules.corpora.corpus.load_corpus` read.
        sample_rate: of both waveforms, in Hz.
        settings: how pairs are made.
        examples_per_epoch: training items in a virtual epoch.
        seed: of the training items; val and test do not depend on it, so that runs can be paired.
    """

    def __init__(
        self, corpus: Corpus, sample_rate: int, settings: PairSettings, *, examples_per_epoch: int, seed: int
    ) -> None:
        super().__init__()
        self.corpus, self.sample_rate, self.settings = corpus, sample_rate, settings
        self.examples_per_epoch, self.seed = examples_per_epoch, seed
        self.train_conditions = parse_conditions(settings.train_conditions)
        self.test_conditions = parse_conditions(settings.test_conditions, fixed=True)
        self.crop_samples = round(settings.crop_seconds * sample_rate)
        self.joined_samples = round(settings.joined_seconds * sample_rate)
        self.gap_samples = round(settings.gap_seconds * sample_rate)
        self._per_speaker = {
            "train": None,
            "val": settings.val_utterances_per_speaker,
            "test": settings.test_utterances_per_speaker,
        }
        train = corpus.split("train")
        self._choice = ClipChoice(
            train,
            full_band_hz=settings.full_band_hz,
            full_band_share=settings.full_band_share,
            speaker_balance=settings.speaker_balance,
        )
        self._reader = ClipReader(sample_rate, kept=[corpus.noises_for("train"), train])
        self._train: TrainingPairs | None = None
        self._val: FixedPairs | None = None
        self._loader: EpochDataLoader | None = None
        self._resumed: dict[str, int] | None = None

    def setup(self, stage: str | None = None) -> None:
        """Make the data sets of a stage: ``fit`` and ``validate`` need them, scoring goes by `utterances`."""
        if stage in {"fit", None} and self._train is None:
            if self.settings.num_workers > 0:
                self._reader.preload()
            self._train = TrainingPairs(
                self.corpus,
                self._reader,
                self.train_conditions,
                self._choice,
                crop_samples=self.crop_samples,
                gap_samples=self.gap_samples,
                loudness_lufs=self.settings.loudness_lufs,
                variation=self.settings.variation,
                seed=self.seed,
            )
        if stage in {"fit", "validate", None} and self._val is None:
            self._val = FixedPairs(self.utterances("val"), self.crop_samples)

    def train_dataloader(self) -> DataLoader[Item]:
        """Return the batches of one virtual epoch; the trainer tells the sampler which.

        Raises:
            RuntimeError: `setup` was not called.
        """
        if self._train is None:
            raise RuntimeError("setup('fit') comes first")
        replicas, rank = self._replicas_and_rank()
        self._loader = EpochDataLoader(
            self._train,
            batch_size=self.settings.batch_size // replicas,
            sampler=EpochSampler(self.examples_per_epoch, replicas, rank),
            num_workers=self.settings.num_workers,
            persistent_workers=self.settings.num_workers > 0,
            collate_fn=collate,
            generator=torch.Generator(),  # of its own: a resumed training makes a loader more
        )
        if self._resumed is not None:
            self._loader.load_state_dict(self._resumed)
        return self._loader

    def state_dict(self) -> dict[str, int]:
        """Return where in its epoch a training is, for the trainer's checkpoints."""
        return self._loader.state_dict() if self._loader else {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Begin the next loader where a checkpoint ends.

        The trainer would tell the loader itself, but not where the model asked for its number of batches before.
        """
        self._resumed = state_dict

    def val_dataloader(self) -> DataLoader[Item]:
        """Return one fixed crop of each utterance of val under each test condition, ``clips`` with each batch.

        Raises:
            RuntimeError: `setup` was not called.
        """
        if self._val is None:
            raise RuntimeError("setup('fit') comes first")
        batches = DealtBatches(len(self._val), self.settings.batch_size, *self._replicas_and_rank())
        return FixedDataLoader(self._val, batch_sampler=batches, collate_fn=collate, generator=torch.Generator())

    def _replicas_and_rank(self) -> tuple[int, int]:
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def utterances(self, split: str, per_speaker: int | None = None) -> Iterator[Utterance]:
        """Yield a split's utterances, each under every test condition.

        A speaker's clips are joined in the order of their paths until `joined_seconds` are reached; levels are left
        as they are. The damage depends on speaker, file and condition only, so that scores of different runs and
        seeds are paired.

        Args:
            split: train, val or test.
            per_speaker: at most so many utterances of each speaker, evenly spread over them; None for the number
                that the module was made with.

        Raises:
            OvertoneError: there is no such split, or a clip cannot be read any more.
        """
        if split not in SPLITS:
            raise OvertoneError(f"expected one of the splits {', '.join(SPLITS)}, got {split!r}.")
        surroundings = Surroundings(self.corpus, self._reader, split)
        for clips in self._chosen_groups(split, per_speaker or self._per_speaker[split]):
            pieces = [self._reader.read(clip) * loudness_gain(clip, self.settings.loudness_lufs) for clip in clips]
            wideband = join(pieces, self.gap_samples)
            for condition in self.test_conditions:
                yield self._utterance(clips, wideband, condition, surroundings)

    def utterance_count(self, split: str) -> int:
        """Return how many `utterances` yields of a split, without making one."""
        return len(self.test_conditions) * sum(1 for _ in self._chosen_groups(split, self._per_speaker[split]))

    def _chosen_groups(self, split: str, per_speaker: int | None) -> Iterator[list[Clip]]:
        by_speaker: dict[str, list[Clip]] = {}
        for clip in self.corpus.split(split):
            by_speaker.setdefault(clip.speaker, []).append(clip)
        for clips in by_speaker.values():
            groups = self._groups(clips)
            count = min(len(groups), per_speaker or len(groups))
            yield from (groups[index * len(groups) // count] for index in range(count))

    def _groups(self, clips: Sequence[Clip]) -> list[list[Clip]]:
        """Gather clips until each group lasts long enough; what is left over at the end joins the last group."""
        groups: list[list[Clip]] = []
        current: list[Clip] = []
        for clip in clips:
            current.append(clip)
            samples = sum(map(self._reader.samples, current)) + self.gap_samples * (len(current) - 1)
            if samples >= self.joined_samples:
                groups.append(current)
                current = []
        if groups:
            groups[-1] = groups[-1] + current
        elif current:
            groups.append(current)
        return groups

    def _utterance(
        self, clips: Sequence[Clip], wideband: Waveform, condition: Condition, surroundings: Surroundings
    ) -> Utterance:
        file, speaker = joined_name(self.corpus, clips), clips[0].speaker
        seed = hashlib.sha256("\t".join((speaker, file, condition.name)).encode()).digest()
        rng = np.random.default_rng(int.from_bytes(seed[:8], "little"))
        return Utterance(
            file=file,
            speaker=speaker,
            condition=condition.name,
            sample_rate=self.sample_rate,
            narrowband=condition.apply(wideband, surroundings.scene(speaker, rng)),
            wideband=wideband,
            cutoff_hz=condition.cutoff_hz(self.sample_rate),
            band_hz=band_hz_of(clips, self.sample_rate),
            clean=condition.clean,
        )
