"""Where the input's own content ends, found while it comes."""

import numpy as np
from numpy.typing import NDArray

from runtime.short_time import Spectra

BAND_HZ = 250.0


class BandwidthTracker:
    """Finds nothing yet."""

    def __init__(self, channels: int, sample_rate: int, n_fft: int, hop_samples: int, upper_hz: float) -> None:
        self.bandwidth_hz: NDArray[np.float64] = np.zeros(channels)

    def __call__(self, spectra: Spectra) -> NDArray[np.float64]:
        """Return the bandwidth after each frame."""
        return np.zeros(spectra.shape[:2])
