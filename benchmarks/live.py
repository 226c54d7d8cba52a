"""`overtone live` without a sound card: what is missed, how late it is and how busy, over minutes on one machine.

PulseAudio, started here with a folder of its own, has one null sink of two channels. Its left channel is where speech
is played and where the microphone listens; its right channel is where `overtone live` plays. A recording of that sink
holds what went in beside what came out, under one clock, so that the latency between them is measured exactly.

`make benchmark-live`, or `python -m benchmarks.live --seconds 60`. It needs Debian's packages pulseaudio,
pulseaudio-utils, libasound2-plugins and libportaudio2.
"""

import argparse
import contextlib
import ctypes.util
import importlib.util
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 48_000
INPUT_RATE = 8_000
SPEECH_SECONDS = 20.0
PIECE_SECONDS = 10.0
SINKS = """
load-module module-native-protocol-unix
load-module module-null-sink sink_name=hall rate=48000 channels=2 channel_map=front-left,front-right
load-module module-remap-sink sink_name=spoken master=hall channels=1 channel_map=mono \
master_channel_map=front-left remix=no
load-module module-remap-sink sink_name=heard master=hall channels=1 channel_map=mono \
master_channel_map=front-right remix=no
load-module module-remap-source source_name=microphone master=hall.monitor channels=1 channel_map=mono \
master_channel_map=front-left remix=no
"""
ALSA_DEVICES = """
pcm.microphone { type pulse device microphone }
pcm.heard { type pulse device heard }
pcm.!default { type pulse }
"""
Recorded = NDArray[np.float32]


def missing_components() -> str:
    """Return what is missing to run without a sound card, as a sentence; empty when all is there."""
    missing = [name for name in ("pulseaudio", "pactl", "paplay", "parec") if not shutil.which(name)]
    missing += [] if ctypes.util.find_library("portaudio") else ["libportaudio2"]
    plugins = list(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so"))
    missing += [] if plugins else ["libasound2-plugins"]
    missing += [] if importlib.util.find_spec("sounddevice") else ["sounddevice"]
    return f"Not installed: {', '.join(missing)}." if missing else ""


class SoundServer:
    """A PulseAudio server of one's own, with a microphone and a loudspeaker that are cables.

    Args:
        folder: for its socket and settings.

    Attributes:
        environment: of programs that use it.
    """

    def __init__(self, folder: Path) -> None:
        self._script = folder / "sinks.pa"
        self._script.write_text(SINKS)
        (folder / ".asoundrc").write_text(ALSA_DEVICES)
        (folder / "run").mkdir(mode=0o700)
        own = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder / "run"), "XDG_CONFIG_HOME": str(folder)}
        others = {name: value for name, value in os.environ.items() if not name.startswith(("PULSE", "ALSA"))}
        self.environment = others | own
        self._log = folder / "pulseaudio.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until its devices are there.

        Raises:
            RuntimeError: it does not start within a minute.
        """
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "-F", str(self._script)], env=self.environment, stdout=log, stderr=log
            )
        for _ in range(600):
            time.sleep(0.1)
            done = subprocess.run(["pactl", "list", "short", "sources"], env=self.environment, capture_output=True)
            if b"microphone" in done.stdout:
                return
        raise RuntimeError(f"PulseAudio did not start: {self._log.read_text()[-500:]}")

    def kill(self) -> None:
        """End it at once, as when a device is pulled."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def play(self, path: Path) -> subprocess.Popen[bytes]:
        """Start to play a file into the microphone's cable."""
        return subprocess.Popen(["paplay", "--device=spoken", str(path)], env=self.environment)

    @contextlib.contextmanager
    def recording(self, path: Path) -> Iterator[None]:
        """Write to a file, while this is open, what goes in (left) and what comes out (right).

        Args:
            path: of raw float32, 48 kHz, two channels; see `recorded`.
        """
        form = ["--rate=48000", "--channels=2", "--format=float32le", "--raw"]
        recorder = subprocess.Popen(["parec", "--device=hall.monitor", *form, str(path)], env=self.environment)
        try:
            yield
        finally:
            recorder.terminate()
            recorder.wait()


