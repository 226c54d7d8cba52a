"""Live sound without devices: original and enhanced equally late, switching, levels, the queue to the output."""

import numpy as np
import pytest

from overtone.enhancer import Enhancer
from overtone.live.playout import FADE, FIRST_RESERVE, STEP, WATCH, Playout, Tally
from overtone.live.processing import DelayedOriginal, LevelMeter, LiveProcessor
from overtone.model_package import load_model
from overtone.packed_models import default_model

BLOCK = 441


@pytest.fixture(scope="module")
def enhancer():
    return Enhancer(load_model(default_model("telephone")))


def speechlike(seconds, rate, highest_hz):
    rng = np.random.default_rng(5)
    spectrum = np.fft.rfft(rng.standard_normal(round(seconds * rate)))
    frequencies = np.fft.rfftfreq(round(seconds * rate), 1 / rate)
    spectrum[(frequencies > highest_hz) | (frequencies < 100)] = 0
    waveform = np.fft.irfft(spectrum)
    return (0.1 * waveform / waveform.std()).astype(np.float32)


def blocks(waveform, size=BLOCK):
    return [waveform[start : start + size] for start in range(0, len(waveform), size)]


@pytest.mark.parametrize(("rate", "output_rate"), [(16000, 16000), (44100, 48000), (48000, 44100), (8000, 48000)])
def test_enhanced_and_original_are_equally_late_and_equally_long(enhancer, rate, output_rate):
    waveform = speechlike(2.0, rate, 3000)
    processor = LiveProcessor(enhancer, rate, output_rate)
    enhanced = np.concatenate([processor.process(block) for block in blocks(waveform)])
    original = DelayedOriginal(rate, output_rate, round(processor.latency_seconds * output_rate))
    parts = [original.push(block) for block in blocks(waveform)]
    assert len(enhanced) == sum(map(len, parts)) == len(waveform) * output_rate // rate
    settled = slice(output_rate // 2, -10)
    expected = enhanced[settled]
    by_lag = [np.corrcoef(np.roll(np.concatenate(parts), lag)[settled], expected)[0, 1] for lag in range(-3, 4)]
    assert np.argmax(by_lag) == 3 and by_lag[3] > 0.99


def test_the_original_is_the_input_to_the_sample_and_the_switch_does_not_click(enhancer):
    waveform = speechlike(2.0, 16000, 3000)
    processor = LiveProcessor(enhancer, 16000, 16000)
    processor.enhanced = False
    heard = [processor.process(block) for block in blocks(waveform[:16000])]
    late = round(processor.latency_seconds * 16000)
    original = np.concatenate(heard)
    assert np.array_equal(original[late + 1000 :], waveform[1000 : 16000 - late])
    processor.enhanced = True
    after = np.concatenate([processor.process(block) for block in blocks(waveform[16000:])])
    whole = np.concatenate([original, after])
    stream = enhancer.stream(16000)
    enhanced = stream.push(waveform)
    assert np.abs(whole[16400:] - enhanced[16400:]).max() < 1e-6
    fade = (np.arange(320) + 1) / 320
    between = fade * enhanced[16000:16320] + (1 - fade) * waveform[16000 - late : 16320 - late]
    assert np.abs(whole[16000:16320] - between).max() < 1e-5


def test_samples_that_are_no_numbers_are_silence_and_loud_ones_stay_below_full_scale(enhancer):
    processor = LiveProcessor(enhancer, 16000, 16000)
    processor.process(np.full(800, np.nan, np.float32))
    assert processor.input_level.read() == -100
    processor.process(np.array([1e30, -1e30, np.inf, 1e7], np.float32))
    assert processor.input_level.read() == -100
    heard = np.concatenate([processor.process(block) for block in blocks(15 * speechlike(1.0, 16000, 3000))])
    assert np.isfinite(heard).all() and 0.9 < np.abs(heard).max() <= 1


def test_levels_are_peaks_since_they_were_last_read():
    meter = LevelMeter()
    meter.add(np.array([0.1, -0.5], np.float32))
    meter.add(np.array([0.2], np.float32))
    assert meter.read() == pytest.approx(-6.02, abs=0.01)
    assert meter.read() == -100


RATE, TENTH = 48000, 480  # blocks of 10 ms


class Clocks:
    """A player and a recorder with a clock each, in blocks of 10 ms."""

    def __init__(self, player_speed=1.0):
        self.tally = Tally()
        self.playout = Playout(RATE, self.tally)
        self.player_speed = player_speed
        self.now = self.due = 0.0
        self.sent = 0
        self.heard = []

    def run(self, seconds, *, sending=True):
        end = self.now + seconds
        while self.now < end - 1e-9:
            if sending:
                ramp = np.arange(self.sent, self.sent + TENTH, dtype=np.float32)
                self.playout.put(ramp, self.now)
                self.sent += TENTH
            self.now += 0.01
            while self.due < self.now:
                self.heard.append(self.playout.take(TENTH, self.due))
                self.due += 0.01 / self.player_speed

    def steps(self):
        heard = np.concatenate(self.heard)
        return np.diff(heard[np.flatnonzero(heard)[0] :])


def test_a_steady_stream_is_played_without_a_change_after_the_reserve():
    clocks = Clocks()
    clocks.run(10)
    assert np.all(clocks.steps() == 1)
    assert clocks.tally == Tally(0, 0)
    assert FIRST_RESERVE <= clocks.playout.age_seconds <= FIRST_RESERVE + 0.021


def test_a_gap_counts_until_the_larger_reserve_is_there_and_nothing_is_lost():
    clocks = Clocks()
    clocks.run(1)
    clocks.run(0.5, sending=False)
    assert clocks.tally.missed == 1
    age = clocks.playout.age_seconds
    clocks.run(10)
    assert clocks.tally == Tally(1, 0)
    assert clocks.playout.age_seconds == pytest.approx(age + STEP, abs=0.011)
    heard = np.concatenate(clocks.heard)
    assert np.all(np.diff(heard[heard > 0]) == 1)


@pytest.mark.parametrize("player_speed", [0.999, 1.001])
def test_clocks_that_drift_apart_cost_crossfades_instead_of_gaps(player_speed):
    clocks = Clocks(player_speed)
    clocks.run(120)  # 120 ms apart at the end
    assert clocks.tally.missed == 0
    assert 10 <= clocks.tally.corrections <= 25
    assert clocks.playout.age_seconds < FIRST_RESERVE + 0.03
    assert np.abs(clocks.steps()).max() <= 2.5 + STEP / FADE  # in a ramp; a cut without a fade is a step of hundreds


def test_what_piled_up_during_a_pause_is_left_out_soon():
    clocks = Clocks()
    clocks.run(1)
    clocks.playout.put(np.arange(clocks.sent, clocks.sent + RATE // 2, dtype=np.float32), clocks.now)
    clocks.sent += RATE // 2
    clocks.run(2 * WATCH + 0.1)
    assert clocks.tally == Tally(0, 1)
    assert clocks.playout._least < FIRST_RESERVE + STEP


def test_what_came_before_the_output_was_open_is_not_heard():
    clocks = Clocks()
    clocks.playout.put(np.arange(RATE, dtype=np.float32), 0.0)
    clocks.sent = RATE
    clocks.run(1)
    assert clocks.playout.age_seconds == pytest.approx(FIRST_RESERVE + 0.01, abs=0.011)
    assert np.all(clocks.steps() == 1)
