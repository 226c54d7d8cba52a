"""Where the streams lie that a file holds one after another, as `cat a.mp3 b.mp3` and radio recorders write them.

libsndfile reads the first of them only, and does not say what is missing inside an Ogg stream.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase

ENDLESS = 2**40  # bytes; a size that lets libsndfile read an MP3 of unknown length to its true end
_CHUNK = 2**20
_FLAC_START = re.compile(rb'fLaC[\x00\x80]\x00\x00"')
# A frame that holds no sound (its side information is zero) but the stream's length.
_MP3_LENGTH = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]..(?:..)?(?:\0{9}|\0{17}|\0{32})(?:Xing|Info)", re.DOTALL)
_MP3_FRAME = re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x10-\xef]")
_SHORTEST_MP3 = 1024  # bytes
_LONGEST_START = 48
_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN")
_OGG_HEADER = 27
_OGG_END = "ends without the mark of its end, so that something may be missing"
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Stream:
    """A stream in a file.

    Attributes:
        start: its first byte.
        end: the byte after its last.
        stated: whether its own header says how long it is.
        loss: what is missing in it, in words; empty where nothing is known to be.
    """

    start: int
    end: int
    stated: bool = True
    loss: str = ""


class Part:
    """A part of a file as a file of its own, for `soundfile.SoundFile`.

    Args:
        file: the whole.
        start: first byte of the part.
        end: the byte after its last.
        size: what the part says that its size is; beyond the end it reads as zeros where it is sought.
    """

    def __init__(self, file: BufferedIOBase, start: int, end: int, size: int | None = None) -> None:
        self._file, self._start, self._length = file, start, end - start
        self._size = self._length if size is None else size
        self._at = 0
        self.read_to = start

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def readinto(self, buffer: memoryview) -> int:
        """Read into a buffer; return how many bytes."""
        wanted = len(buffer)
        if self._at >= self._size - 128 > self._length:  # where libsndfile looks for tags
            buffer[:] = bytes(wanted)
            self._at += wanted
            return wanted
        self._file.seek(self._start + self._at)
        data = self._file.read(max(min(wanted, self._length - self._at), 0))
        buffer[: len(data)] = data
        self._at += len(data)
        self.read_to = self._start + self._at
        return len(data)


def find_streams(file: BufferedIOBase) -> list[Stream]:
    """Return the streams of a file in their order."""
    size = file.seek(0, 2)
    head = _head(file)
    if head.startswith(b"OggS"):
        return list(_ogg_streams(file, size))
    if head.startswith(b"RIFF"):
        starts = list(_riff_starts(file, size))
    elif _FLAC_START.match(head):
        starts = [0, *list(_places(file, _FLAC_START))[1:]]
    elif is_mp3(file):
        stated = list(_places(file, _MP3_LENGTH))
        # The first one may be preceded by a tag or by a few stray bytes.
        first = bool(stated) and stated[0] < tag_end(file, 0) + _SHORTEST_MP3
        starts = [0, *stated[first:]]
        return [Stream(start, end, start > 0 or first) for start, end in zip(starts, [*starts[1:], size], strict=True)]
    else:
        starts = [0]
    return [Stream(start, end) for start, end in zip(starts, [*starts[1:], size], strict=True)]


def is_mp3(file: BufferedIOBase) -> bool:
    """Return whether a file begins as MPEG audio does."""
    return _MP3_FRAME.search(_head(file)[:_SHORTEST_MP3].lstrip(b"\0")[:3]) is not None


def _head(file: BufferedIOBase) -> bytes:
    """Return the first bytes that are no tag."""
    file.seek(tag_end(file, 0))
    return file.read(_SHORTEST_MP3)


def mp3_after(file: BufferedIOBase, start: int, end: int) -> Stream | None:
    """Return what follows an MP3 stream that ended at the length that it states, None where nothing does.

    Args:
        file: the whole.
        start: byte after the stream.
        end: where the next one begins.
    """
    start = tag_end(file, start)
    file.seek(start)
    data = file.read(max(min(end - start, _CHUNK), 0))
    found = _MP3_FRAME.search(data)
    if found is None or data.lstrip(b"\0").startswith(_TAGS):
        return None
    return Stream(start + found.start(), end, stated=False)


def tag_end(file: BufferedIOBase, start: int) -> int:
    """Return where an ID3v2 tag ends, or ``start`` where there is none.

    Args:
        file: the whole.
        start: where it would begin.
    """
    file.seek(start)
    head = file.read(10)
    if len(head) < 10 or head[:3] != b"ID3":
        return start
    return start + 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))


def _places(file: BufferedIOBase, pattern: re.Pattern[bytes]) -> Iterator[int]:
    """Yield where a pattern occurs."""
    file.seek(0)
    kept, start = b"", 0
    while chunk := file.read(_CHUNK):
        data = kept + chunk
        last = 0
        for found in pattern.finditer(data):
            yield start + found.start()
            last = found.end()
        keep = min(_LONGEST_START, len(data) - last)
        start += len(data) - keep
        kept = data[len(data) - keep :]


def _riff_starts(file: BufferedIOBase, size: int) -> Iterator[int]:
    start = 0
    while True:
        yield start
        file.seek(start + 4)
        length = int.from_bytes(file.read(4), "little")
        start += 8 + length + length % 2
        file.seek(start)
        if not 0 < length < size or file.read(4) != b"RIFF":
            return


def _ogg_streams(file: BufferedIOBase, size: int) -> Iterator[Stream]:
    """Walk through the pages: a stream begins with pages that say so, and ends with one that says so."""
    start = at = 0
    begins, ended, loss = True, True, ""
    expected: dict[bytes, int] = {}
    while page := _ogg_page(file, at):
        place, length, flags, serial, number = page
        if flags & 2 and not begins:
            yield Stream(start, place, loss=loss or ("" if ended else _OGG_END))
            start, ended, loss, expected = place, True, "", {}
        if place != at or number != expected.get(serial, number):
            loss = loss or "is damaged: a part of it is missing or was altered"
        begins, ended = bool(flags & 2), bool(flags & 4)
        expected[serial] = number + 1
        at = place + length
    file.seek(at)
    yield Stream(start, size, loss=loss or ("" if ended and b"OggS" not in file.read(_CHUNK) else _OGG_END))


def _ogg_page(file: BufferedIOBase, at: int) -> tuple[int, int, int, bytes, int] | None:
    """Return the next whole page's place, length, flags, stream and number."""
    while True:
        file.seek(at)
        head = file.read(_CHUNK // 16)
        found = head.find(b"OggS")
        if found < 0:
            if len(head) < _CHUNK // 16:
                return None
            at += len(head) - 3
            continue
        if found:
            at += found
            file.seek(at)
            head = file.read(_CHUNK // 16)
        if len(head) < _OGG_HEADER:
            return None
        table = head[_OGG_HEADER : _OGG_HEADER + head[26]]
        length = _OGG_HEADER + head[26] + sum(table)
        if len(head) >= length and _ogg_checksum(head[:length]) == int.from_bytes(head[22:26], "little"):
            return at, length, head[5], head[14:18], int.from_bytes(head[18:22], "little")
        at += 4


def _ogg_checksum(page: bytes) -> int:
    """Return a page's checksum: zlib's with the bits in the other order, and other values before and after."""
    data = (page[:22] + b"\0\0\0\0" + page[26:]).translate(_REVERSED)
    value = zlib.crc32(data, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{value:032b}"[::-1], 2)
