"""WAV and bare samples through pipes, whose end nobody knows beforehand."""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import soundfile
from numpy.typing import NDArray

from overtone.audio import Waveform

UNKNOWN_LENGTH = 0xFFFFFFFF
_HEADER_BYTES = 128
PCM, IEEE_FLOAT, A_LAW, MU_LAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE


@dataclass(frozen=True)
class SampleForm:
    """How a sample is written, little-endian.

    Attributes:
        bits: 8 (unsigned), 16, 24 or 32 for whole numbers; 32 or 64 for floating-point ones; 8 of telephony.
        floating: whether they are floating-point.
        law: ``ULAW`` or ``ALAW``, telephony's own 8 bits (G.711), which are only read; else empty.
    """

    bits: int
    floating: bool = False
    law: str = ""

    @property
    def subtype(self) -> str:
        """Libsndfile's name of it."""
        if self.law:
            return self.law
        if self.floating:
            return "FLOAT" if self.bits == 32 else "DOUBLE"
        return "PCM_U8" if self.bits == 8 else f"PCM_{self.bits}"

    @property
    def size(self) -> int:
        """Bytes of a sample."""
        return self.bits // 8

    def decoded(self, data: bytes) -> Waveform:
        """Return bytes as float32 of full scale 1."""
        if self.floating:
            return np.frombuffer(data, f"<f{self.size}").astype(np.float32)
        if self.law:
            return _law(self.law)[np.frombuffer(data, np.uint8)]
        if self.bits == 8:
            return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / np.float32(128)
        if self.bits == 24:
            padded = np.zeros((len(data) // 3, 4), np.uint8)
            padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            whole = padded.view("<i4")[:, 0] >> 8
        else:
            whole = np.frombuffer(data, f"<i{self.size}")
        return (whole / 2.0 ** (self.bits - 1)).astype(np.float32)

    def encoded(self, samples: Waveform) -> bytes:
        """Return samples of full scale 1 as bytes."""
        if self.floating:
            return samples.astype(f"<f{self.size}").tobytes()
        left_aligned: NDArray[np.int32] = whole_numbers(samples, self.bits).astype("<i4")
        parts = left_aligned.reshape(-1, 1).view(np.uint8)[:, 4 - self.size :]
        return (parts ^ 0x80 if self.bits == 8 else parts).tobytes()


RAW_FORMS = {
    "u8": SampleForm(8),
    "mulaw": SampleForm(8, law="ULAW"),
    "alaw": SampleForm(8, law="ALAW"),
    "s16": SampleForm(16),
    "s24": SampleForm(24),
    "s32": SampleForm(32),
    "f32": SampleForm(32, floating=True),
}


@dataclass(frozen=True)
class PipeForm:
    """What comes through a pipe.

    Attributes:
        rate: in Hz.
        channels: how many.
        samples: how they are written.
        length: of the samples in bytes, None where they last until the pipe ends.
    """

    rate: int
    channels: int
    samples: SampleForm
    length: int | None = None


class HeaderReader:
    """Reads a WAV header from a pipe, and keeps its bytes for whoever can make more of them.

    Attributes:
        taken: bytes read so far.
    """

    def __init__(self, pipe: io.BufferedIOBase) -> None:
        self._pipe = pipe
        self.taken = bytearray()

    def wave_form(self) -> PipeForm | None:
        """Return what a WAV header says, the pipe standing before the first sample; None where it is something else.

        Something else is another format, or WAV in a form that needs a decoder.
        """
        if len(start := self._read(12)) < 12 or start[:4] != b"RIFF" or start[8:] != b"WAVE":
            return None
        described = None
        while len(head := self._read(8)) == 8:
            name, size = head[:4], int.from_bytes(head[4:], "little")
            if name == b"data":
                # Programs that write to a pipe put 0 or something very large.
                length = None if size == 0 or size >= 0x7FFF0000 else size
                return None if described is None else PipeForm(*described, length)
            content = self._read(size + size % 2)
            if name == b"fmt " and (described := _described(content)) is None:
                return None
        return None

    def _read(self, size: int) -> bytes:
        data = self._pipe.read(size)
        self.taken += data
        return data


class PipeSource:
    """What comes through a pipe, with the attributes of `overtone.audio_files.recordings.Source`.

    Args:
        pipe: before the first sample.
        form: of the samples.
    """

    def __init__(self, pipe: io.BufferedIOBase, form: PipeForm) -> None:
        self.name = "standard input"
        self.rate, self.channels = form.rate, form.channels
        self.container, self.subtype = "WAV", form.samples.subtype
        self.tags: dict[str, str] = {}
        self.loss = ""
        self._pipe, self._form = pipe, form

    def blocks(self, frames: int) -> Iterator[Waveform]:
        """Yield what has come, ``(samples, channels)``, as soon as it has come and at most so many frames at once."""
        frame = self._form.samples.size * self.channels
        left, held = self._form.length, b""
        while left is None or left > 0:
            wanted = frames * frame - len(held)
            data = self._pipe.read1(wanted if left is None else min(wanted, left))
            if not data:
                break
            left = None if left is None else left - len(data)
            held += data
            whole = len(held) - len(held) % frame
            if whole:
                yield self._form.samples.decoded(held[:whole]).reshape(-1, self.channels)
                held = held[whole:]
        if left and left > _HEADER_BYTES:  # which some programs count as samples
            self.loss = f"ends {left / frame / self.rate:.2g} s before its stated end"


def wave_header(form: PipeForm) -> bytes:
    """Return the header of a WAV.

    Where its length is not known, both lengths say the largest there is, as other programs do.
    """
    tag = IEEE_FLOAT if form.samples.floating else PCM
    frame = form.samples.size * form.channels
    described = struct.pack("<HHIIHH", tag, form.channels, form.rate, form.rate * frame, frame, form.samples.bits)
    begin = b"WAVEfmt " + struct.pack("<I", len(described)) + described + b"data"
    length = whole = UNKNOWN_LENGTH
    if form.length is not None:
        length, whole = form.length, len(begin) + 4 + form.length + form.length % 2
    return b"RIFF" + struct.pack("<I", whole) + begin + struct.pack("<I", length)


def whole_numbers(block: Waveform, bits: int) -> NDArray[np.int32]:
    """Return samples of full scale 1 as whole numbers of so many bits, left-aligned in 32.

    Args:
        block: ``(samples, channels)``, full scale 1.
        bits: of a sample, 1 to 32.
    """
    scale = 2.0 ** (bits - 1)
    rounded = np.clip(np.rint(block * np.float64(scale)), -scale, scale - 1).astype(np.int64)
    return (rounded << (32 - bits)).astype(np.int32)


def _described(content: bytes) -> tuple[int, int, SampleForm] | None:
    if len(content) < 16:
        return None
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", content[:16])
    if tag == EXTENSIBLE and len(content) >= 26:
        tag = int.from_bytes(content[24:26], "little")
    known = {PCM: (8, 16, 24, 32), IEEE_FLOAT: (32, 64), A_LAW: (8,), MU_LAW: (8,)}.get(tag, ())
    if bits not in known or not channels or not rate:
        return None
    return rate, channels, SampleForm(bits, tag == IEEE_FLOAT, {A_LAW: "ALAW", MU_LAW: "ULAW"}.get(tag, ""))


@cache
def _law(law: str) -> Waveform:
    """Return the sample that each byte stands for, as libsndfile decodes it."""
    every = io.BytesIO(bytes(range(256)))
    samples, _ = soundfile.read(every, dtype="float32", format="RAW", subtype=law, samplerate=8000, channels=1)
    return np.asarray(samples, np.float32)
