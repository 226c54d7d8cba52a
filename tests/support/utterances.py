"""Made-up utterances for the tests of baselines and pages."""

import numpy as np

from evaluation.contracts import Utterance
from overtone.audio import resample

RATE = 16_000


def utterance(
    index: int = 0,
    *,
    seconds: float = 3.0,
    rate: int = RATE,
    low_rate: int = 8000,
    cutoff_hz: float | None = 4000.0,
    condition: str = "telephone",
) -> Utterance:
    """Noise with one slowly moving spectral tilt, so that the low band tells about the missing one."""
    generator = np.random.default_rng(index)
    samples = int(seconds * rate)
    time = np.arange(samples) / rate
    knots = generator.uniform(0.0, 1.0, int(seconds * 6) + 2)
    tilt = np.interp(time * 6, np.arange(len(knots)), knots)
    source = generator.standard_normal(samples)
    dull = np.convolve(source, np.exp(-np.arange(64) / 6.0), mode="same")
    wideband = (0.02 * (tilt * source * 3 + (1 - tilt) * dull)).astype(np.float32)
    narrowband = resample(resample(wideband, rate, low_rate), low_rate, rate)
    narrowband = np.pad(narrowband, (0, max(0, samples - len(narrowband))))[:samples]
    return Utterance(
        file=f"file{index}",
        speaker=f"speaker{index}",
        condition=condition,
        sample_rate=rate,
        narrowband=wideband if cutoff_hz is None else narrowband,
        wideband=wideband,
        cutoff_hz=cutoff_hz,
        band_hz=rate / 2,
        clean=True,
    )
