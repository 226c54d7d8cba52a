"""Live streams: samples come over a WebSocket and go back enhanced, as many as came and a stated latency later."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs

from overtone.audio import Waveform, silenced, unusable_sample
from overtone.audio_files.wave_pipes import RAW_FORMS, SampleForm
from overtone.enhancer import HIGHEST_RATE, LOWEST_RATE, EnhancerStream
from overtone.errors import OvertoneError
from overtone.serve.enhancement import Enhancement
from overtone.serve.gate import Message, Receive, Scope, Send
from overtone.serve.refusals import Refused, whole_number

PATH = "/api/stream"
END = "end"
SAMPLE_FORMATS = {"float32": RAW_FORMS["f32"], "int16": RAW_FORMS["s16"], **RAW_FORMS}
REPORT_SECONDS = 1.0
MESSAGE_SECONDS = 10.0  # its answer may be 50 times as large, at another rate
AGAIN_SECONDS = 10
NORMAL, POLICY = 1000, 1008


@dataclass(frozen=True)
class _Request:
    rate: int
    output_rate: int
    channels: int
    sample_format: str
    denoise: bool

    @property
    def answered(self) -> SampleForm:
        """How samples go back: as they come, but with 16 bits where they come with 8."""
        form = SAMPLE_FORMATS[self.sample_format]
        return form if form.bits > 8 else RAW_FORMS["s16"]


class LiveStreams:
    """An ASGI application of live streams, each with a state of its own.

    Args:
        enhancement: makes the streams; its limits say how many at the same time, and how long one may be silent.
    """

    def __init__(self, enhancement: Enhancement) -> None:
        self._enhancement = enhancement
        self._limits = enhancement.limits
        self._open = 0
        self._threads = ThreadPoolExecutor(self._limits.streams, thread_name_prefix="live")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket from its handshake to its end.

        Args:
            scope: the handshake, as ASGI describes it.
            receive: gives the next message of the client.
            send: takes a message to the client.

        Raises:
            Refused: another address, a bad query, or all streams are taken; nothing was sent yet.
        """
        request = self._request(scope)
        if self._open >= self._limits.streams:
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"All {self._limits.streams} live streams are taken. Try again later, or enhance a recording.",
                AGAIN_SECONDS,
            )
        self._open += 1
        try:
            await self._serve(request, receive, send)
        except asyncio.TimeoutError:
            return  # the other side reads nothing any more
        finally:
            self._open -= 1

    async def _serve(self, request: _Request, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        run = asyncio.get_running_loop().run_in_executor
        try:
            stream = await run(
                self._threads,
                self._enhancement.stream,
                request.rate,
                request.channels,
                request.denoise,
                request.output_rate,
            )
            await _say(send, _facts(stream, request))
            await self._exchange(stream, request, receive, send)
        except OvertoneError as error:
            await _say(send, {"error": str(error)})
            await send({"type": "websocket.close", "code": POLICY, "reason": "see the error before"})

    async def _exchange(self, stream: EnhancerStream, request: _Request, receive: Receive, send: Send) -> None:
        run = asyncio.get_running_loop().run_in_executor
        reported, taken = 0.0, 0
        while True:
            message = await self._next(receive)
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") is not None:
                await self._end(message["text"], stream, request, send)
                return
            block = _samples(message["bytes"], request)
            if (unusable := unusable_sample(block)) is not None:
                said = f"Sample {taken + unusable[0]} {unusable[1]}; silence took the place of such samples."
                await _say(send, {"warning": said})
                block = silenced(block)
            taken += len(block)
            enhanced = await run(self._threads, stream.push, block)
            await self._send_samples(enhanced, request, send)
            reported += len(block) / request.rate
            if reported >= REPORT_SECONDS:
                reported = 0.0
                await _say(send, {"bandwidth_hz": [round(one) for one in stream.bandwidth_hz]})

    async def _next(self, receive: Receive) -> Message:
        try:
            return await asyncio.wait_for(receive(), self._limits.idle_seconds)
        except asyncio.TimeoutError:
            raise OvertoneError(
                f"Nothing came for {self._limits.idle_seconds:g} seconds, so the stream was closed. Start it again."
            ) from None

    async def _end(self, text: str, stream: EnhancerStream, request: _Request, send: Send) -> None:
        if text != END:
            raise OvertoneError(f"Expected samples or the text '{END}', got the text '{text[:20]}'.")
        rest = await asyncio.get_running_loop().run_in_executor(self._threads, stream.flush)
        await self._send_samples(rest.reshape(-1, request.channels), request, send)
        await send({"type": "websocket.close", "code": NORMAL})

    async def _send_samples(self, samples: Waveform, request: _Request, send: Send) -> None:
        message = {"type": "websocket.send", "bytes": request.answered.encoded(samples)}
        await asyncio.wait_for(send(message), self._limits.idle_seconds)

    def _request(self, scope: Scope) -> _Request:
        if scope["path"] != PATH:
            raise Refused(HTTPStatus.NOT_FOUND, f"There is no stream at this address; it is {PATH}. See /api.")
        given = parse_qs(scope["query_string"].decode("latin1"), keep_blank_values=True)
        query = {name: values[0] for name, values in given.items()}  # the first, as for uploads
        sample_format = query.get("format", "float32")
        if sample_format not in SAMPLE_FORMATS:
            expected = " or ".join(SAMPLE_FORMATS)
            raise Refused(HTTPStatus.BAD_REQUEST, f"format is {expected}, got '{sample_format[:20]}'.")
        rate = query.get("rate", str(self._enhancement.sample_rate))
        output_rate = query.get("output_rate", rate)
        return _Request(
            rate=whole_number("rate", rate, LOWEST_RATE, HIGHEST_RATE),
            output_rate=whole_number("output_rate", output_rate, LOWEST_RATE, HIGHEST_RATE),
            channels=whole_number("channels", query.get("channels", "1"), 1, self._limits.channels),
            sample_format=sample_format,
            denoise=bool(whole_number("denoise", query.get("denoise", "0"), 0, 1)),
        )


def _facts(stream: EnhancerStream, request: _Request) -> dict[str, object]:
    return {
        "latency_samples": stream.latency_samples,
        "latency_ms": round(1000 * stream.latency_seconds, 3),
        "rate": request.rate,
        "output_rate": request.output_rate,
        "channels": request.channels,
        "format": request.sample_format,
    }


async def _say(send: Send, facts: dict[str, object]) -> None:
    await send({"type": "websocket.send", "text": json.dumps(facts)})


def _samples(data: bytes, request: _Request) -> Waveform:
    """Interleaved samples as ``(frames, channels)``."""
    form = SAMPLE_FORMATS[request.sample_format]
    frame_bytes = form.size * request.channels
    if len(data) % frame_bytes:
        raise OvertoneError(f"A message holds whole frames of {frame_bytes} bytes; one of {len(data)} bytes came.")
    if (seconds := len(data) / frame_bytes / request.rate) > MESSAGE_SECONDS:
        raise OvertoneError(f"A message holds at most {MESSAGE_SECONDS:g} s of sound; one of {seconds:.1f} s came.")
    return form.decoded(data).reshape(-1, request.channels)
