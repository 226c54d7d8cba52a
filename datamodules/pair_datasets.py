"""Items of training and validation: random crops that depend on (seed, epoch, index) alone, and fixed ones."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from datamodules.conditions import Condition
from datamodules.corpus import Clip, Corpus
from evaluation.contracts import Utterance
from runtime.audio import Waveform, read_audio, resample

_CACHE_LIMIT_BYTES = 2**30
_GAIN_RANGE_DB = 6.0
# Speech around the crop while it is degraded, so that filters and codecs do not start at the crop's own edge.
_CONTEXT_SECONDS = 0.032

Item = dict[str, Any]


class ClipReader:
    """Reads clips at one sample rate; keeps what it has read in memory where the whole corpus fits."""

    def __init__(self, corpus: Corpus, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        seconds = sum(clip.seconds for clip in (*corpus.clips, *corpus.noises))
        self._keep = seconds * sample_rate * 4 < _CACHE_LIMIT_BYTES
        self._kept: dict[Clip, Waveform] = {}

    def samples(self, clip: Clip) -> int:
        """Return how many samples a clip has at the reader's rate, within one."""
        return int(clip.seconds * self.sample_rate)

    def read(self, clip: Clip) -> Waveform:
        """Return a whole clip ``(samples,)``."""
        waveform = self._kept.get(clip)
        if waveform is None:
            native, native_rate = read_audio(clip.path)
            waveform = resample(native, native_rate, self.sample_rate)
            if self._keep:
                self._kept[clip] = waveform
        return waveform

    def preload(self, clips: Sequence[Clip]) -> None:
        """Read clips before worker processes start, so that these share them; nothing where they are not kept."""
        for clip in clips if self._keep else ():
            self.read(clip)

    def crop(self, clip: Clip, start: int, samples: int) -> Waveform:
        """Return ``(samples,)`` of a clip from ``start`` on, without decoding all of it where it is not kept."""
        if self._keep:
            return self.read(clip)[start : start + samples]
        first = int(start * clip.sample_rate / self.sample_rate)
        frames = int(np.ceil((samples + 1) * clip.sample_rate / self.sample_rate))
        native, native_rate = read_audio(clip.path, start=first, frames=frames)
        return resample(native, native_rate, self.sample_rate)[:samples]


class Waveforms(Sequence[Waveform]):
    """Clips as waveforms ``(samples,)``, read when they are asked for."""

    def __init__(self, reader: ClipReader, clips: Sequence[Clip]) -> None:
        self._reader = reader
        self._clips = tuple(clips)

    @overload
    def __getitem__(self, index: int) -> Waveform: ...

    @overload
    def __getitem__(self, index: slice) -> "Waveforms": ...

    def __getitem__(self, index: int | slice) -> "Waveform | Waveforms":
        if isinstance(index, slice):
            return Waveforms(self._reader, self._clips[index])
        return self._reader.read(self._clips[index])

    def __len__(self) -> int:
        return len(self._clips)


class EpochSampler(DistributedSampler[int]):
    """Yields (epoch, index), so that an item knows its epoch whatever worker makes it.

    The trainer calls `set_epoch` before each epoch, also after a resumption. Being a distributed sampler already, it
    is not wrapped by the trainer in one that would keep `set_epoch` to itself.

    Args:
        examples: indices an epoch, over all replicas.
        replicas: how many processes share an epoch.
        rank: which of them this is.
    """

    def __init__(self, examples: int, replicas: int = 1, rank: int = 0) -> None:
        super().__init__(range(examples), num_replicas=replicas, rank=rank, shuffle=False)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[tuple[int, int]]:  # type: ignore[override]
        return ((self.epoch, index) for index in super().__iter__())


class EpochDataLoader(DataLoader[Item]):
    """Starts to make batches when the first is asked for.

    The trainer asks for an iterator before it says which epoch comes; worker processes would start at once, on the
    wrong one.
    """

    def __iter__(self) -> Iterator[Item]:  # type: ignore[override]
        yield from super().__iter__()


