"""ViSQOL, through the package visqol-python."""

import logging
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from evaluation.stft import check_pair
from runtime.audio import resample

SPEECH_SAMPLE_RATE, AUDIO_SAMPLE_RATE = 16_000, 48_000


@cache
def _interface(mode: str) -> Any:  # noqa: ANN401 (the package's class is only known after its costly import)
    """One loaded ViSQOL per process and mode; its import compiles code, so it waits for the first score."""
    from visqol import VisqolApi

    logging.getLogger("visqol").setLevel(logging.ERROR)
    interface = VisqolApi()
    interface.create(mode=mode)
    return interface


def visqol(*, preds: ArrayLike, target: ArrayLike, sample_rate: int) -> float:
    """Virtual Speech Quality Objective Listener, key ``visqol`` (Chinen 2020, ViSQOL v3).

    Speech mode at 16 kHz for rates up to that, audio mode at 48 kHz above; other rates are resampled up.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.

    Returns:
        Mean opinion score, 1 to 5; higher is better.

    Raises:
        ValueError: ViSQOL found nothing to compare, for example in a silent target.
    """
    check_pair(preds, target)
    speech = sample_rate <= SPEECH_SAMPLE_RATE
    rate = SPEECH_SAMPLE_RATE if speech else AUDIO_SAMPLE_RATE
    waveforms = (
        resample(np.asarray(waveform, dtype=np.float32), sample_rate, rate).astype(np.float64)
        for waveform in (target, preds)
    )
    with np.errstate(all="ignore"):
        result = _interface("speech" if speech else "audio").measure_from_arrays(*waveforms, rate)
    return float(result.moslqo)
