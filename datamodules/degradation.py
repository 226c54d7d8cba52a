"""What can happen to speech: sample-aligned, length-exact steps with scalar parameters.

A step is ``step(waveform, sample_rate, rng, noises, **parameters) -> waveform``; `STEPS` registers them by the kind
that a condition names. Ranges, shares and names are the business of `datamodules.conditions`.
"""

import inspect
import io
from collections.abc import Callable, Sequence

import numpy as np
import soundfile

from datamodules.noise import active_level, pink
from runtime import audio
from runtime.audio import Waveform
from runtime.errors import OvertoneError

# LAME's encoder delay (576) and the decoder's (529): what a stream without an Info tag comes back late by.
_MP3_DELAY_SAMPLES = 1105
_MP3_SHORTEST_SECONDS = 0.1
_MP3_KBPS = {
    **dict.fromkeys((8000, 11025, 12000), (8, 64)),
    **dict.fromkeys((16000, 22050, 24000), (8, 160)),
    **dict.fromkeys((32000, 44100, 48000), (32, 320)),
}


def _fitted(waveform: Waveform, samples: int) -> Waveform:
    """Cut or zero-pad the end so that ``samples`` remain."""
    return np.pad(waveform[:samples], (0, max(0, samples - waveform.size)))


def resample(
    waveform: Waveform, sample_rate: int, rng: np.random.Generator, noises: Sequence[Waveform], *, rate: float
) -> Waveform:
    """Take away everything above ``rate`` / 2 by resampling to ``rate`` and back with soxr HQ.

    Args:
        waveform: ``(samples,)``.
        sample_rate: of ``waveform``, in Hz.
        rng: not used.
        noises: not used.
        rate: in Hz, rounded to a whole number; nothing happens from ``sample_rate`` up.
    """
    rate = round(rate)
    if rate >= sample_rate:
        return waveform
    low = audio.resample(waveform, sample_rate, rate)
    return _fitted(audio.resample(low, rate, sample_rate), waveform.size)


def encode_mp3(waveform: Waveform, sample_rate: int, kbps: float) -> bytes:
    """Encode a waveform ``(samples,)`` within +-1 as MP3 with a constant bit rate.

    Args:
        waveform: ``(samples,)``.
        sample_rate: one of MP3's own rates in Hz.
        kbps: 1000 bits per second; the encoder takes the nearest rate that the format has.

    Raises:
        OvertoneError: MP3 has no such sample rate or no such bit rate.
    """
    if sample_rate not in _MP3_KBPS:
        raise OvertoneError(f"mp3: expected a sample rate of {sorted(_MP3_KBPS)} Hz, got {sample_rate}.")
    lowest, highest = _MP3_KBPS[sample_rate]
    if not lowest <= kbps <= highest:
        raise OvertoneError(f"mp3: expected {lowest} to {highest} kbps at {sample_rate} Hz, got {kbps:g}.")
    stream = io.BytesIO()
    soundfile.write(
        stream,
        waveform,
        sample_rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT",
        # libsndfile maps 0..1 to highest..lowest and refuses 1 itself.
        compression_level=min((highest - kbps) / (highest - lowest), 0.999),
    )
    return stream.getvalue()


def decode_mp3(stream: bytes, samples: int) -> Waveform:
    """Decode what `encode_mp3` made of ``samples`` samples, undoing the codec's delay.

    Low bit rates leave no room for the Info tag that tells a decoder what to trim; such a stream comes back longer,
    and late by a fixed delay.
    """
    decoded = soundfile.read(io.BytesIO(stream), dtype="float32")[0]
    if decoded.size != samples:
        decoded = decoded[_MP3_DELAY_SAMPLES:]
    return _fitted(decoded, samples)


def mp3(
    waveform: Waveform, sample_rate: int, rng: np.random.Generator, noises: Sequence[Waveform], *, kbps: float
) -> Waveform:
    """Encode as MP3 (LAME by libsndfile, constant bit rate) and decode, sample-aligned.

    LAME's presets turn the level down by up to 5 %, as they do for everyone; this is part of the damage.

    Args:
        waveform: ``(samples,)``; what exceeds +-1 is scaled down for the encoder and up again.
        sample_rate: one of MP3's own rates in Hz.
        rng: not used.
        noises: not used.
        kbps: 1000 bits per second.

    Raises:
        OvertoneError: MP3 has no such sample rate or no such bit rate.
    """
    peak = max(1.0, float(np.abs(waveform).max(initial=0.0)))
    padded = _fitted(waveform / np.float32(peak), max(waveform.size, round(_MP3_SHORTEST_SECONDS * sample_rate)))
    decoded = decode_mp3(encode_mp3(padded, sample_rate, kbps), padded.size)
    return decoded[: waveform.size] * np.float32(peak)


def noise(
    waveform: Waveform, sample_rate: int, rng: np.random.Generator, noises: Sequence[Waveform], *, snr_db: float
) -> Waveform:
    """Add background noise at a signal-to-noise ratio that refers to the active levels of both.

    Args:
        waveform: ``(samples,)``; silence is returned as it is.
        sample_rate: in Hz.
        rng: draws which noise, and from which point on it plays, round and round.
        noises: waveforms ``(samples,)`` at ``sample_rate``; pink noise where there are none, or silence is drawn.
        snr_db: signal-to-noise ratio in dB.
    """
    speech_level = active_level(waveform, sample_rate)
    if speech_level == 0:
        return waveform
    background = _background(waveform.size, sample_rate, rng, noises)
    scale = speech_level / active_level(background, sample_rate) * 10 ** (-snr_db / 20)
    return waveform + np.float32(scale) * background


def _background(samples: int, sample_rate: int, rng: np.random.Generator, noises: Sequence[Waveform]) -> Waveform:
    if noises:
        chosen = noises[int(rng.integers(len(noises)))]
        start = int(rng.integers(chosen.size))
        segment = np.take(chosen, np.arange(start, start + samples), mode="wrap")
        if segment.any():
            return segment
    return pink(samples, sample_rate, rng)


def gain(
    waveform: Waveform, sample_rate: int, rng: np.random.Generator, noises: Sequence[Waveform], *, db: float
) -> Waveform:
    """Scale by ``db`` decibels, without clipping."""
    return waveform * np.float32(10 ** (db / 20))


Step = Callable[..., Waveform]
STEPS: dict[str, Step] = {"resample": resample, "mp3": mp3, "noise": noise, "gain": gain}


def parameters_of(kind: str) -> tuple[str, ...]:
    """Return the names of a step's parameters, all of them required."""
    signature = inspect.signature(STEPS[kind])
    return tuple(name for name, one in signature.parameters.items() if one.kind is inspect.Parameter.KEYWORD_ONLY)
