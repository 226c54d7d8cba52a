"""What one audio file is: measured in a single pass, in blocks, so that hours need no more memory than seconds."""

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.corpora.loudness import LoudnessMeter
from evaluation.measures.bandwidth import EXCERPT_SECONDS, BandwidthMeter
from overtone.audio import CANCELLING, AudioError, cancels
from overtone.audio_files import recordings as audio_files

SHORTEST_SECONDS = 0.1
SAMPLE_RATES = (4000, 768000)
MOST_CHANNELS = 32
HIGHEST_PEAK = 16.0  # 24 dB above full scale: integers written as floats, or garbage
_EIGHT_BITS = ("PCM_U8", "PCM_S8")


@dataclass(frozen=True)
class Recording:
    """The measures of an audio file. Several channels are mixed down to their mean, as training hears them.

    Attributes:
        seconds: duration.
        sample_rate: the file's own, in Hz.
        channels: how many it has.
        encoding: libsndfile's names of its format and subtype, such as ``FLAC PCM_16``.
        band_hz: where its content ends, see `evaluation.measures.bandwidth.BandwidthMeter`.
        loudness_lufs: by ITU-R BS.1770, None below its absolute gate at -70 LUFS.
        peak: the largest absolute sample, 1.0 is full scale.
        clipped_share: the share of all channels' samples at full scale or beyond.
        sha256: of the file.
        audio_digest: of the decoded samples, their rate and channels: the same for the same audio as WAV and as FLAC.
    """

    seconds: float
    sample_rate: int
    channels: int
    encoding: str
    band_hz: float
    loudness_lufs: float | None
    peak: float
    clipped_share: float
    sha256: str
    audio_digest: str


def shortest_seconds(kind: str) -> float:
    """Return below which duration a file of a kind is of no use: an impulse response may be short."""
    return 0.0 if kind == "impulse_response" else SHORTEST_SECONDS


def measure_recording(path: Path, shortest_seconds: float = SHORTEST_SECONDS) -> Recording:
    """Read a file once and measure it.

    Args:
        path: anything libsndfile reads.
        shortest_seconds: what is shorter is refused.

    Raises:
        AudioError: the file is not audio, broken off, empty, too short, silent, or holds what no player would play.
        OSError: it cannot be read at all.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise AudioError(f"{path}: is no regular file. Replace it by one.")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    with audio_files.Recording(path) as audio:
        _refuse_odd_header(path, audio)
        passage = _Passage(audio)
        for block in audio.blocks(round(EXCERPT_SECONDS * audio.rate)):
            passage.add(block)
        _refuse_unusable(path, audio, passage, shortest_seconds)
        return Recording(
            seconds=passage.frames / audio.rate,
            sample_rate=audio.rate,
            channels=audio.channels,
            encoding=f"{audio.container} {audio.subtype}",
            band_hz=passage.bandwidth.band_hz,
            loudness_lufs=passage.loudness.lufs,
            peak=passage.peak,
            clipped_share=passage.clipped / (passage.frames * audio.channels),
            sha256=sha256,
            audio_digest=passage.digest.hexdigest()[:32],
        )


class _Passage:
    """What accumulates while a file is read."""

    def __init__(self, audio: audio_files.Recording) -> None:
        self.frames, self.clipped, self.peak = 0, 0, 0.0
        self.energy = self.mixed_energy = 0.0  # of several channels
        self.loudness = LoudnessMeter(audio.rate)
        self.bandwidth = BandwidthMeter(audio.rate)
        self.digest = hashlib.sha256(f"{audio.rate} {audio.channels} ".encode())
        self._full_scale = 1 - 2.0 ** -(7 if audio.subtype in _EIGHT_BITS else 15)

    def add(self, block: NDArray[np.float32]) -> None:
        """Take the next frames ``(samples, channels)``."""
        self.frames += len(block)
        self.digest.update(block.data)
        highest = _highest(block)
        if highest >= self._full_scale:
            self.clipped += int(np.count_nonzero(abs(block) >= self._full_scale))
        several = block.shape[1] > 1
        mono = block.mean(axis=1, dtype=np.float32) if several else block[:, 0]
        self.peak = float(np.maximum(self.peak, _highest(mono) if several else highest))
        if several:
            self.energy += float(np.vdot(block, block))
            self.mixed_energy += float(np.vdot(mono, mono))
        if self.peak <= HIGHEST_PEAK:
            self.loudness.add(mono)
            self.bandwidth.add(mono)


def _highest(samples: NDArray[np.float32]) -> np.float32:
    """Return the largest absolute sample; NaN where one is, so that finite samples need no pass of their own."""
    return np.maximum(samples.max(), -samples.min())


def _refuse_odd_header(path: Path, audio: audio_files.Recording) -> None:
    low, high = SAMPLE_RATES
    if not low <= audio.rate <= high:
        raise AudioError(f"{path}: is sampled at {audio.rate} Hz, expected {low} to {high}. Remove it.")
    if audio.channels > MOST_CHANNELS:
        raise AudioError(f"{path}: has {audio.channels} channels, expected at most {MOST_CHANNELS}. Split it.")


def _refuse_unusable(path: Path, audio: audio_files.Recording, passage: _Passage, shortest_seconds: float) -> None:
    seconds = passage.frames / audio.rate
    if audio.loss:
        raise AudioError(f"{path}: {audio.loss}. Copy it again.")
    if passage.frames == 0:
        raise AudioError(f"{path}: holds no samples. Remove it or replace it.")
    if not np.isfinite(passage.peak):
        raise AudioError(f"{path}: holds NaN or infinite samples. Write it again from its source.")
    if passage.peak > HIGHEST_PEAK:
        raise AudioError(f"{path}: peaks at {passage.peak:.3g}, expected samples scaled to 1. Write it again.")
    if seconds < shortest_seconds:
        raise AudioError(f"{path}: is {1000 * seconds:.0f} ms long, shorter than {shortest_seconds} s")
    if cancels(passage.mixed_energy, passage.energy / audio.channels):
        raise AudioError(f"{path}: {CANCELLING}")
    if passage.peak <= 2.0**-15:
        raise AudioError(f"{path}: is silent throughout")
