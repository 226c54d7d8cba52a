"""`overtone live` between devices of a PulseAudio server that the test starts: no sound card is needed."""

import os
import pty
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from processes import PATIENCE, wait_for

from benchmarks.live import (
    RATE,
    added_band_db,
    gaps,
    measured_latency,
    missing_components,
    recorded,
    sound_server,
    write_speech,
)
from overtone.worker_pool import available_cores

LIVE = [sys.executable, "-m", "overtone.cli.main", "live"]
SECONDS = 4.0
pytestmark = pytest.mark.skipif(bool(missing_components()), reason=missing_components() or "all is there")


@pytest.fixture(scope="module")
def server():
    with sound_server() as running:
        yield running


class Program:
    """The program with a keyboard, and what it says."""

    def __init__(self, server, folder, *options):
        self.output = folder / "said.txt"
        self._keyboard, terminal = pty.openpty()
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [*LIVE, *options], env=server.environment, stdin=terminal, stdout=output, stderr=output
            )
        os.close(terminal)

    def press(self, key):
        os.write(self._keyboard, key.encode())

    def said(self):
        return self.output.read_text()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._keyboard)


@pytest.fixture
def program(server, tmp_path):
    running = Program(server, tmp_path, "--input", "microphone", "--output", "heard")
    yield running
    running.end()


def through(server, folder):
    """What goes in while speech is played, beside what comes out."""
    speech, raw = folder / "speech.wav", folder / "recording.raw"
    write_speech(speech, SECONDS)
    with server.recording(raw):
        assert server.play(speech).wait() == 0
        time.sleep(0.3)
    return recorded(raw)


def without_a_gap(server, folder, holds):
    """A second of which something holds, in which all came out as it went in: a busy machine is late now and then."""
    end, attempts = time.monotonic() + PATIENCE, 0
    while time.monotonic() < end:
        if attempts > 1 and os.getloadavg()[0] > 2 * available_cores():
            pytest.skip("the machine is too busy for live sound")
        recording = through(server, folder)
        latency = measured_latency(recording)
        length = RATE + latency
        for start in range(RATE // 2, len(recording) - length, RATE // 4):
            second = recording[start : start + length]
            if gaps(second, latency) == 0 and holds(second):
                return second
        attempts += 1
    raise AssertionError("no such second without a gap")


def is_enhanced(recording):
    return added_band_db(recording) > 15


def stated_ms(program):
    """All latencies that the program has stated: each gap makes it keep a larger reserve, which is later."""
    return [float(line.split()[0]) for line in program.said().split("Latency ")[1:]]


def test_speech_comes_out_enhanced_until_the_end_whatever_the_devices_do(server, program, tmp_path):
    wait_for(lambda: "From microphone, ALSA (48000 Hz) to heard, ALSA (48000 Hz)." in program.said())
    recording = without_a_gap(server, tmp_path, is_enhanced)
    enhanced_ms = 1000 * measured_latency(recording) / RATE
    said = len(stated_ms(program))
    wait_for(lambda: len(stated_ms(program)) > said)
    assert enhanced_ms > 50 and min(abs(stated - enhanced_ms) for stated in stated_ms(program)) < 40

    program.press(" ")
    without_a_gap(server, tmp_path, lambda recording: added_band_db(recording) < 3)
    program.press(" ")

    server.kill()
    wait_for(lambda: "went away. Waiting for it to come back" in program.said())
    server.start()
    wait_for(lambda: program.said().count("From microphone") == 2)
    without_a_gap(server, tmp_path, is_enhanced)

    program.process.send_signal(signal.SIGINT)
    assert program.process.wait(PATIENCE) == 0
    last = program.said().splitlines()[-1]
    assert last.startswith("Ended after") and "missed blocks" in last
    assert "ALSA lib" not in program.said() and "Expression" not in program.said()


def run(server, *options):
    return subprocess.run([*LIVE, *options], env=server.environment, capture_output=True, text=True, timeout=PATIENCE)


def test_devices_are_listed(server):
    done = run(server, "--list")
    assert done.returncode == 0
    assert "input   microphone, ALSA" in done.stdout and "output  heard, ALSA" in done.stdout
    assert sum(line.startswith("*") for line in done.stdout.splitlines()) == 2  # the defaults


def test_an_unknown_device_is_an_error_with_what_to_do(server):
    done = run(server, "--input", "no such thing", "--output", "heard")
    assert done.returncode == 1
    assert done.stderr.startswith("overtone: --input no such thing:") and "overtone live --list" in done.stderr
    assert "Traceback" not in done.stderr


def test_gaps_are_found_where_they_are():
    rng = np.random.default_rng(1)
    speech = 0.1 * np.repeat(1 + np.sin(np.arange(400) / 7), 480) * rng.standard_normal(400 * 480)
    late = np.roll(speech, 5000)
    assert gaps(np.stack([speech, late], axis=1), 5000) == 0
    assert gaps(np.stack([speech, np.roll(late, 240)], axis=1), 5000) == 0
    loud = 5000 + 480 * 11
    for start in (loud, loud + 111, loud + 480 * 88):
        late[start : start + 480] = 0
    assert gaps(np.stack([speech, late], axis=1), 5000) == 2


def test_q_ends(server, tmp_path):
    program = Program(server, tmp_path, "--input", "microphone", "--output", "heard")
    try:
        wait_for(lambda: "From microphone" in program.said())
        program.press("q")
        assert program.process.wait(PATIENCE) == 0
    finally:
        program.end()
