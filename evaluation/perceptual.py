"""ViSQOL, through the package visqol-python."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from evaluation.stft import NotApplicable, check_pair
from runtime.audio import resample

SPEECH_SAMPLE_RATE, AUDIO_SAMPLE_RATE = 16_000, 48_000
MINIMUM_SECONDS = 1.0  # a patch and the search around it; shorter ones end in an error inside the package


@cache
def _interface(mode: str) -> Any:  # noqa: ANN401 (the package's class is only known after its costly import)
    """One loaded ViSQOL per process and mode; its import compiles code, so it waits for the first score."""
    from visqol import VisqolApi

    logging.getLogger("visqol").setLevel(logging.ERROR)
    interface = VisqolApi()
    with _silent_stderr():
        interface.create(mode=mode)
    return interface


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """TensorFlow Lite announces itself on the file descriptor, out of reach of Python's logging."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


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
        NotApplicable: the target is shorter than 1 s, silent, or holds nothing that ViSQOL takes for sound.
    """
    _, reference = check_pair(preds, target)
    if len(reference) < MINIMUM_SECONDS * sample_rate or not reference.any():
        raise NotApplicable(f"the target is silent or shorter than {MINIMUM_SECONDS} s")
    speech = sample_rate <= SPEECH_SAMPLE_RATE
    rate = SPEECH_SAMPLE_RATE if speech else AUDIO_SAMPLE_RATE
    waveforms = (
        resample(np.asarray(waveform, dtype=np.float32), sample_rate, rate).astype(np.float64)
        for waveform in (target, preds)
    )
    with np.errstate(all="ignore"):
        try:
            result = _interface("speech" if speech else "audio").measure_from_arrays(*waveforms, rate)
        except IndexError:  # its list of the target's patches with voice activity is empty
            raise NotApplicable("ViSQOL finds no voice activity in the target") from None
    return float(result.moslqo)
