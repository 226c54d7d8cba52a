"""Audio files block by block, with all their channels and their tags: memory does not grow with their length."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from overtone.audio import AudioError, Waveform

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
_UNKNOWN_LENGTH = 0x7FFF0000  # programs that write to a pipe put something larger into a header
_CUT_OFF = re.compile(r"^\s*(?:data|SSND|riff)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_ADDED_TO_SOFTWARE = re.compile(r" \(libsndfile-[^)]*\)")
# How far the length of an MP3 file, which may be estimated, may be from the truth.
_TOLERANCE_SECONDS, _TOLERANCE_SHARE = 0.1, 0.02


class Source(Protocol):
    """Audio that is read from its beginning to its end: a `Recording` or what comes through a pipe.

    Attributes:
        name: how messages call it.
        rate: in Hz.
        channels: how many.
        container: libsndfile's name of the format, such as ``FLAC``.
        subtype: libsndfile's name of the sample type, such as ``PCM_16``.
        tags: title, artist and the like.
        promised_frames: how long it says that it is, 0 where it does not.
        cut_off: whether less could be read than was promised; known when all blocks were taken.
    """

    name: str
    rate: int
    channels: int
    container: str
    subtype: str
    tags: dict[str, str]
    promised_frames: int
    cut_off: bool

    def blocks(self, frames: int) -> Iterator[Waveform]:
        """Yield ``(samples, channels)`` float32, at most so many frames at once."""
        ...


class Recording:
    """An audio file that is read from its beginning to its end.

    Args:
        path: anything that libsndfile reads.
        name: how messages call it, the path where it is None.

    Its attributes are those of `Source`; `promised_frames` is what the header says.

    Raises:
        OSError: the file is missing or must not be read.
        AudioError: it is not audio.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.name = name or str(path)
        with path.open("rb"):  # for the system's own words on why not
            pass
        try:
            self._file = soundfile.SoundFile(path)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"{self.name}: not readable as audio ({_reason(error)}). Expected a file that libsndfile reads."
            ) from None
        self.rate, self.channels = int(self._file.samplerate), int(self._file.channels)
        self.container, self.subtype = str(self._file.format), str(self._file.subtype)
        self.tags = {name: text for name in TAGS if (text := _tag(self._file, name))}
        self.promised_frames = int(self._file.frames)
        self.cut_off = False
        found = _CUT_OFF.search(self._file.extra_info)
        if found and int(found[2]) < int(found[1]) < _UNKNOWN_LENGTH:
            self.cut_off = True
            self.promised_frames = self.promised_frames * int(found[1]) // max(int(found[2]), 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def blocks(self, frames: int) -> Iterator[Waveform]:
        """Yield ``(frames, channels)`` float32, the last one shorter; ends where the file cannot be read further."""
        count = 0
        while True:
            try:
                block = self._file.read(frames, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                self.cut_off = True
                return
            if not len(block):
                break
            count += len(block)
            yield block
        allowed = max(_TOLERANCE_SECONDS * self.rate, _TOLERANCE_SHARE * self.promised_frames)
        self.cut_off |= self.promised_frames - count > allowed


class CheckedFile:
    """A file that remembers that it could not be written; some of libsndfile's encoders overlook it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write, or note why not."""
        return self._noted(lambda: self._file.write(data))

    def read(self, size: int = -1) -> bytes:
        """Read what was written."""
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position."""
        return self._noted(lambda: self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def flush(self) -> None:
        """Write what is buffered, or note why not."""
        self._noted(lambda: self._file.flush() or 0)

    def _noted(self, action: Callable[[], int]) -> int:
        if self.error is None:
            try:
                return action()
            except OSError as error:
                self.error = error
        return 0


def write_recording(
    path: Path,
    blocks: Iterator[Waveform],
    rate: int,
    channels: int,
    container: str,
    subtype: str,
    tags: dict[str, str],
) -> None:
    """Write blocks ``(samples, channels)`` of full scale 1 to a file.

    Samples of whole numbers are rounded to the nearest, so that what was read from such a file is written unchanged.

    Args:
        path: the file.
        blocks: what to write.
        rate: in Hz.
        channels: how many.
        container: libsndfile's name of the format.
        subtype: libsndfile's name of the sample type.
        tags: title, artist and the like; those that the format has no place for are left out.

    Raises:
        AudioError: the format cannot hold this rate or number of channels.
        OSError: the file cannot be written.
    """
    with path.open("w+b") as file:
        checked = CheckedFile(file)
        try:
            with soundfile.SoundFile(checked, "w", rate, channels, subtype, format=container) as audio:
                for name, text in tags.items():
                    _set_tag(audio, name, text)
                for block in blocks:
                    audio.write(whole_numbers(block, LOSSLESS_BITS[subtype]) if subtype in LOSSLESS_BITS else block)
                    if checked.error:
                        break
        except (soundfile.LibsndfileError, AssertionError) as error:  # soundfile asserts that all was written
            if checked.error is None:
                raise AudioError(
                    f"{path.name}: {container} ({subtype}) refuses {channels} channels at {rate} Hz "
                    f"({_reason(error)}). Choose another with --format or --rate."
                ) from None
        checked.flush()
        if checked.error is not None:
            raise checked.error


def whole_numbers(block: Waveform, bits: int) -> NDArray[np.int32]:
    """Return samples of full scale 1 as whole numbers of so many bits, left-aligned in 32.

    Args:
        block: ``(samples, channels)``, full scale 1.
        bits: of a sample, 1 to 32.
    """
    scale = 2.0 ** (bits - 1)
    rounded = np.clip(np.rint(block * np.float64(scale)), -scale, scale - 1).astype(np.int64)
    return (rounded << (32 - bits)).astype(np.int32)


def _tag(file: soundfile.SoundFile, name: str) -> str:
    return _ADDED_TO_SOFTWARE.sub("", getattr(file, name) or "")


def _set_tag(file: soundfile.SoundFile, name: str, text: str) -> None:
    try:
        setattr(file, name, text)
    except soundfile.LibsndfileError:  # the format has no place for it
        return


def _reason(error: Exception) -> str:
    text = str(getattr(error, "error_string", "") or error).strip().rstrip(".")
    return " ".join(text.split()) or type(error).__name__
