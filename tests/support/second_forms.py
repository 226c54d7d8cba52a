"""The measures once more, from their definitions, frame by frame: what the quick ones are checked against."""

from itertools import pairwise

import librosa
import numpy as np

HANN = {"window": "hann", "center": True, "pad_mode": "reflect", "dtype": np.complex128}


def librosa_magnitude(waveform, n_fft, hop_length, win_length=None):
    wide = np.asarray(waveform, dtype=np.float64)
    return np.abs(librosa.stft(wide, n_fft=n_fft, hop_length=hop_length, win_length=win_length, **HANN))


def lsd(preds, target, rate=1, low_hz=0.0, high_hz=np.inf):
    """AP-BWE's: ``cal_metrics.py``, on librosa; bins split as NU-Wave 2 does."""
    first, last = (int(1025 * min(2 * hz / rate, 1)) for hz in (low_hz, high_hz))
    logs = [np.log10(np.clip(librosa_magnitude(one, 2048, 512) ** 2, 1e-8, None)) for one in (preds, target)]
    return np.mean(np.sqrt(np.mean((logs[1] - logs[0])[first:last] ** 2, axis=0)))


def lsd_ssr_eval(preds, target, rate):
    given, wanted = (librosa_magnitude(one, int(2048 / (44100 / rate)), int(rate / 100)).T for one in (preds, target))
    logs = np.log10(wanted**2 / ((given + 1e-12) ** 2) + 1e-12) ** 2
    return np.mean(np.mean(logs, axis=1) ** 0.5)


def lsd_kuleshov(preds, target):
    given, wanted = (np.log(librosa_magnitude(one, 2048, 512) ** 2 + 1e-8) for one in (preds, target))
    return min(np.mean(np.sqrt(np.mean((given - wanted) ** 2 + 1e-8, axis=1)), axis=0), 10.0)


def mr_stft(preds, target):
    scores = []
    for n_fft, hop_length, win_length in ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)):
        given, wanted = (
            np.sqrt(np.clip(librosa_magnitude(one, n_fft, hop_length, win_length) ** 2, 1e-7, None))
            for one in (preds, target)
        )
        convergence = np.linalg.norm(wanted - given) / np.linalg.norm(wanted)
        scores.append(convergence + np.mean(np.abs(np.log(wanted) - np.log(given))))
    return np.mean(scores)


def frames(waveform, rate):
    """Spectra of 64 ms every 32 ms, and the frequencies of their bins."""
    length, hop = round(0.064 * rate), round(0.032 * rate)
    window = np.hanning(length + 1)[:-1]
    starts = range(0, len(waveform) - length + 1, hop)
    powers = [np.abs(np.fft.rfft(window * np.float64(waveform[start : start + length]))) ** 2 for start in starts]
    return powers, np.fft.rfftfreq(length, 1 / rate)


def band_masks(frequencies, rate, cutoff_hz, band_hz):
    limits = np.linspace(1.02 * cutoff_hz, 0.98 * min(band_hz, rate / 2), 10)
    return [(frequencies >= low) & (frequencies < high) for low, high in pairwise(limits)]


def tonality(preds, target, rate, cutoff_hz, band_hz):
    given, frequencies = frames(preds, rate)
    wanted, _ = frames(target, rate)
    masks = band_masks(frequencies, rate, cutoff_hz, band_hz)
    missing = np.any(masks, axis=0)
    loudest = max(one[missing].sum() for one in wanted)
    energies = [one[frequencies <= 1500].sum() * 2 - one[0] for one in wanted]
    differences = []
    for one, other, energy in zip(given, wanted, energies, strict=True):
        active = other[missing].sum() >= 1e-4 * loudest
        if active and energy > 1e-4 * max(energies) and voiced(other, frequencies, rate):
            differences.append(np.mean([flatness(one[mask]) - flatness(other[mask]) for mask in masks]))
    return abs(np.mean(differences)), len(differences)


def voiced(power, frequencies, rate):
    """Boersma's normalised autocorrelation of what is below 1.5 kHz, over the window's own."""
    length = 2 * (len(power) - 1)
    window = np.hanning(length + 1)[:-1]
    own = np.correlate(window, window, "full")[length - 1 :]
    inside = np.fft.irfft(np.where(frequencies <= 1500, power, 0.0))
    lags = np.arange(int(rate / 400), int(np.ceil(rate / 60)) + 2)
    return max(inside[lags] / inside[0] / (own[lags] / own[0])) > 0.6


def flatness(power):
    power = np.maximum(power, 1e-30)
    return 10 * np.log10(np.exp(np.mean(np.log(power))) / np.mean(power))


