"""A system from outside: a command over a folder or a file that does its work, or fails in the way that it is told."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import soundfile

MODE, GIVEN, MADE = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
DELAY_SECONDS = 0.01


def enhanced(waveform, rate):
    """Samples and rate."""
    if MODE == "shortens":
        return waveform[: len(waveform) // 2], rate
    if MODE == "resamples":
        return np.repeat(waveform, 2), 2 * rate
    if MODE == "delays":
        return np.concatenate([np.zeros(round(DELAY_SECONDS * rate), np.float32), waveform]), rate
    return waveform, rate


if MODE == "fails":
    print("no weights here")
    sys.exit(3)
if MODE == "hangs":
    time.sleep(600)
if "COUNTER" in os.environ:
    with open(os.environ["COUNTER"], "a") as counter:
        counter.write("run\n")
paths = sorted(GIVEN.glob("*.wav")) if GIVEN.is_dir() else [GIVEN]
for path in paths:
    target = MADE / path.name if MADE.is_dir() else MADE
    if MODE == "writes_rubbish":
        target.write_bytes(b"Dear Sir or Madam")
    else:
        soundfile.write(target, *enhanced(*soundfile.read(path, dtype="float32")), subtype="FLOAT")
    if MODE == "stops":
        sys.exit(4)
