"""Steps that encode and decode: MP3, Opus, Vorbis, the telephone's G.711 and GSM 06.10, and plain bit depth.

What comes back is aligned and as long as what went in; peaks above 1 are scaled down for the encoder and up again. A
rate that a codec lacks is resampled to the next one that it has, and back.
"""

import functools
import io
from collections.abc import Callable

import fast_mp3_augment
import numpy as np
import scipy.signal
import soundfile

from datamodules.degradation.filters import fitted
from datamodules.degradation.scene import Scene
from overtone.audio import Waveform, resample

TELEPHONE_RATE = 8000

_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_MP3_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_SHORTEST_SECONDS = 0.1
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
# libsndfile turns compression_level 0 to 1 into 256 to 6 kbps.
_OPUS_KBPS = (6.0, 256.0)
_OPUS_FURTHEST_LAG = 6

_NOISE_SECONDS = 1.0
_NOISE_LEVEL = 0.1
_GONE_DB = 20.0
_SPEECH_BAND_HZ = (300.0, 1500.0)
# A band that ends this close to the Nyquist frequency counts as whole: nothing could be measured above it.
_WHOLE = 0.9

_Codec = Callable[[Waveform, int], Waveform]


def mp3(waveform: Waveform, scene: Scene, *, kbps: float, quality: float = 5) -> Waveform:
    """Encode as MP3 (LAME, constant bit rate, mono) and decode.

    LAME turns the level down by 6 %, as it does for everyone; this is part of the damage. Where the format lacks a bit
    rate at the waveform's own rate (8 to 24 kbps from 32 kHz up), LAME encodes at a lower sample rate, as it does for
    everyone; above 160 kbps up to 24 kHz, it takes 160.

    Args:
        waveform: ``(samples,)``.
        scene: its sample rate counts.
        kbps: 1000 bits per second; the format's nearest is taken.
        quality: how hard LAME tries, 0 (most) to 9; the band is the same. ffmpeg takes 5 and LAME itself 3, which costs
            up to a quarter more. From 7 on, noise is not shaped: half the time of 5, but speech comes out 1 dB (at 32
            kbps) to 4 dB (at 64) closer to the original than in the MP3s that people have.
    """

    def roundtrip(padded: Waveform, rate: int) -> Waveform:
        padded = fitted(padded, max(padded.size, int(np.ceil(_MP3_SHORTEST_SECONDS * rate))))
        return fast_mp3_augment.compress_roundtrip(padded, rate, _mp3_kbps(kbps), quality=round(quality))

    return _coded(waveform, scene.sample_rate, _next(_MP3_RATES, scene.sample_rate), roundtrip)


def opus(waveform: Waveform, scene: Scene, *, kbps: float) -> Waveform:
    """Encode as Opus (RFC 6716, variable bit rate, mono) and decode.

    Args:
        waveform: ``(samples,)``.
        scene: its sample rate counts.
        kbps: 1000 bits per second aimed at, 6 to 256; Ogg adds about 2.
    """
    lowest, highest = _OPUS_KBPS
    level = (highest - kbps) / (highest - lowest)

    def roundtrip(scaled: Waveform, rate: int) -> Waveform:
        return _aligned(_through_file(scaled, rate, "OGG", "OPUS", level), scaled)

    return _coded(waveform, scene.sample_rate, _next(_OPUS_RATES, scene.sample_rate), roundtrip)


def vorbis(waveform: Waveform, scene: Scene, *, quality: float) -> Waveform:
    """Encode as Ogg Vorbis (variable bit rate, mono) and decode.

    Args:
        waveform: ``(samples,)``.
        scene: its sample rate counts.
        quality: Vorbis's own scale, 0 to 10: at 48 kHz, about 52 kbps at 0 and 230 at 10.
    """
    return _coded(
        waveform,
        scene.sample_rate,
        scene.sample_rate,
        lambda scaled, rate: _through_file(scaled, rate, "OGG", "VORBIS", 1 - quality / 10),
    )


def mulaw(waveform: Waveform, scene: Scene, *, rate: float = TELEPHONE_RATE) -> Waveform:
    """Resample to ``rate`` Hz and quantise by ITU-T G.711 mu-law, 8 bits a sample.

    Args:
        waveform: ``(samples,)``, full scale 1, not changed.
        scene: sample rate and random numbers.
        rate: in Hz.
    """
    return _coded(waveform, scene.sample_rate, round(rate), lambda scaled, at: _through_file(scaled, at, "WAV", "ULAW"))


def alaw(waveform: Waveform, scene: Scene, *, rate: float = TELEPHONE_RATE) -> Waveform:
    """Resample to ``rate`` Hz and quantise by ITU-T G.711 A-law, 8 bits a sample.

    Args:
        waveform: ``(samples,)``, full scale 1, not changed.
        scene: sample rate and random numbers.
        rate: in Hz.
    """
    return _coded(waveform, scene.sample_rate, round(rate), lambda scaled, at: _through_file(scaled, at, "WAV", "ALAW"))


def gsm(waveform: Waveform, scene: Scene) -> Waveform:
    """Encode by GSM 06.10 full rate, 13 kbps at 8 kHz, and decode.

    Args:
        waveform: ``(samples,)``, full scale 1, not changed.
        scene: sample rate and random numbers.
    """
    return _coded(
        waveform, scene.sample_rate, TELEPHONE_RATE, lambda scaled, rate: _through_file(scaled, rate, "WAV", "GSM610")
    )


