"""Items of training and validation: random crops that depend on (seed, epoch, index) alone, and fixed ones."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from datamodules.clip_choice import ClipChoice, cumulative_shares, drawn, flat_hz, own_band_hz
from datamodules.clip_reader import ClipReader, ClipRecordings
from datamodules.corpora.corpus import Clip, Corpus
from datamodules.degradation.conditions import Condition
from datamodules.degradation.scene import Scene
from datamodules.degradation.variation import Variation
from datamodules.epoch_loader import Item
from evaluation.contracts import Utterance
from overtone.audio import Waveform

_GAIN_RANGE_DB = 6.0
# Speech around the crop while it is degraded, so that filters and codecs do not start at the crop's own edge.
_CONTEXT_SECONDS = 0.032


class Surroundings:
    """What may be heard beside a split's speech: noises, music, rooms, and its other speakers."""

    def __init__(self, corpus: Corpus, reader: ClipReader, split: str) -> None:
        self._reader = reader
        self._noises = ClipRecordings(reader, corpus.noises_for(split))
        self._music = ClipRecordings(reader, corpus.music_for(split))
        self._impulse_responses = ClipRecordings(reader, corpus.impulse_responses_for(split))
        self._talkers = sorted(corpus.split(split), key=lambda clip: clip.speaker)
        self._ranges: dict[str, range] = {}
        for index, clip in enumerate(self._talkers):
            first = self._ranges.get(clip.speaker, range(index, index)).start
            self._ranges[clip.speaker] = range(first, index + 1)

    def scene(self, speaker: str, rng: np.random.Generator) -> Scene:
        """Return the scene around a speaker.

        Args:
            speaker: who speaks, and is therefore not among the other talkers.
            rng: source of random numbers.
        """
        return Scene(
            sample_rate=self._reader.sample_rate,
            rng=rng,
            noises=self._noises,
            talkers=ClipRecordings(self._reader, self._talkers, without=self._ranges[speaker]),
            music=self._music,
            impulse_responses=self._impulse_responses,
        )


class TrainingPairs(Dataset[Item]):
    """A virtual, endless set of random crops: item (epoch, index) depends on the seed and on nothing else.

    Args:
        corpus: whose train split is heard.
        reader: of its clips.
        conditions: drawn for each item by their shares.
        choice: draws each item's clip.
        crop_samples: length of an item.
        gap_samples: zeros between the clips of one that is joined.
        loudness_lufs: what speech is brought to before it varies; None to leave it as it is.
        variation: of the speech before it is degraded.
        seed: of all items.
    """

    def __init__(
        self,
        corpus: Corpus,
        reader: ClipReader,
        conditions: Sequence[Condition],
        choice: ClipChoice,
        *,
        crop_samples: int,
        gap_samples: int,
        loudness_lufs: float | None,
        variation: Variation,
        seed: int,
    ) -> None:
        self._corpus = corpus
        self._reader = reader
        self._conditions = tuple(conditions)
        self._choice = choice
        self._crop_samples = crop_samples
        self._gap_samples = gap_samples
        self._loudness_lufs = loudness_lufs
        self._variation = variation
        self._seed = seed
        self._surroundings = Surroundings(corpus, reader, "train")
        self._condition_ends = cumulative_shares([condition.share for condition in self._conditions])

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, index = key
        rng = np.random.default_rng([self._seed, epoch, index])
        clip, others = self._choice.draw(index, rng)
        condition = self._conditions[drawn(self._condition_ends, rng)].draw(rng)
        sample_rate = self._reader.sample_rate
        context = round(_CONTEXT_SECONDS * sample_rate)
        samples = self._crop_samples + 2 * context
        variation = self._variation.in_epoch(epoch)
        speed = variation.draw_speed(rng)
        speech, clips = self._speech(clip, others, round(speed * samples), rng)
        speech = variation.apply(speech, speed, samples, sample_rate, rng)
        speech = speech * _random_gain(speech, rng)
        narrowband = condition.apply(speech, self._surroundings.scene(clip.speaker, rng))
        inner = slice(context, context + self._crop_samples)
        return {
            "narrowband": narrowband[inner],
            "wideband": speech[inner],
            "cutoff_hz": condition.cutoff_hz(sample_rate) or sample_rate / 2,
            "band_hz": variation.band_hz(min(flat_hz(own_band_hz(clip)) for clip in clips), speed, sample_rate),
            "condition": condition.name,
            "speaker": clip.speaker,
            "file": joined_name(self._corpus, clips),
        }

    def _speech(
        self, clip: Clip, others: Sequence[Clip], samples: int, rng: np.random.Generator
    ) -> tuple[Waveform, list[Clip]]:
        """Crop a clip; one that is too short is joined with pieces of others of its speaker first."""
        clips, pieces, joined = [clip], [self._piece(clip, samples, rng)], 0
        while (joined := joined + pieces[-1].size) < samples:
            joined += self._gap_samples
            clips.append(others[int(rng.integers(len(others)))])
            pieces.append(self._piece(clips[-1], samples, rng))
        start = int(rng.integers(joined - samples + 1))
        return join(pieces, self._gap_samples)[start : start + samples], clips

    def _piece(self, clip: Clip, most: int, rng: np.random.Generator) -> Waveform:
        """Read a random part of a clip, at most ``most`` samples, at the preset's loudness."""
        available = self._reader.samples(clip)
        samples = min(available, most)
        start = int(rng.integers(available - samples + 1))
        return self._reader.crop(clip, start, samples) * loudness_gain(clip, self._loudness_lufs)


