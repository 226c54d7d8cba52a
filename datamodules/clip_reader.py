"""Reading clips at a model's rate: whole, in crops, or as the recordings that a degradation may use."""

from collections.abc import Iterable, Sequence

import numpy as np

from datamodules.corpora.corpus import Clip
from overtone.audio import AudioError, Waveform, resample
from overtone.audio_files.recordings import read_audio

# Above it, clips are decoded crop by crop: a second of 48 kHz FLAC takes 1 ms, a thirtieth of what is done to it.
_MOST_KEPT_BYTES = 256 * 2**20
# A manifest rounds durations, and a resampler's length; what is missing beyond that is a changed file.
_TOLERATED_SECONDS = 0.05


class ClipReader:
    """Reads clips at one sample rate.

    Args:
        sample_rate: of everything that is returned, in Hz.
        kept: groups of clips that stay in memory once they were read: in this order, each group as a whole if it still
            fits into 256 MiB.
    """

    def __init__(self, sample_rate: int, kept: Iterable[Sequence[Clip]] = ()) -> None:
        self.sample_rate = sample_rate
        self._keep: set[Clip] = set()
        self._kept: dict[Clip, Waveform] = {}
        room = _MOST_KEPT_BYTES / (4 * sample_rate)
        for group in kept:
            seconds = sum(clip.seconds for clip in group)
            if seconds < room:
                self._keep.update(group)
                room -= seconds

    def samples(self, clip: Clip) -> int:
        """Return how many samples a clip has at the reader's rate, within one."""
        return int(clip.seconds * self.sample_rate)

    def read(self, clip: Clip) -> Waveform:
        """Return a whole clip ``(samples,)``.

        Raises:
            AudioError: it cannot be read any more.
        """
        waveform = self._kept.get(clip)
        if waveform is None:
            native, native_rate = read_audio(clip.path)
            waveform = resample(native, native_rate, self.sample_rate)
            if clip in self._keep:
                self._kept[clip] = waveform
        return waveform

    def preload(self) -> None:
        """Read what is kept, so that worker processes started later share it."""
        for clip in self._keep:
            self.read(clip)

    def crop(self, clip: Clip, start: int, samples: int) -> Waveform:
        """Return ``(samples,)`` of a clip from ``start`` on, without decoding all of it where it is not kept.

        Args:
            clip: of the corpus.
            start: first sample, at the reader's rate.
            samples: how many.

        Raises:
            AudioError: the file cannot be read any more, or is shorter than the corpus says.
        """
        if clip in self._keep:
            cropped = self.read(clip)[start : start + samples]
        else:
            first = int(start * clip.sample_rate / self.sample_rate)
            frames = int(np.ceil((samples + 1) * clip.sample_rate / self.sample_rate))
            native, native_rate = read_audio(clip.path, start=first, frames=frames)
            cropped = resample(native, native_rate, self.sample_rate)[:samples]
        missing = samples - cropped.size
        if missing > _TOLERATED_SECONDS * self.sample_rate:
            raise AudioError(
                f"{clip.path}: expected {clip.seconds:.2f} s of audio, found less. The file was changed after the "
                "corpus was indexed: run overtone data prepare again."
            )
        return np.pad(cropped, (0, missing)) if missing else cropped


class ClipRecordings:
    """Clips as the recordings of a `datamodules.degradation.scene.Scene`, read in segments.

    Args:
        reader: decides the rate.
        clips: what can be heard.
        without: a range of them that cannot, as a speaker is no competitor of his own.
    """

    def __init__(self, reader: ClipReader, clips: Sequence[Clip], without: range = range(0)) -> None:
        self._reader = reader
        self._clips = clips
        self._without = without

    def __len__(self) -> int:
        return len(self._clips) - len(self._without)

    def _clip(self, index: int) -> Clip:
        return self._clips[index if index < self._without.start else index + len(self._without)]

    def segment(self, index: int, rng: np.random.Generator, samples: int) -> Waveform:
        """Return ``(samples,)`` of recording ``index`` from a random point on, round and round where it is shorter.

        Args:
            index: of the recording.
            rng: source of random numbers.
            samples: how many, at the reader's rate.
        """
        clip = self._clip(index)
        available = self._reader.samples(clip)
        start = int(rng.integers(available))
        if start + samples <= available:
            return self._reader.crop(clip, start, samples)
        return np.take(self._reader.read(clip), np.arange(start, start + samples), mode="wrap")

    def whole(self, index: int) -> Waveform:
        """Return recording ``index`` ``(its samples,)``."""
        return self._reader.read(self._clip(index))
