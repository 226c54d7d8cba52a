"""One loaded model for all users: whole uploads through a queue, live streams each with a state of its own."""

import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import numpy as np

from overtone.audio import AudioError, Waveform, silenced
from overtone.audio_files.file_enhancement import enhanced_blocks, start_stream
from overtone.enhancer import Enhancer, EnhancerStream
from overtone.model_package import load_model
from overtone.serve.limits import Limits
from overtone.serve.memory import AGAIN_SECONDS, Take
from overtone.serve.refusals import Refused
from overtone.serve.uploads import ANSWERED, Upload, WaveAnswer

FULL_SCALE = 1.0 - 2.0**-23


@dataclass(frozen=True)
class Decoded:
    """An upload as it is heard.

    Attributes:
        wav: a WAV file.
        loss: what is missing, as the rest of a sentence about the upload; empty where nothing is.
    """

    wav: bytearray
    loss: str


@dataclass(frozen=True)
class Enhanced(Decoded):
    """An enhanced upload.

    Attributes:
        audio_seconds: how long the audio is.
        processing_seconds: how long decoding, enhancing and encoding took.
        gain_db: the constant gain that kept the peak below full scale, 0 where none was needed.
    """

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

    def enhance(self, data: bytes, take: Take, *, denoise: bool = False, rate: int | None = None) -> Enhanced:
        """Enhance an upload.

        Args:
            data: an audio file.
            take: counts the answer's bytes while it grows.
            denoise: let the model change the input's own band as well.
            rate: of the result in Hz; the model's where it is None.

        Raises:
            Refused: no usable audio, too many are waiting, or there is no room for the answer.
        """
        with self._place():
            started = time.perf_counter()
            upload = Upload(data, self.limits)
            with upload.recording as recording, _refused():
                stream = start_stream(self._enhancers[denoise], recording, rate)
                blocks: deque[Waveform] = deque()
                for block in enhanced_blocks(stream, recording, upload.blocks(), []):
                    take(block.nbytes)
                    blocks.append(block)
            gain = FULL_SCALE / max(stream.peak, FULL_SCALE)
            answer = WaveAnswer(stream.output_rate, stream.channels)
            while blocks:
                answer.add(blocks.popleft() * np.float32(gain))
            seconds = time.perf_counter() - started
        return Enhanced(
            answer.whole(), recording.loss, upload.frames / recording.rate, seconds, 20.0 * math.log10(gain)
        )

    def decode(self, data: bytes, take: Take) -> Decoded:
        """Return an upload as WAV at its own rate.

        Args:
            data: an audio file.
            take: counts the answer's bytes while it grows.

        Raises:
            Refused: as for `enhance`.
        """
        with self._place():
            upload = Upload(data, self.limits)
            with upload.recording as recording, _refused():
                answer = WaveAnswer(recording.rate, recording.channels)
                for block in upload.blocks():
                    take(block.size * ANSWERED.size)
                    answer.add(silenced(block))
            return Decoded(answer.whole(), recording.loss)

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


@contextmanager
def _refused() -> Iterator[None]:
    """Turn what is wrong with the audio of an upload into an answer."""
    try:
        yield
    except AudioError as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
