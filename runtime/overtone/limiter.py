"""Peaks of a stream that nobody can scale afterwards, kept below full scale without looking ahead."""

import numpy as np

from overtone.audio import Waveform

KNEE = 0.9


def softly_limited(samples: Waveform) -> Waveform:
    """Bend what exceeds 0.9 of full scale towards full scale, which it never reaches; leave all else unchanged.

    It has no memory, so that it does not depend on the sizes of blocks. Slope and value are continuous at the knee.
    """
    room = np.float32(1 - KNEE)
    size = np.abs(samples)
    bent = KNEE + room * np.tanh((size - KNEE) / room)
    return np.where(size <= KNEE, samples, np.copysign(bent, samples)).astype(np.float32)