class TrainingPairs(Dataset[Item]):
    """A virtual, endless set of random crops: item (epoch, index) depends on the seed and on nothing else."""

    def __init__(
        self,
        corpus: Corpus,
        reader: ClipReader,
        conditions: Sequence[Condition],
        *,
        crop_samples: int,
        gap_samples: int,
        seed: int,
    ) -> None:
        self._corpus = corpus
        self._reader = reader
        self._conditions = tuple(conditions)
        self._crop_samples = crop_samples
        self._gap_samples = gap_samples
        self._seed = seed
        self._clips = corpus.split("train")
        self._noises = Waveforms(reader, corpus.noises_for("train"))
        self._clip_ends = _cumulative_shares([clip.seconds for clip in self._clips])
        self._condition_ends = _cumulative_shares([condition.share for condition in self._conditions])
        self._clips_of: dict[str, list[Clip]] = {}
        for clip in self._clips:
            self._clips_of.setdefault(clip.speaker, []).append(clip)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, index = key
        rng = np.random.default_rng([self._seed, epoch, index])
        clip = self._clips[_drawn(self._clip_ends, rng)]
        condition = self._conditions[_drawn(self._condition_ends, rng)].draw(rng)
        rate = self._reader.sample_rate
        context = round(_CONTEXT_SECONDS * rate)
        speech, clips = self._speech(clip, self._crop_samples + 2 * context, rng)
        speech = speech * _random_gain(speech, rng)
        narrowband = condition.apply(speech, rate, rng, self._noises)
        inner = slice(context, context + self._crop_samples)
        return _item(self._corpus, clips, condition, rate, narrowband[inner], speech[inner])

    def _speech(self, clip: Clip, samples: int, rng: np.random.Generator) -> tuple[Waveform, list[Clip]]:
        """Crop a clip; one that is too short is joined with others of its speaker first."""
        room = self._reader.samples(clip) - samples
        if room >= 0:
            return self._reader.crop(clip, int(rng.integers(room + 1)), samples), [clip]
        others = self._clips_of[clip.speaker]
        clips = [clip]
        pieces = [self._reader.read(clip)]
        while sum(piece.size for piece in pieces) + self._gap_samples * (len(pieces) - 1) < samples:
            clips.append(others[int(rng.integers(len(others)))])
            pieces.append(self._reader.read(clips[-1]))
        joined = join(pieces, self._gap_samples)
        start = int(rng.integers(joined.size - samples + 1))
        return joined[start : start + samples], clips


class FixedPairs(Dataset[Item]):
    """Crops from the middle of utterances: the validation set, the same in every epoch and run."""

    def __init__(self, utterances: Sequence[Utterance], crop_samples: int) -> None:
        self._items = [_middle(utterance, crop_samples) for utterance in utterances]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        return self._items[index]


def join(pieces: Sequence[Waveform], gap_samples: int) -> Waveform:
    """Join waveforms ``(samples,)`` with ``gap_samples`` zeros between them."""
    gap = np.zeros(gap_samples, dtype=np.float32)
    joined = [part for piece in pieces for part in (gap, piece)][1:]
    return np.concatenate(joined)


def collate(items: Sequence[Item]) -> Item:
    """Make a batch of items: tensors where there are numbers, lists where there are names."""
    return {
        "narrowband": torch.from_numpy(np.stack([item["narrowband"] for item in items])),
        "wideband": torch.from_numpy(np.stack([item["wideband"] for item in items])),
        "cutoff_hz": torch.tensor([item["cutoff_hz"] for item in items], dtype=torch.float32),
        "band_hz": torch.tensor([item["band_hz"] for item in items], dtype=torch.float32),
        "condition": [item["condition"] for item in items],
        "speaker": [item["speaker"] for item in items],
        "file": [item["file"] for item in items],
    }


def _cumulative_shares(weights: Sequence[float]) -> np.ndarray:
    ends = np.cumsum(weights)
    return ends / ends[-1]


def _drawn(ends: np.ndarray, rng: np.random.Generator) -> int:
    return int(np.searchsorted(ends, rng.random(), side="right"))


def _random_gain(speech: Waveform, rng: np.random.Generator) -> np.float32:
    gain = 10 ** (rng.uniform(-_GAIN_RANGE_DB, _GAIN_RANGE_DB) / 20)
    peak = float(np.abs(speech).max(initial=0.0))
    return np.float32(min(gain, max(1.0, 1.0 / peak)) if peak > 0 else gain)


def band_hz_of(clips: Sequence[Clip], sample_rate: int) -> float:
    """The lowest of the clips' bands; a clip that nobody measured ends at most at its own Nyquist frequency."""
    ends = [min(clip.band_hz or np.inf, clip.sample_rate / 2, sample_rate / 2) for clip in clips]
    return float(min(ends))


def joined_name(corpus: Corpus, clips: Sequence[Clip]) -> str:
    """Return what joined clips are called: the first one's path, and how many follow."""
    further = f"+{len(clips) - 1}" if len(clips) > 1 else ""
    return corpus.name_of(clips[0]) + further


def _item(
    corpus: Corpus,
    clips: Sequence[Clip],
    condition: Condition,
    sample_rate: int,
    narrowband: Waveform,
    wideband: Waveform,
) -> Item:
    return {
        "narrowband": narrowband,
        "wideband": wideband,
        "cutoff_hz": condition.cutoff_hz(sample_rate) or sample_rate / 2,
        "band_hz": band_hz_of(clips, sample_rate),
        "condition": condition.name,
        "speaker": clips[0].speaker,
        "file": joined_name(corpus, clips),
    }


def _middle(utterance: Utterance, samples: int) -> Item:
    start = max(0, (utterance.wideband.size - samples) // 2)
    padding = (0, max(0, samples - utterance.wideband.size))
    return {
        "narrowband": np.pad(utterance.narrowband[start : start + samples], padding),
        "wideband": np.pad(utterance.wideband[start : start + samples], padding),
        "cutoff_hz": utterance.cutoff_hz or utterance.sample_rate / 2,
        "band_hz": utterance.band_hz,
        "condition": utterance.condition,
        "speaker": utterance.speaker,
        "file": utterance.file,
    }
