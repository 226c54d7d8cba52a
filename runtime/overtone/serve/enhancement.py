"""One loaded model for all users: whole uploads through a queue, live streams each with a state of its own."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import numpy as np

from overtone.enhancer import Enhancer, EnhancerStream
from overtone.errors import OvertoneError
from overtone.model_package import load_model
from overtone.serve.limits import Limits
from overtone.serve.refusals import Refused
from overtone.serve.uploads import Samples, decode, encode

FULL_SCALE = 1.0 - 2.0**-23
AGAIN_SECONDS = 5


@dataclass(frozen=True)
class Enhanced:
    """An enhanced upload.

    Attributes:
        wav: a WAV file.
        audio_seconds: how long the audio is.
        processing_seconds: how long decoding, enhancing and encoding took.
        gain_db: the constant gain that kept the peak below full scale, 0 where none was needed.
    """

    wav: bytes
    audio_seconds: float
    processing_seconds: float
    gain_db: float


class Enhancement:
    """What the server does with its model.

    Args:
        model_dir: an exported package.
        limits: how many uploads at the same time, and how large.

    Raises:
        OvertoneError: the package does not load.
    """

    def __init__(self, model_dir: Path, limits: Limits) -> None:
        model = load_model(model_dir)
        self._enhancers = {denoise: Enhancer(model, denoise=denoise) for denoise in (False, True)}
        self.limits = limits
        self._places = threading.Semaphore(limits.workers + limits.waiting)
        self._workers = threading.Semaphore(limits.workers)
        self.name = model.name
        self.sample_rate = model.sample_rate
        self.latency_samples = self._enhancers[False].stream(model.sample_rate).latency_samples

    def facts(self) -> dict[str, object]:
        """What users may know of the model and the limits."""
        return {
            "name": self.name,
            "sample_rate": self.sample_rate,
            "latency_samples": self.latency_samples,
            "latency_ms": round(1000 * self.latency_samples / self.sample_rate, 3),
            "limits": self.limits.facts(),
        }

    def enhance(self, data: bytes, *, denoise: bool = False, rate: int | None = None) -> Enhanced:
        """Enhance an upload.

        Args:
            data: an audio file.
            denoise: let the model change the input's own band as well.
            rate: of the result in Hz; the model's where it is None.

        Raises:
            Refused: no usable audio, or too many are waiting.
        """
        with self._place():
            started = time.perf_counter()
            samples, sample_rate = decode(data, self.limits)
            try:
                enhanced, rate = self._enhancers[denoise].enhance(samples, sample_rate, rate)
            except OvertoneError as error:
                raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
            gain = _safe_gain(enhanced)
            wav = encode(enhanced if gain == 1.0 else enhanced * np.float32(gain), rate)
            seconds = time.perf_counter() - started
        return Enhanced(wav, len(samples) / sample_rate, seconds, 20.0 * math.log10(gain))

    def decode(self, data: bytes) -> bytes:
        """Return an upload as WAV at its own rate.

        Raises:
            Refused: as for `enhance`.
        """
        with self._place():
            return encode(*decode(data, self.limits))

    def stream(self, rate: int, channels: int, denoise: bool, output_rate: int) -> EnhancerStream:
        """Start a stream.

        Args:
            rate: of what comes in Hz.
            channels: how many.
            denoise: let the model change the input's own band as well.
            output_rate: of what goes back in Hz.

        Raises:
            OvertoneError: a rate that is not served.
        """
        return self._enhancers[denoise].stream(rate, channels, output_rate)

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Wait for a worker and hold it; raise where too many wait already."""
        if not self._places.acquire(blocking=False):
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"The server is busy with other uploads. Try again in {AGAIN_SECONDS} seconds.",
                AGAIN_SECONDS,
            )
        try:
            with self._workers:
                yield
        finally:
            self._places.release()


def _safe_gain(samples: Samples) -> float:
    """The constant gain, at most 1, under which no sample exceeds full scale."""
    peak = float(np.abs(samples).max(initial=0.0))
    return min(1.0, FULL_SCALE / peak) if peak else 1.0