def bits(waveform: Waveform, scene: Scene, *, bits: float) -> Waveform:
    """Round to ``bits`` bits a sample, full scale being +-1; silence stays silence.

    Args:
        waveform: ``(samples,)``, full scale 1, not changed.
        scene: sample rate and random numbers.
        bits: of a sample; half bits are allowed.
    """
    steps = np.float32(2 ** (round(bits) - 1))

    def rounded(scaled: Waveform, rate: int) -> Waveform:
        return np.asarray(np.clip(np.round(scaled * steps), -steps, steps - 1) / steps, dtype=np.float32)

    return _coded(waveform, scene.sample_rate, scene.sample_rate, rounded)


def mp3_cutoff_hz(sample_rate: int, *, kbps: float, quality: float = 5) -> float | None:
    """Return where MP3 at a bit rate ends the band, at any quality, measured once; None where it keeps it.

    Args:
        sample_rate: in Hz.
        kbps: bit rate.
        quality: of the encoder; it does not move the cutoff.
    """
    return _measured_cutoff_hz("mp3", sample_rate, _mp3_kbps(kbps))


def opus_cutoff_hz(sample_rate: int, *, kbps: float) -> float | None:
    """Return where Opus at a bit rate (to the nearest kbps) ends the band, measured once; None where it keeps it.

    Args:
        sample_rate: in Hz.
        kbps: bit rate.
    """
    return _measured_cutoff_hz("opus", sample_rate, round(kbps))


def vorbis_cutoff_hz(sample_rate: int, *, quality: float) -> float | None:
    """Return where Vorbis at a quality (to the nearest whole) ends the band, measured once; None where it keeps it.

    Args:
        sample_rate: in Hz.
        quality: of the encoder, -1 to 10.
    """
    return _measured_cutoff_hz("vorbis", sample_rate, round(quality))


@functools.cache
def _measured_cutoff_hz(codec: str, sample_rate: int, setting: int) -> float | None:
    """Send white noise through a codec; its band ends where 20 dB are missing against the middle of speech."""
    codecs: dict[str, Callable[[Waveform, Scene], Waveform]] = {
        "mp3": functools.partial(mp3, kbps=setting),
        "opus": functools.partial(opus, kbps=setting),
        "vorbis": functools.partial(vorbis, quality=setting),
    }
    scene = Scene(sample_rate, np.random.default_rng(0))
    noise = scene.rng.standard_normal(round(_NOISE_SECONDS * sample_rate), dtype=np.float32) * np.float32(_NOISE_LEVEL)
    hertz, before = scipy.signal.welch(noise, sample_rate, nperseg=1024)
    after = scipy.signal.welch(codecs[codec](noise, scene), sample_rate, nperseg=1024)[1]
    lost_db = 10 * np.log10((before + 1e-20) / (after + 1e-20))
    lowest, highest = _SPEECH_BAND_HZ
    usual_db = np.median(lost_db[(hertz >= lowest) & (hertz <= highest)])
    cutoff_hz = float(hertz[lost_db < usual_db + _GONE_DB][-1])
    return cutoff_hz if cutoff_hz < _WHOLE * sample_rate / 2 else None


def _coded(waveform: Waveform, sample_rate: int, codec_rate: int, codec: _Codec) -> Waveform:
    peak = max(1.0, float(np.abs(waveform).max(initial=0.0)))
    scaled = waveform / np.float32(peak) if peak > 1 else waveform
    # Resampling overshoots; what a codec would clip is as little as what a sound card does.
    decoded = codec(resample(scaled, sample_rate, codec_rate), codec_rate)
    restored = fitted(resample(decoded, codec_rate, sample_rate), waveform.size)
    return restored * np.float32(peak) if peak > 1 else restored


def _through_file(
    waveform: Waveform, sample_rate: int, container: str, subtype: str, compression_level: float | None = None
) -> Waveform:
    """Write a file in memory and read it: libsndfile's codecs give back what they were given, and as much."""
    stream = io.BytesIO()
    soundfile.write(
        stream, waveform, sample_rate, format=container, subtype=subtype, compression_level=compression_level
    )
    stream.seek(0)
    return fitted(soundfile.read(stream, dtype="float32")[0], waveform.size)


def _aligned(decoded: Waveform, waveform: Waveform) -> Waveform:
    """Undo the lag of a few samples that Opus's modes leave.

    At 48 kHz it is 2 samples early where SILK codes up to 8 kHz, 3 late where it codes up to 4, and none for CELT. The
    encoder chooses by what it hears, so the lag is measured, not tabulated.
    """
    furthest = min(_OPUS_FURTHEST_LAG, waveform.size - 1)

    def agreement(lag: int) -> float:
        late, early = decoded[max(lag, 0) :], waveform[max(-lag, 0) :]
        shared = min(late.size, early.size)
        return float(np.dot(late[:shared], early[:shared]))

    # Sorted by size, so that equals (silence) stay where they are.
    lag = max(sorted(range(-furthest, furthest + 1), key=abs), key=agreement)
    return fitted(decoded[lag:], waveform.size) if lag >= 0 else np.pad(decoded, (-lag, 0))[: waveform.size]


def _mp3_kbps(kbps: float) -> int:
    return min(_MP3_KBPS, key=lambda one: abs(one - kbps))


def _next(rates: tuple[int, ...], rate: int) -> int:
    """The lowest of a codec's rates that holds all of the waveform's band, or else its highest."""
    return next((one for one in rates if one >= rate), rates[-1])
