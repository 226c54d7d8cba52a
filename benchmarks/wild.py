"""Real low-quality recordings, of which nobody has the original: does enhancing them leave them undamaged?

``python -m benchmarks.wild --data CORPUS`` enhances what the manifest calls ``lowquality``, or every recording of a
plain folder, with the packed model, and prints for each what came out: the words' fingerprint against the input's,
the band that was there already, peaks, and quiet frames.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from evaluation.measures.bandwidth import effective_band_hz
from evaluation.measures.fingerprints import content_bit_error_rate
from evaluation.measures.missing_band import decibel
from evaluation.measures.spectral import log_spectral_distance_retained_band
from evaluation.measures.stft import NotApplicable
from overtone.audio import Waveform, resample
from overtone.audio_files.recordings import read_audio
from overtone.enhancer import Enhancer
from overtone.errors import OvertoneError
from overtone.model_package import load_model
from overtone.packed_models import default_model

FRAME_SECONDS = 0.02
QUIET_DB = 50.0  # below the loudest frame
LIMITS = {"content BER": 0.01, "LSD below": 0.15, "peak": 1.0, "quiet, dB": 3.0}


@dataclass(frozen=True)
class Outcome:
    """What became of a recording.

    Attributes:
        content_ber: the words' fingerprint against the input's; NaN where it is too short.
        lsd_low: log-spectral distance to the input up to 0.9 of its bandwidth.
        peak: largest sample, 1 is full scale.
        quiet_db: by how much frames that are 50 dB below the loudest got louder, all in all; NaN where there are none.
        added_db: energy above the input's bandwidth against that below, all in all.
    """

    content_ber: float
    lsd_low: float
    peak: float
    quiet_db: float
    added_db: float


def outcome(recording: Waveform, enhanced: Waveform, rate: int, band_hz: float) -> Outcome:
    """Compare an enhanced recording with what went in, both ``(samples,)`` at one rate."""
    try:
        content = content_bit_error_rate(preds=enhanced, target=recording, sample_rate=rate)
    except NotApplicable:
        content = float("nan")
    low = log_spectral_distance_retained_band(
        preds=enhanced, target=recording, sample_rate=rate, cutoff_hz=band_hz, band_hz=rate / 2
    )
    before, after = frame_power(recording, rate), frame_power(enhanced, rate)
    quiet = before < before.max() * 10 ** (-QUIET_DB / 10)
    spectrum = np.abs(np.fft.rfft(enhanced)) ** 2
    above = np.fft.rfftfreq(enhanced.size, 1 / rate) > band_hz
    return Outcome(
        content_ber=content,
        lsd_low=low,
        peak=float(np.abs(enhanced).max()),
        quiet_db=decibel(after[quiet].sum() / before[quiet].sum()) if before[quiet].any() else float("nan"),
        added_db=decibel(spectrum[above].sum() / spectrum[~above].sum()),
    )


def frame_power(waveform: Waveform, rate: int) -> np.ndarray:
    """Return the mean power of frames of 20 ms ``(frames,)``."""
    samples = round(FRAME_SECONDS * rate)
    whole = waveform[: waveform.size // samples * samples].astype(np.float64)
    return (whole.reshape(-1, samples) ** 2).mean(axis=1)


def recordings(data: Path) -> Iterator[Path]:
    """Yield the low-quality recordings of a corpus with a manifest, or every file of a folder without one."""
    manifest = data / "manifest.csv"
    if not manifest.is_file():
        yield from sorted(path for path in data.rglob("*") if path.is_file())
        return
    rows = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    for path in rows.loc[rows["kind"] == "lowquality", "path"]:
        yield data / path


def main() -> None:
    """Enhance, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="corpus with a manifest, or a folder of recordings")
    parser.add_argument("--model", type=Path, help="an exported package (the packed one)")
    options = parser.parse_args()
    enhancer = Enhancer(load_model(options.model or default_model("fullband")))
    rate = enhancer.model.sample_rate
    table = Table("recording", "band, kHz", *(f"{name} ≤ {limit:g}" for name, limit in LIMITS.items()), "added, dB", "")
    damaged = 0
    for path in recordings(options.data):
        try:
            given, given_rate = read_audio(path)
        except OvertoneError as error:
            print(error)
            continue
        enhanced, _ = enhancer.enhance(given, given_rate)
        recording = resample(given, given_rate, rate)
        band_hz = min(effective_band_hz(given, given_rate), given_rate / 2)
        result = outcome(recording, enhanced[: recording.size], rate, band_hz)
        judged = (result.content_ber, result.lsd_low, result.peak, result.quiet_db)
        missed = [name for value, (name, limit) in zip(judged, LIMITS.items(), strict=True) if value > limit]
        damaged += bool(missed)
        cells = [f"{value:.3f}" for value in judged]
        table.add_row(path.name[:36], f"{band_hz / 1000:.1f}", *cells, f"{result.added_db:.1f}", ", ".join(missed))
    Console(width=140).print(table)
    print(f"{table.row_count} recordings, {damaged} beyond a limit")


if __name__ == "__main__":
    main()
