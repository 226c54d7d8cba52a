"""`python -m benchmarks.pages.triple SPEECH`: a recording as it goes in, comes out and ought to be, to see and to hear.

The picture and sounds that stand first in README.md and docs/index.md: 48 kHz speech, brought to 8 kHz and enhanced by
the `fullband` model that comes with the package.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import soundfile
import soxr

import overtone
from benchmarks.pages.page_command import run_page_command
from experiments.pages.spectrograms import spectrogram_row
from overtone.errors import OvertoneError
from overtone.files import written_whole

INPUT_RATE, OUTPUT_RATE = 8000, 48_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Make picture and sounds from the command line; a user's mistake is one line and status 2."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages.triple", description=__doc__)
    parser.add_argument("speech", type=Path, help=f"recording at {OUTPUT_RATE} Hz that no model was trained on")
    parser.add_argument("--start", type=float, default=0.0, help="where the excerpt begins, in seconds (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="its length (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("docs/triple"), help="folder (default %(default)s)")
    return run_page_command(make_triple, parser.parse_args(arguments))


def make_triple(options: argparse.Namespace) -> None:
    """Write ``triple.png`` and ``input.flac``, ``output.flac`` and ``target.flac``.

    Raises:
        OvertoneError: the recording has another rate.
    """
    speech, rate = soundfile.read(options.speech, dtype="float32", always_2d=True)
    if rate != OUTPUT_RATE:
        raise OvertoneError(f"{options.speech}: {rate} Hz, expected {OUTPUT_RATE}. Take a recording made at that rate.")
    first = round(options.start * rate)
    target = speech[first : first + round(options.seconds * rate), 0]
    narrowband = soxr.resample(target, OUTPUT_RATE, INPUT_RATE)
    enhanced, _ = overtone.load("fullband").enhance(narrowband, INPUT_RATE)
    sounds = {
        "input": (narrowband, INPUT_RATE),
        "output": (enhanced, OUTPUT_RATE),
        "target": (target, OUTPUT_RATE),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for name, (waveform, sample_rate) in sounds.items():
        with written_whole(options.out / f"{name}.flac") as temporary:
            soundfile.write(temporary, waveform, sample_rate, format="FLAC", subtype="PCM_16")
    shown = {"input": soxr.resample(narrowband, INPUT_RATE, OUTPUT_RATE), "output": enhanced, "target": target}
    figure = spectrogram_row(shown, OUTPUT_RATE, cutoff_hz=INPUT_RATE / 2, panel_inches=(4.2, 2.8))
    with written_whole(options.out / "triple.png") as temporary:
        figure.savefig(temporary, format="png")
    print(f"Picture and sounds: {options.out}")


if __name__ == "__main__":
    sys.exit(main())