@contextlib.contextmanager
def sound_server() -> Iterator[SoundServer]:
    """Yield a server that runs; it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="overtone-sound-") as folder:
        server = SoundServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()


def write_speech(path: Path, seconds: float = SPEECH_SECONDS) -> None:
    """Write made-up syllables at 8 kHz: harmonics of a moving pitch up to 3.4 kHz, and hiss between them.

    Args:
        path: of the file.
        seconds: of speech.
    """
    time_axis = np.arange(round(seconds * INPUT_RATE)) / INPUT_RATE
    pitch = 140 * (1 + 0.15 * np.sin(2.3 * time_axis) + 0.05 * np.sin(7.1 * time_axis))
    phase = 2 * np.pi * np.cumsum(pitch) / INPUT_RATE
    voiced = np.sum([np.sin(k * phase + k * k) / k for k in range(1, 18)], axis=0)
    hiss = in_band(np.random.default_rng(0).standard_normal(len(phase)), INPUT_RATE, 300, 3400)
    envelope = np.clip(np.sin(2 * np.pi * 2.7 * time_axis), 0, 1) ** 0.5
    gaps = np.clip(-np.sin(2 * np.pi * 2.7 * time_axis), 0, 1) ** 2
    speech = 0.1 * voiced * envelope + 0.02 * hiss * gaps
    soundfile.write(path, speech, INPUT_RATE)


def in_band(waveform: NDArray[Any], rate: int, lowest_hz: float, highest_hz: float) -> NDArray[Any]:
    """Return a band of a waveform, cut out of its whole spectrum.

    Args:
        waveform: ``(samples,)`` or ``(samples, channels)``.
        rate: in Hz.
        lowest_hz: where the band begins.
        highest_hz: where it ends.
    """
    spectrum = np.fft.rfft(waveform, axis=0)
    frequencies = np.fft.rfftfreq(len(waveform), 1 / rate)
    spectrum[(frequencies < lowest_hz) | (frequencies > highest_hz)] = 0
    return np.fft.irfft(spectrum, len(waveform), axis=0)


def recorded(path: Path) -> Recorded:
    """Return a recording as ``(samples, 2)``: what went in, what came out."""
    samples = np.fromfile(path, np.float32)
    return samples[: len(samples) // 2 * 2].reshape(-1, 2)


def measured_latency(recording: Recorded) -> int:
    """Return the lag in samples at which what came out resembles most what went in, within half a second."""
    size = 2 ** int(np.ceil(np.log2(len(recording) + RATE)))
    spectra = np.fft.rfft(recording, size, axis=0)
    return int(np.argmax(np.fft.irfft(spectra[:, 1] * spectra[:, 0].conj(), size)[: RATE // 2]))


def gaps(recording: Recorded, latency: int) -> int:
    """Return how many times what came out, below 3 kHz, was silent for 10 ms although what went in was not.

    Args:
        recording: ``(samples, 2)``: in, out.
        latency: in samples; a correction may change it by a few milliseconds.
    """
    hop, hops = RATE // 400, 4
    low = in_band(recording, RATE, 50, 3000)
    count = (len(low) - latency) // hop
    powers = [
        np.convolve((part[: count * hop].reshape(-1, hop) ** 2).mean(axis=1), np.full(hops, 1 / hops), "valid")
        for part in (low[:, 0], low[latency:, 1])
    ]
    around = np.pad(powers[0], hops, mode="edge")
    given = np.lib.stride_tricks.sliding_window_view(around, 2 * hops + 1).min(axis=1)
    silent = (powers[1] < 0.3 * given) & (given > 1e-2 * given.max())
    return int(np.count_nonzero(np.diff(silent.astype(int), prepend=0) == 1))


def added_band_db(recording: Recorded) -> float:
    """Return how much stronger what came out is above 5 kHz than what went in, in the median over blocks of 10 ms."""
    high = in_band(recording, RATE, 5000, RATE / 2)
    powers = (high[: len(high) // 480 * 480].reshape(-1, 480, 2) ** 2).mean(axis=1)
    before, after = np.median(powers, axis=0) + 1e-12
    return float(10 * np.log10(after / before))


def main() -> None:
    """Run, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (600)")
    parser.add_argument("--buffer", default="0", help="of each device in ms, 0 for the least that it offers (0)")
    options = parser.parse_args()
    if missing := missing_components():
        sys.exit(missing)
    with sound_server() as server, tempfile.TemporaryDirectory() as folder:
        speech, raw = Path(folder) / "speech.wav", Path(folder) / "recording.raw"
        write_speech(speech, options.seconds)
        command = [sys.executable, "-m", "overtone.cli.main", "live", "--input", "microphone", "--output", "heard"]
        command += ["--buffer", options.buffer]
        program = subprocess.Popen(command, env=server.environment, stdout=subprocess.PIPE, text=True)
        time.sleep(5)
        with server.recording(raw):
            server.play(speech).wait()
        program.terminate()
        said = program.communicate()[0]
        report(recorded(raw), said, options.seconds)


def report(recording: Recorded, said: str, seconds: float) -> None:
    """Print what a recording shows beside what the program said.

    Args:
        recording: ``(samples, 2)``: in, out.
        said: the program's output.
        seconds: of speech.
    """
    pieces = np.array_split(recording, max(round(len(recording) / RATE / PIECE_SECONDS), 1))
    latencies = [measured_latency(piece) for piece in pieces]  # corrections change it by milliseconds
    found = sum(gaps(piece, latency) for piece, latency in zip(pieces, latencies, strict=True))
    stated = [float(found) for found in re.findall(r"Latency (\d+) ms", said)]
    busy = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(said.strip().splitlines()[-1])
    print(f"{seconds:.0f} s of speech, {found} gaps of 10 ms or more")
    middle, most = 1000 * np.percentile(latencies, [50, 100]) / RATE
    print(f"Latency measured {middle:.0f} ms (at most {most:.0f}), stated {np.median(stated):.0f} ms")
    print(f"Above 5 kHz {added_band_db(recording):.0f} dB more than in the input")
    print(f"Processor time of all programs {(busy.ru_utime + busy.ru_stime) / seconds:.1%} of a core")


if __name__ == "__main__":
    main()
