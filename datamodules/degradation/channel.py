"""Steps that transmit and record badly: radio and line noise, clipping, lost packets, a wrong level."""

import numpy as np

from datamodules.degradation.backgrounds import at_snr
from datamodules.degradation.noise import hum
from datamodules.degradation.scene import Scene
from overtone.audio import Waveform

CONCEALMENTS = ("zero", "repeat")

_MAINS_HZ = (50.0, 60.0)
_CRACKLES_PER_SECOND = (5.0, 50.0)
_CRACKLE_SECONDS = 0.002
_FADES_PER_SECOND = 2.0
# What is repeated again is turned down, as in Appendix I of G.711, so that a long gap does not buzz.
_REPEAT_GAIN = np.float32(0.5)


def transmission(waveform: Waveform, scene: Scene, *, snr_db: float, fading_db: float = 6.0) -> Waveform:
    """Send over a bad radio or telephone line: hiss, mains hum and crackle in random shares, and slow fading.

    Args:
        waveform: ``(samples,)``; silence stays silence.
        scene: its generator draws the shares, the mains frequency, the crackles and the fading.
        snr_db: between the active levels of the waveform before fading, and of all interference together.
        fading_db: how far the level sinks at most; about two fades a second.
    """
    interference = at_snr(_interference(waveform.size, scene), waveform, scene.sample_rate, snr_db)
    return waveform * _fading(waveform.size, scene, fading_db) + interference


def clip(waveform: Waveform, scene: Scene, *, db: float) -> Waveform:
    """Clip hard at ``db`` dB below the waveform's own peak.

    Args:
        waveform: ``(samples,)``, full scale 1, not changed.
        scene: sample rate and random numbers.
        db: how far below the peak, in dB.
    """
    threshold = float(np.abs(waveform).max(initial=0.0)) * 10 ** (-db / 20)
    return np.clip(waveform, -np.float32(threshold), np.float32(threshold))


def packet_loss(
    waveform: Waveform,
    scene: Scene,
    *,
    share: float,
    packet_ms: float = 20.0,
    burst: float = 1.0,
    concealment: str = "zero",
) -> Waveform:
    """Lose packets in bursts, by the two-state model of Gilbert (1960).

    Args:
        waveform: ``(samples,)``.
        scene: its generator draws where the first packet ends, and which are lost.
        share: of packets lost in the long run, 0 to 0.5.
        packet_ms: length of a packet in milliseconds.
        burst: packets lost in a row on average, from 1 on.
        concealment: ``zero`` leaves silence; ``repeat`` repeats the last packet that arrived, turned down by half
            from the second time on.
    """
    samples = max(1, round(packet_ms / 1000 * scene.sample_rate))
    start = int(scene.rng.integers(samples)) - samples
    lost = lost_packets(-((start - waveform.size) // samples), share, burst, scene.rng)
    received = waveform.copy()
    for number in np.flatnonzero(lost):
        first, last = max(0, start + int(number) * samples), start + (int(number) + 1) * samples
        gap, before = received[first:last], received[max(0, first - samples) : first]
        if concealment == "repeat" and before.size == samples:
            gap[:] = before[: gap.size] * (_REPEAT_GAIN if lost[number - 1] else 1)
        else:
            gap[:] = 0.0
    return received


def lost_packets(packets: int, share: float, burst: float, rng: np.random.Generator) -> np.ndarray:
    """Return which packets ``(packets,)`` are lost: a Markov chain that starts in its long run.

    Args:
        packets: how many are sent.
        share: of them that are lost in the long run, 0 to 1.
        burst: mean number of packets lost in a row.
        rng: source of random numbers.
    """
    lost = np.zeros(packets, dtype=bool)
    loses, recovers = share / (burst * (1 - share)), 1 / burst
    drawn = rng.random(packets + 1)
    state = drawn[-1] < share
    for number in range(packets):
        lost[number] = state
        state = drawn[number] >= recovers if state else drawn[number] < loses
    return lost


def gain(waveform: Waveform, scene: Scene, *, db: float) -> Waveform:
    """Scale by ``db`` decibels, without clipping.

    Args:
        waveform: ``(samples,)``, full scale 1, not changed.
        scene: sample rate and random numbers.
        db: in decibels.
    """
    return waveform * np.float32(10 ** (db / 20))


def _interference(samples: int, scene: Scene) -> Waveform:
    rng = scene.rng
    hiss_share, hum_share, crackle_share = rng.dirichlet(np.ones(3)).astype(np.float32)
    hiss = rng.standard_normal(samples, dtype=np.float32)
    mains = hum(samples, scene.sample_rate, rng, float(rng.choice(_MAINS_HZ)))
    return hiss_share * hiss + hum_share * mains + crackle_share * _crackle(samples, scene)


def _crackle(samples: int, scene: Scene) -> Waveform:
    """Clicks of random height, each a decaying burst of noise, of unit root mean square."""
    crackle = np.zeros(samples, np.float32)
    length = max(1, round(_CRACKLE_SECONDS * scene.sample_rate))
    decay = np.exp(-5 * np.arange(length, dtype=np.float32) / length)
    clicks = 1 + scene.rng.poisson(scene.rng.uniform(*_CRACKLES_PER_SECOND) * samples / scene.sample_rate)
    for start in scene.rng.integers(samples, size=clicks):
        part = crackle[start : start + length]
        part += decay[: part.size] * scene.rng.standard_normal(part.size, dtype=np.float32)
    return crackle / np.float32(np.sqrt(np.mean(np.square(crackle))) or 1.0)


def _fading(samples: int, scene: Scene, fading_db: float) -> Waveform:
    """A slowly varying gain ``(samples,)`` between 0 and -``fading_db`` dB."""
    points = 2 + int(np.ceil(samples / scene.sample_rate * 2 * _FADES_PER_SECOND))
    sunk_db = fading_db * scene.rng.random(points)
    every = scene.sample_rate / (2 * _FADES_PER_SECOND)
    curve = np.interp(np.arange(samples), np.arange(points) * every, sunk_db)
    return np.asarray(10 ** (-curve / 20), dtype=np.float32)
