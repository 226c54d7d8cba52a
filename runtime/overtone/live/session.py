"""Two devices that are open, and the thread that enhances between them."""

import contextlib
import threading
import time
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overtone.audio import Waveform
from overtone.live.devices import DeviceError, Port, sounddevice
from overtone.live.playout import Playout, Tally
from overtone.live.processing import LiveProcessor

BLOCK_SECONDS = 0.01
SILENT_SECONDS = 2.0  # a device that calls for nothing for so long is gone
STARTING_SECONDS = 5.0

Frames = NDArray[np.float32]


class Session:
    """Opens both devices and enhances from one to the other until it is closed.

    Args:
        processor: from the input's rate to the output's.
        source: the input.
        target: the output.
        tally: counts what goes wrong.
        buffer_seconds: what each device is asked to hold, None for the least that it offers.

    Attributes:
        processor: as given.

    Raises:
        DeviceError: one of them cannot be opened.
    """

    def __init__(
        self, processor: LiveProcessor, source: Port, target: Port, tally: Tally, buffer_seconds: float | None = None
    ) -> None:
        self.processor = processor
        self._source, self._target, self._tally = source, target, tally
        self._playout = Playout(target.rate, tally)
        self._blocks: SimpleQueue[tuple[Waveform, float]] = SimpleQueue()
        self._failure: BaseException | None = None
        self._ended = threading.Event()
        self._started = False
        self._called = dict.fromkeys((source, target), time.monotonic() + STARTING_SECONDS)
        self._worker = threading.Thread(target=self._work, name="live", daemon=True)
        library = sounddevice()
        self._latency = buffer_seconds or "low"
        self._streams: list[Any] = []
        try:
            self._open(library.InputStream, source, self._take_in)
            self._open(library.OutputStream, target, self._give_out)
            self._worker.start()
            for stream in self._streams:
                stream.start()
        except (ValueError, library.PortAudioError) as error:
            self.close()
            raise DeviceError(f"{source.name} to {target.name}: cannot be opened ({error}).") from None

    def _open(self, kind: Any, port: Port, callback: Any) -> None:  # noqa: ANN401 - classes of a library without types
        self._streams.append(
            kind(
                device=port.index,
                samplerate=port.rate,
                channels=port.channels,
                dtype="float32",
                blocksize=round(BLOCK_SECONDS * port.rate),
                latency=self._latency,
                callback=callback,
            )
        )

    @property
    def latency_seconds(self) -> float:
        """From a sound at the input to the same sound at the output, by the devices' own times; 0 before the first."""
        age = self._playout.age_seconds
        return age + self.processor.latency_seconds if age else 0.0

    def gone(self) -> Port | None:
        """Return the device that went away, None while both are there.

        Raises:
            Exception: what broke the processing.
        """
        if self._failure is not None:
            raise self._failure
        for stream, port in zip(self._streams, (self._source, self._target), strict=True):
            if not stream.active or time.monotonic() - self._called[port] > SILENT_SECONDS:
                return port
        return None

    def close(self) -> None:
        """Close both devices, and wait for what is being enhanced."""
        library = sounddevice()
        self._ended.set()
        for stream in self._streams:
            with contextlib.suppress(library.PortAudioError):
                stream.abort()
            with contextlib.suppress(library.PortAudioError):
                stream.close()
        if self._worker.is_alive():
            self._worker.join()

    def _take_in(self, frames: Frames, count: int, times: Any, status: Any) -> None:  # noqa: ANN401
        now = self._note_call(self._source, status.input_overflow)
        length = count / self._source.rate
        # Both devices' times are measured from "now", for not every system has one clock for both; the first sample of
        # a block is at least as old as the block is long, which some drivers forget.
        age = max(times.currentTime - times.inputBufferAdcTime, length) if times.inputBufferAdcTime else length
        self._blocks.put((frames.mean(axis=1), now - age + length))

    def _give_out(self, frames: Frames, count: int, times: Any, status: Any) -> None:  # noqa: ANN401
        now = self._note_call(self._target, status.output_underflow)
        ahead = times.outputBufferDacTime - times.currentTime if times.outputBufferDacTime else 0.0
        frames[:] = self._playout.take(count, now + ahead)[:, None]

    def _note_call(self, port: Port, lost: bool) -> float:
        self._called[port] = now = time.monotonic()
        self._tally.missed += lost and self._started
        return now

    def _work(self) -> None:
        try:
            while not self._ended.is_set():
                with contextlib.suppress(Empty):
                    blocks = [self._blocks.get(timeout=BLOCK_SECONDS)]
                    # What piled up while the machine was busy costs a fraction of the time when it is taken at once.
                    while not self._blocks.empty():
                        blocks.append(self._blocks.get())
                    enhanced = self.processor.process(np.concatenate([samples for samples, _ in blocks]))
                    self._playout.put(enhanced, blocks[-1][1])
                    self._started = True
        except BaseException as failure:  # raised again where the session is watched
            self._failure = failure
