"""Delays and lengths: known shifts are found, and what is cut leaves the same samples."""

import numpy as np
import pytest
import soundfile

from experiments.scoring.alignment import NotFitting, excess_seconds, find_delay, find_delay_samples, fit

RATE = 16000


def noise(samples=RATE, seed=0):
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def shifted(waveform, delay):
    silence = np.zeros(abs(delay), dtype=np.float32)
    return np.concatenate([silence, waveform]) if delay >= 0 else waveform[-delay:]


@pytest.mark.parametrize("delay", [0, 1, -1, 7, 480, -1600, 15000])
@pytest.mark.parametrize("gain", [1.0, -0.3])
def test_a_shift_is_found_whatever_gain_and_sign(delay, gain):
    late = gain * shifted(noise(), delay) + 0.1 * noise(len(shifted(noise(), delay)), seed=1)
    assert find_delay_samples(late.astype(np.float32), noise(), RATE) == delay
    by_hand = np.correlate(np.pad(late, (0, 1)), noise(), "full")
    assert int(np.abs(by_hand).argmax()) - (RATE - 1) == delay


def test_unlike_waveforms_and_silence_have_no_delay():
    assert find_delay_samples(noise(seed=1), noise(), RATE) is None
    assert find_delay_samples(np.zeros(RATE, dtype=np.float32), noise(), RATE) is None
    assert find_delay_samples(noise(10), noise(10), RATE) == 0


@pytest.mark.parametrize("delay", [0, 160, -160])
@pytest.mark.parametrize("tail", [-80, 0, 80])
def test_fitted_samples_are_the_references_own(delay, tail):
    target = noise()
    late = shifted(target, delay)
    estimate = np.concatenate([late, noise(tail, seed=1)]) if tail > 0 else late[: len(late) + tail]
    fitted = fit(estimate, RATE, len(target), RATE, delay / RATE, 0.005)
    np.testing.assert_array_equal(fitted.waveform, target[fitted.covered])
    assert len(fitted.waveform) >= len(target) - abs(delay) - max(-tail, 0)


def test_a_system_of_known_delay_may_have_lost_its_end():
    target = noise()
    fitted = fit(shifted(target, 1600)[: len(target)], RATE, len(target), RATE, 0.1, 0.0)
    np.testing.assert_array_equal(fitted.waveform, target[:-1600])
    assert fitted.notes == ("delay of 1600 samples removed", "reference's last 1600 samples not scored")


@pytest.mark.parametrize(
    ("estimate", "delay", "excess"),
    [
        (1.0, 0.0, 0.0),
        (1.2, 0.0, 0.2),
        (0.8, 0.0, 0.2),
        (1.2, 0.2, 0.0),
        (1.0, 0.2, 0.0),
        (1.3, 0.2, 0.1),
        (0.9, 0.2, 0.1),
        (0.8, -0.2, 0.0),
        (1.0, -0.2, 0.0),
        (0.7, -0.2, 0.1),
        (1.1, -0.2, 0.1),
    ],
)
def test_what_a_delay_explains_is_no_excess(estimate, delay, excess):
    assert excess_seconds(estimate, 1.0, delay) == pytest.approx(excess)


def test_too_different_lengths_are_said():
    with pytest.raises(NotFitting, match="15000 samples against the reference's 16000 at 16000 Hz"):
        fit(noise(15000), RATE, RATE, RATE, 0.0, 0.05)
    assert fit(noise(15200), RATE, RATE, RATE, 0.0, 0.05).covered == slice(0, 15200)


def test_files_are_compared_at_their_references_rate(tmp_path):
    pairs = []
    for number, delay in enumerate((80, 80, 80, 4000)):
        target = noise(seed=number)
        paths = tmp_path / f"estimate{number}.wav", tmp_path / f"reference{number}.wav"
        for path, waveform in zip(paths, (shifted(target, delay), target), strict=True):
            soundfile.write(path, waveform, RATE, subtype="FLOAT")
        pairs.append(paths)
    found = find_delay(pairs)
    assert (found.seconds, found.low, found.high, found.files) == (0.005, 0.005, 0.25, 4)
    assert found.constant
    assert not find_delay(pairs[2:]).constant
    pairs[0][0].write_text("no audio")
    assert find_delay(pairs[:1]) is None
