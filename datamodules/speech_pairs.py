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
from datamodules.degradation.conditions import Condition, refuse_ranges
from datamodules.degradation.variation import Variation
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
        train_conditions: drawn for each training item by their shares; may hold ranges.
        test_conditions: each utterance of val and test is heard under each of them.
        crop_seconds: length of a batch's items.
        batch_size: items a batch, over all processes of a training, each of which has an equal share.
        examples_per_epoch: training items a virtual epoch.
        seed: of the training items; val and test do not depend on it, so that runs can be paired.
        num_workers: processes that make training items; the items are the same for any number.
        joined_seconds: a speaker's clips are joined to utterances of at least this length.
        gap_seconds: silence between joined clips.
        test_utterances_per_speaker: None for all.
        val_utterances_per_speaker: None for all.
        full_band_hz: clips whose band reaches up to here are full-band; None for no distinction.
        full_band_share: of each batch's items, 0 to 1, cut from full-band clips.
        speaker_balance: 0 draws training clips by duration alone, 1 hears all speakers equally often.
        loudness_lufs: what each clip is brought to first, by ITU-R BS.1770; None to leave levels as they are.
        variation: of training speech before it is degraded, None for none; val and test are heard as recorded.

    Raises:
        OvertoneError: a test condition holds a range, no training condition has a share, or a share or balance lies
            outside 0 to 1.
    """

    def __init__(
        self,
        corpus: Corpus,
        sample_rate: int,
        train_conditions: Sequence[Condition],
        test_conditions: Sequence[Condition],
        crop_seconds: float,
        batch_size: int,
        examples_per_epoch: int,
        seed: int,
        num_workers: int = 0,
        joined_seconds: float = 3.0,
        gap_seconds: float = 0.3,
        test_utterances_per_speaker: int | None = None,
        val_utterances_per_speaker: int | None = None,
        full_band_hz: float | None = None,
        full_band_share: float = 0.0,
        speaker_balance: float = 0.0,
        loudness_lufs: float | None = None,
        variation: Variation | None = None,
    ) -> None:
        super().__init__()
        refuse_ranges(test_conditions)
        for name, share in {"full_band_share": full_band_share, "speaker_balance": speaker_balance}.items():
            if not 0 <= share <= 1:
                raise OvertoneError(f"{name}: expected 0 to 1, got {share:g}.")
        if not sum(condition.share for condition in train_conditions) > 0:
            raise OvertoneError("training conditions: expected at least one with a share above 0, got none.")
        self.corpus = corpus
        self.sample_rate = sample_rate
        self.train_conditions = tuple(train_conditions)
        self.test_conditions = tuple(test_conditions)
        self.crop_samples = round(crop_seconds * sample_rate)
        self.batch_size = batch_size
        self.examples_per_epoch = examples_per_epoch
        self.seed = seed
        self.num_workers = num_workers
        self.joined_samples = round(joined_seconds * sample_rate)
        self.gap_samples = round(gap_seconds * sample_rate)
        self._per_speaker = {
            "train": None,
            "val": val_utterances_per_speaker,
            "test": test_utterances_per_speaker,
        }
        self.loudness_lufs = loudness_lufs
        self.variation = variation or Variation()
        train = corpus.split("train")
        self._choice = ClipChoice(
            train, full_band_hz=full_band_hz, full_band_share=full_band_share, speaker_balance=speaker_balance
        )
        self._reader = ClipReader(sample_rate, kept=[corpus.noises_for("train"), train])
        self._train: TrainingPairs | None = None
        self._val: FixedPairs | None = None
        self._loader: EpochDataLoader | None = None
        self._resumed: dict[str, int] | None = None

    def setup(self, stage: str | None = None) -> None:
        """Make the data sets of a stage: ``fit`` and ``validate`` need them, scoring goes by `utterances`."""
        if stage in {"fit", None} and self._train is None:
            if self.num_workers > 0:
                self._reader.preload()
            self._train = TrainingPairs(
                self.corpus,
                self._reader,
                self.train_conditions,
                self._choice,
                crop_samples=self.crop_samples,
                gap_samples=self.gap_samples,
                loudness_lufs=self.loudness_lufs,
                variation=self.variation,
                seed=self.seed,
            )
        if stage in {"fit", "validate", None} and self._val is None:
            self._val = FixedPairs(self.utterances("val"), self.crop_samples)

    def train_dataloader(self) -> DataLoader[Item]:
        """Return the batches of one virtual epoch; the trainer tells the sampler which."""
        if self._train is None:
            raise RuntimeError("setup('fit') comes first")
        replicas, rank = self._replicas_and_rank()
        self._loader = EpochDataLoader(
            self._train,
            batch_size=self.batch_size // replicas,
            sampler=EpochSampler(self.examples_per_epoch, replicas, rank),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
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
        """Return one fixed crop of each utterance of val under each test condition, ``clips`` with each batch."""
        if self._val is None:
            raise RuntimeError("setup('fit') comes first")
        batches = DealtBatches(len(self._val), self.batch_size, *self._replicas_and_rank())
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
            pieces = [self._reader.read(clip) * loudness_gain(clip, self.loudness_lufs) for clip in clips]
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
