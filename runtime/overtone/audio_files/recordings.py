"""Audio files from their beginning to their end, block by block: the one way in which files are read.

What libsndfile says of a length is a promise only where the file's header makes it, a file may hold several streams,
and `soundfile` seeks after every block, which damages MP3 and loses what can be read before a damage.
"""

import io
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Protocol, cast

import numpy as np
import soundfile

from overtone.audio import CANCELLING, AudioError, Waveform, cancels, unusable_sample
from overtone.audio_files.streams import (
    ENDLESS,
    Part,
    Stream,
    find_streams,
    flac_goes_on,
    is_flac,
    is_mp3,
    mp3_after,
)
from overtone.audio_files.wave_pipes import HeaderReader, PipeSource

TAGS = (
    "title",
    "copyright",
    "software",
    "artist",
    "comment",
    "date",
    "album",
    "license",
    "tracknumber",
    "genre",
)
LOSSLESS_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
FLOATING = frozenset({"FLOAT", "DOUBLE"})
_UNKNOWN_BYTES = 0x7F000000  # programs that write to a pipe put something larger into a header
_UNKNOWN_FRAMES = 2**62
_CUT_OFF = re.compile(r": (\d+) \(should be (\d+)\)")
_ADDED_TO_SOFTWARE = re.compile(r" \(libsndfile-[^)]*\)")
_HEADER_BYTES = 128  # that some programs count as samples
_MP3_FRAME = 1152  # samples, by which the stated length of an MP3 or Ogg stream may be off
_MPEG = frozenset({"MP3", "MPEG"})
_LOSSY = _MPEG | {"OGG"}
_LEAST_REST = 0.1  # seconds behind an MP3 stream's stated end; less is the encoder's own padding
_LEAD_SECONDS = 1.0  # a lossy decoder is right so long after a seek
_MISSING = np.float32(np.nan).view(np.uint32) + np.uint32(0x00BEEF)  # a sample that was never written


class Source(Protocol):
    """Audio that is read from its beginning to its end: a `Recording` or what comes through a pipe.

    Attributes:
        name: how messages call it.
        rate: in Hz.
        channels: how many.
        container: libsndfile's name of the format, such as ``FLAC``.
        subtype: libsndfile's name of the sample type, such as ``PCM_16``.
        tags: title, artist and the like.
        loss: what is missing, as the rest of a sentence about the source; empty where nothing is. Known when all
            blocks were taken.
    """

    name: str
    rate: int
    channels: int
    container: str
    subtype: str
    tags: dict[str, str]
    loss: str

    def blocks(self, frames: int) -> Iterator[Waveform]:
        """Yield ``(samples, channels)`` float32, at most so many frames at once."""
        ...


class _Sequential(soundfile.SoundFile):
    """Reads on without seeking after each block, for which the library asks whether it can."""

    def seekable(self) -> bool:
        return False

    def read_into(self, block: Waveform) -> tuple[int, bool]:
        """Fill a block as far as possible; return how far, and whether a damage ended it."""
        block.view(np.uint32)[:] = _MISSING
        try:
            return len(self.read(out=block)), False
        except soundfile.LibsndfileError:
            missing = (block.view(np.uint32) == _MISSING).any(axis=1)
            return int(missing.argmax()) if missing.any() else len(block), True