class FixedPairs(Dataset[Item]):
    """Crops from the middle of utterances: the validation set, the same in every epoch and run."""

    def __init__(self, utterances: Iterable[Utterance], crop_samples: int) -> None:
        self._items = [_middle(utterance, crop_samples) for utterance in utterances]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        return self._items[index]


def join(pieces: Sequence[Waveform], gap_samples: int) -> Waveform:
    """Join waveforms ``(samples,)`` with ``gap_samples`` zeros between them.

    Args:
        pieces: ``(samples,)`` each, of any lengths.
        gap_samples: length of the silence between two.
    """
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


def loudness_gain(clip: Clip, loudness_lufs: float | None) -> np.float32:
    """Return the factor that brings a clip to a loudness without clipping; 1 where no loudness could be measured.

    Args:
        clip: with its measured loudness and peak.
        loudness_lufs: what is wanted; None for no change.
    """
    if loudness_lufs is None or clip.loudness_lufs is None:
        return np.float32(1.0)
    gain = 10 ** ((loudness_lufs - clip.loudness_lufs) / 20)
    return np.float32(min(gain, 1.0 / clip.peak) if clip.peak else gain)


def _random_gain(speech: Waveform, rng: np.random.Generator) -> np.float32:
    gain = 10 ** (rng.uniform(-_GAIN_RANGE_DB, _GAIN_RANGE_DB) / 20)
    peak = float(np.abs(speech).max(initial=0.0))
    return np.float32(min(gain, max(1.0, 1.0 / peak)) if peak > 0 else gain)


def band_hz_of(clips: Sequence[Clip], sample_rate: int) -> float:
    """The lowest of the clips' bands; a clip that nobody measured ends at most at its own Nyquist frequency.

    Args:
        clips: at least one.
        sample_rate: of the result, in Hz; no band reaches beyond half of it.
    """
    return float(min(sample_rate / 2, *map(own_band_hz, clips)))


def joined_name(corpus: Corpus, clips: Sequence[Clip]) -> str:
    """Return what joined clips are called: the first one's path, and how many follow.

    Args:
        corpus: of the clips.
        clips: in their order.
    """
    further = f"+{len(clips) - 1}" if len(clips) > 1 else ""
    return corpus.name_of(clips[0]) + further


def _middle(utterance: Utterance, samples: int) -> Item:
    start = max(0, (utterance.wideband.size - samples) // 2)
    padding = (0, max(0, samples - utterance.wideband.size))
    return {
        "narrowband": np.pad(utterance.narrowband[start : start + samples], padding),
        "wideband": np.pad(utterance.wideband[start : start + samples], padding),
        "cutoff_hz": utterance.cutoff_hz or utterance.sample_rate / 2,
        "band_hz": flat_hz(utterance.band_hz),
        "condition": utterance.condition,
        "speaker": utterance.speaker,
        "file": utterance.file,
    }