def excess_above_band(preds, target, rate, band_hz):
    given, frequencies = frames(preds, rate)
    wanted, _ = frames(target, rate)
    edge = 0.95 * band_hz
    above, below = frequencies > 1.02 * band_hz, (frequencies > edge - 1000) & (frequencies <= edge)
    return max(-100, 10 * np.log10(sum(one[above].sum() for one in given) / sum(one[below].sum() for one in wanted)))


def hallucination(preds, target, rate, cutoff_hz, band_hz):
    given, frequencies = frames(preds, rate)
    wanted, _ = frames(target, rate)
    missing = np.any(band_masks(frequencies, rate, cutoff_hz, band_hz), axis=0)
    loudest = max(one[missing].sum() for one in wanted)
    invented = [
        one[missing].sum() for one, other in zip(given, wanted, strict=True) if other[missing].sum() < 1e-5 * loudest
    ]
    return max(-100, 10 * np.log10(np.mean(invented) / loudest)), len(invented)


def seam(preds, target, rate, block_samples):
    half = round(0.005 * rate)
    breaks = []
    for border in range(block_samples, len(target) - half - 1, block_samples):
        if border > half and np.sqrt(np.mean(np.float64(target[border - half : border + half]) ** 2)) > 1e-3:
            breaks.append([break_db(np.float64(one), border, half) for one in (preds, target)])
    middle = np.median(breaks, axis=0)
    return middle[0] - middle[1]


def break_db(waveform, border, half):
    curvature = [abs(waveform[n - 1] - 2 * waveform[n] + waveform[n + 1]) for n in range(border - half, border + half)]
    peak = max(1e-12, *curvature[half - 1 : half + 1])
    return 20 * np.log10(peak / np.sqrt(np.mean(np.square(curvature))))


def fwsnrseg(preds, target, rate):
    """Loizou's frequency-weighted segmental SNR, a frame and a band at a time."""
    length = round(0.03 * rate)
    n_fft = 2 ** int(np.ceil(np.log2(2 * length)))
    bins = np.arange(n_fft // 2)
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, length + 1) / (length + 1)))
    found = []
    for start in range(0, len(target) - length - length // 4 + 1, length // 4):
        spectra = []
        for waveform in (preds, target):
            magnitude = np.abs(np.fft.fft(waveform[start : start + length] * window, n_fft))[: n_fft // 2]
            spectra.append(magnitude / magnitude.sum())
        weighted = weights = 0.0
        for centre, width in zip(CRITICAL_CENTRES, CRITICAL_WIDTHS, strict=True):
            away = (bins - int(centre * n_fft / rate)) / (width * n_fft / rate)
            band = np.exp(-11 * away**2 + np.log(70.0) - np.log(width))
            band[band <= np.exp(-30 / 4.606)] = 0.0
            given, wanted = (float(band @ spectrum) for spectrum in spectra)
            ratio = 20 * np.log10(wanted / max(abs(wanted - given), 1.5e-8))
            weighted += wanted**0.2 * min(max(ratio, -10.0), 35.0)
            weights += wanted**0.2
        found.append(weighted / weights)
    return np.mean(found)


CRITICAL_CENTRES = [*range(50, 541, 70), 617.372, 703.378, 798.717, 904.128, 1020.38, 1148.30, 1288.72, 1442.54]
CRITICAL_CENTRES += [1610.70, 1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17, 3597.63]
CRITICAL_WIDTHS = [70.0] * 7 + [77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423, 153.823, 168.154]
CRITICAL_WIDTHS += [183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465, 346.136]


def mcd(preds, target, rate):
    """Mel-cepstral distance from librosa's mel spectra and orthonormal cepstra."""
    n_fft, cepstra = round(0.064 * rate), []
    options = {"n_fft": n_fft, "hop_length": round(0.032 * rate), "center": False}
    for waveform in (preds, target):
        mel = librosa.feature.melspectrogram(
            y=waveform.astype(np.float64), sr=rate, n_mels=80, htk=True, norm=None, **options
        )
        cepstra.append(librosa.feature.mfcc(S=np.log(np.maximum(mel, 1e-8)), n_mfcc=25)[1:])
    energy = (np.abs(librosa.stft(target.astype(np.float64), **options)) ** 2).sum(axis=0)
    difference = (cepstra[0] - cepstra[1])[:, energy >= 1e-4 * energy.max()]
    return np.mean(10 / np.log(10) * np.sqrt((difference**2).sum(axis=0) / 80))