class Recording:
    """An audio file that is read from its beginning to its end.

    Args:
        source: a path, or the bytes of a file, of anything that libsndfile reads. A pipe is copied first.
        name: how messages call it, the path where it is None.

    Its attributes are those of `Source`, and ``frames``: its length where the header says so, None where only reading
    tells.

    Raises:
        OSError: the file is missing or must not be read.
        AudioError: it is not audio.
    """

    def __init__(self, source: Path | bytes, name: str | None = None) -> None:
        self.name = name or str(source)
        self._data = _opened(source, self.name)
        self.loss = ""
        try:
            self._rest = find_streams(self._data)
            self._stream = self._rest.pop(0)
            self._mp3, flac = is_mp3(self._data), is_flac(self._data)
            if isinstance(source, Path) and source.is_file() and not (self._rest or self._mp3 or flac):
                self._file = _Sequential(os.fsencode(source))  # some formats are told by the file's name only
            else:
                self._file = self._sound(self._stream)
            # Where the first frame is damaged, a length is an estimate: what follows is read as far as it goes.
            if self._file.format in _MPEG and not self._mp3 and (found := mp3_after(self._data, 0, self._stream.end)):
                self._file.close()
                self._mp3, self._stream = True, found
                self._file = self._sound(self._stream)
        except soundfile.LibsndfileError as error:
            self._data.close()
            raise AudioError(f"{self.name}: {_unreadable(error)}") from None
        self.rate, self.channels = int(self._file.samplerate), int(self._file.channels)
        self.container, self.subtype = str(self._file.format), str(self._file.subtype)
        self.tags = {name: text for name in TAGS if (text := _tag(self._file, name))}
        self._endless = self._without_length()
        self._count = self._total = 0  # frames read of the stream, and of the file
        told = self._stream.stated and not self._rest and self._endless is None
        self.frames = int(self._file.frames) if told and self._file.frames < _UNKNOWN_FRAMES else None

    def __enter__(self) -> "Recording":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._data.close()

    def blocks(self, frames: int) -> Iterator[Waveform]:
        """Yield ``(frames, channels)`` float32, the last one shorter; ends where the file cannot be read further."""
        if self._endless is not None:
            yield from self._endless.blocks(frames)
            return
        filled = frames
        while filled == frames:
            block = np.empty((frames, self.channels), np.float32)
            filled = 0
            while filled < frames and (read := self._read(block[filled:])) is not None:
                filled += read
            if filled:
                yield block[:filled]

    def skip(self, frames: int) -> None:
        """Go on behind so many frames from the beginning, before anything was read."""
        if self.frames is not None:
            exact = self.subtype in LOSSLESS_BITS or self.subtype in FLOATING
            place = max(min(frames, self.frames) - (0 if exact else round(_LEAD_SECONDS * self.rate)), 0)
            self._count = self._total = self._file.seek(place)
            frames = min(frames, self.frames) - place
        while frames > 0 and (read := len(next(self.blocks(min(frames, self.rate)), ()))):
            frames -= read

    def _read(self, block: Waveform) -> int | None:
        """Fill a block as far as one read does; return how far, None at the end of the file."""
        read, damaged = self._file.read_into(block)
        self._count += read
        self._total += read
        if damaged:
            self._lose(f"is damaged at {self._total / self.rate:.1f} s")
        return read if read or self._went_on() else None

    def _went_on(self) -> bool:
        """Judge the stream that ended and open the next one; return whether there is one."""
        self._judge()
        if self._stream.stated and self._mp3:
            self._add_what_follows()
        if not self._rest:
            return False
        self._stream, self._count = self._rest.pop(0), 0
        self._file.close()
        try:
            self._file = self._sound(self._stream)
        except soundfile.LibsndfileError as error:
            self._lose(f"cannot be read from {self._total / self.rate:.1f} s on ({reason(error)})")
            return False
        if (self._file.samplerate, self._file.channels) != (self.rate, self.channels):
            self._lose(
                f"goes on at {self._total / self.rate:.1f} s with {self._file.channels} channels at "
                f"{self._file.samplerate} Hz, which was not read. Split it there"
            )
            return False
        return True

    def _judge(self) -> None:
        """Find out whether the stream that ended was whole."""
        self._lose(self._stream.loss)
        if not self._stream.stated or self._file.frames >= _UNKNOWN_FRAMES:
            return
        promised = self._file.frames
        for announced, found in _CUT_OFF.findall(self._file.extra_info):
            if int(announced) - int(found) > _HEADER_BYTES and int(announced) < _UNKNOWN_BYTES:
                promised = max(promised, self._file.frames * int(announced) // max(int(found), 1))
        tolerance = _MP3_FRAME if self.container in _LOSSY else 0
        if promised - self._count > tolerance:
            self._lose(f"ends {(promised - self._count) / self.rate:.2g} s before its stated end")
        elif self.container == "FLAC" and flac_goes_on(self._data, self._part.read_to, self._stream.end):
            self._lose(f"goes on at {self._total / self.rate:.1f} s, which is its stated end")

    def _add_what_follows(self) -> None:
        """Note what lies behind the stated end of an MP3 stream, as joined files have it."""
        read_to = self._part.read_to
        bytes_a_frame = (read_to - self._stream.start) / max(self._count, 1)
        if self._stream.end - read_to > _LEAST_REST * self.rate * bytes_a_frame:
            following = mp3_after(self._data, read_to, self._stream.end)
            self._rest[:0] = [] if following is None else [following]

    def _sound(self, stream: Stream) -> _Sequential:
        self._part = Part(self._data, stream.start, stream.end, None if stream.stated else ENDLESS)
        return _Sequential(self._part)

    def _without_length(self) -> PipeSource | None:
        """Return the samples of a WAV whose program was ended before it could write how many there are."""
        if not self.container.startswith("WAV") or self._file.frames:
            return None
        self._data.seek(4)
        stated = int.from_bytes(self._data.read(4), "little")
        if stated + 8 == self._data.seek(0, io.SEEK_END):
            return None
        self._data.seek(0)
        form = HeaderReader(self._data).wave_form()
        return PipeSource(self._data, form) if form is not None and form.length is None else None

    def _lose(self, loss: str) -> None:
        if loss and " and " not in self.loss:
            self.loss = f"{self.loss} and {loss}" if self.loss else loss


def read_audio(path: Path, *, start: int = 0, frames: int = -1) -> tuple[Waveform, int]:
    """Read a file at its native rate, mixed down to one channel.

    Args:
        path: anything libsndfile reads.
        start: first frame to read.
        frames: how many frames to read, -1 for all that follow ``start``.

    Returns:
        The waveform ``(samples,)`` as float32 and its sample rate in Hz.

    Raises:
        AudioError: the file is missing, is not audio, holds no samples or unusable ones; a whole file that is damaged
            or cut off, or whose channels cancel each other.
    """
    try:
        with Recording(path) as recording:
            if start:
                recording.skip(start)
            blocks = list(recording.blocks(recording.rate) if frames < 0 else islice(recording.blocks(frames), 1))
    except OSError as error:
        raise AudioError(f"{path}: not readable ({error.strerror or error}). Expected an audio file.") from None
    if not blocks:
        raise AudioError(f"{path}: holds no samples. Remove it or replace it.")
    samples = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    if (unusable := unusable_sample(samples)) is not None:
        raise AudioError(f"{path}: sample {unusable[0]} {unusable[1]}. Write it again from its source.")
    mixed = samples.mean(axis=1, dtype=np.float32)
    if not start and frames < 0:
        if recording.loss:
            raise AudioError(f"{path}: {recording.loss}. Write it again from its source.")
        if cancels(float(np.vdot(mixed, mixed)), float(np.vdot(samples, samples)) / samples.shape[1]):
            raise AudioError(f"{path}: {CANCELLING}")
    return mixed, recording.rate


def _opened(source: Path | bytes, name: str) -> io.BufferedIOBase:
    """Return a file in which one can move to and fro: a pipe is copied."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    try:
        file = source.open("rb")
    except FileNotFoundError:
        if source.is_symlink():
            raise AudioError(f"{name}: is a link to {os.readlink(source)}, which does not exist.") from None
        raise
    kind = os.fstat(file.fileno()).st_mode
    if stat.S_ISREG(kind):
        return file
    with file:
        if not stat.S_ISFIFO(kind):
            raise AudioError(f"{name}: is neither a file nor a pipe.")
        copy = cast(io.BufferedIOBase, tempfile.TemporaryFile())  # noqa: SIM115
        shutil.copyfileobj(file, copy)
        copy.seek(0)
        return copy


def _tag(file: soundfile.SoundFile, name: str) -> str:
    return _ADDED_TO_SOFTWARE.sub("", getattr(file, name) or "")


def _unreadable(error: Exception) -> str:
    why = reason(error)
    if "SF_INFO struct incomplete" in why:
        return "its header says 0 Hz, or no channels. Write it again from its source."
    return f"not readable as audio ({why}). Expected a file that libsndfile reads."


def reason(error: Exception) -> str:
    """Return libsndfile's own words in one line."""
    text = str(getattr(error, "error_string", "") or error).strip().rstrip(".")
    return " ".join(text.split()) or type(error).__name__
