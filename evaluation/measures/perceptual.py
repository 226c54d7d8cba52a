"""Models of listeners: ViSQOL, STOI, PESQ and DNSMOS, each the number of its package."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from evaluation.measures.stft import NotApplicable, check_pair
from overtone.audio import resample

SPEECH_SAMPLE_RATE, AUDIO_SAMPLE_RATE = 16_000, 48_000
MINIMUM_SECONDS = 1.0  # a patch and the search around it; shorter ones end in an error inside the package
STOI_TOO_SHORT = 1e-5  # what pystoi returns, with a warning, instead of an error
PESQ_SAMPLE_RATE = DNSMOS_SAMPLE_RATE = 16_000
PESQ_SHORTEST, PESQ_LONGEST = 0.25, 19.0  # seconds


@cache
def _interface(mode: str) -> Any:  # noqa: ANN401 (the package's class is only known after its costly import)
    """One loaded ViSQOL per process and mode; its import compiles code, so it waits for the first score."""
    from visqol import VisqolApi

    from evaluation.measures.gammatone import SideBySideSpectrogramBuilder

    logging.getLogger("visqol").setLevel(logging.ERROR)
    interface = VisqolApi()
    with _silent_stderr():
        interface.create(mode=mode)
    manager: Any = interface._manager
    bank = manager.spect_builder.filter_bank
    manager.spect_builder = SideBySideSpectrogramBuilder(bank.num_bands, bank.min_freq, speech_mode=mode == "speech")
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


def stoi(*, preds: ArrayLike, target: ArrayLike, sample_rate: int) -> float:
    """Short-time objective intelligibility, key ``stoi`` (Taal 2011, equation 6), as pystoi computes it.

    At 10 kHz, to which pystoi resamples: it hears nothing above 5 kHz, so that it tells whether the words survived,
    not whether the missing band came back. Frames 40 dB below the target's loudest do not count.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.

    Returns:
        At most 1, about 0 where nothing is related; higher is better.

    Raises:
        NotApplicable: the target is silent or has under 0.4 s of sound.
    """
    return _intelligibility(preds, target, sample_rate, extended=False)


def extended_stoi(*, preds: ArrayLike, target: ArrayLike, sample_rate: int) -> float:
    """Extended short-time objective intelligibility, key ``estoi`` (Jensen and Taal 2016), as pystoi computes it.

    It compares spectra within 0.4 s in place of each band's course, and so hears noise that changes, as competing
    talkers are, which `stoi` forgives. At 10 kHz as well: it hears nothing above 5 kHz.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.

    Returns:
        At most 1, about 0 where nothing is related; higher is better.

    Raises:
        NotApplicable: the target is silent or has under 0.4 s of sound.
    """
    return _intelligibility(preds, target, sample_rate, extended=True)


def _intelligibility(preds: ArrayLike, target: ArrayLike, sample_rate: int, *, extended: bool) -> float:
    from pystoi import stoi as pystoi  # costs a second that only those who score should pay

    estimate, reference = check_pair(preds, target)
    if not reference.any():
        raise NotApplicable("the target is silent")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            score = float(pystoi(reference, estimate, sample_rate, extended=extended))
    except (IndexError, ValueError) as error:
        if len(reference) >= 0.4 * sample_rate:
            raise
        raise NotApplicable("the target is shorter than 0.4 s") from error
    if score == STOI_TOO_SHORT:
        raise NotApplicable("the target has under 0.4 s of sound")
    return score


def pesq_wb(*, preds: ArrayLike, target: ArrayLike, sample_rate: int) -> float:
    """Wideband perceptual evaluation of speech quality, key ``pesq_wb`` (ITU-T P.862.2), as the package pesq does it.

    At 16 kHz, to which soxr resamples: it hears nothing above 8 kHz. The package's memory holds 50 utterances, which
    20 s can contain, and it corrupts itself with more: longer pairs are scored in equal parts of at most 19 s, those
    in which the target is digital silence are left out, and the mean is taken. P.862 was made for 8 to 12 s.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.

    Returns:
        Mean opinion score, 1.04 to 4.64; higher is better.

    Raises:
        NotApplicable: the target is silent or shorter than 0.25 s.
        ValueError: the estimate is silent where the target is not.
        pesq.NoUtterancesError: the package detects no utterance.
    """
    from pesq import pesq

    estimate, reference = check_pair(preds, target)
    if not reference.any() or len(reference) <= PESQ_SHORTEST * sample_rate:
        raise NotApplicable(f"the target is silent or shorter than {PESQ_SHORTEST} s")
    waveforms = [
        resample(waveform.astype(np.float32), sample_rate, PESQ_SAMPLE_RATE) for waveform in (reference, estimate)
    ]
    count = int(np.ceil(len(waveforms[0]) / (PESQ_LONGEST * PESQ_SAMPLE_RATE)))
    parts = zip(*(np.array_split(waveform, count) for waveform in waveforms), strict=True)
    scores = []
    for target_part, preds_part in parts:
        if not target_part.any():
            continue
        if not preds_part.any():
            raise ValueError("the estimate is silent")
        scores.append(pesq(PESQ_SAMPLE_RATE, target_part, preds_part, "wb"))
    return float(np.mean(scores))


def dnsmos(*, preds: ArrayLike, sample_rate: int) -> float:
    """Overall quality as DNSMOS P.835 predicts it, key ``dnsmos`` (Reddy 2022), by the package speechmos.

    A network that was trained on ratings of denoised speech; it hears the estimate alone, at 16 kHz, in pieces of 9 s
    that begin a second apart. A shorter estimate is repeated to that length, beyond full scale it clips.

    Args:
        preds: the estimate ``(samples,)``.
        sample_rate: in Hz.

    Returns:
        Mean opinion score, 1 to 5; higher is better.

    Raises:
        NotApplicable: the package is not installed, or there are no samples.
    """
    if find_spec("speechmos") is None:
        raise NotApplicable("speechmos is not installed (pip install speechmos requests)")
    from speechmos import dnsmos as package

    waveform = resample(np.asarray(preds, dtype=np.float32), sample_rate, DNSMOS_SAMPLE_RATE).clip(-1.0, 1.0)
    if len(waveform) == 0:
        raise NotApplicable("there are no samples")
    return float(package.run(waveform, DNSMOS_SAMPLE_RATE)["ovrl_mos"])
