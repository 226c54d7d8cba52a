"""Where the streams lie that a file holds one after another, as `cat a.mp3 b.mp3` and radio recorders write them.

libsndfile reads the first of them only, and does not say what is missing inside an Ogg stream.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Literal

ENDLESS = 2**40  # bytes; a size that lets libsndfile read an MP3 of unknown length to its true end
_CHUNK = 2**20
_FLAC_FRAME = re.compile(rb"\xff[\xf8\xf9]")
_FLAC_START = re.compile(rb'fLaC[\x00\x80]\x00\x00"')
# A frame that holds no sound (its side information is zero) but the stream's length.
_MP3_LENGTH = re.compile(
    rb"\xff(?:[\xfa\xfb].(?:[\0-\xbf](?:..)?\0{32}|[\xc0-\xff](?:..)?\0{17})"
    rb"|[\xe2\xe3\xf2\xf3].(?:[\0-\xbf](?:..)?\0{17}|[\xc0-\xff](?:..)?\0{9}))(?:Xing|Info)",
    re.DOTALL,
)
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


@dataclass(frozen=True)
class _Chunks:
    """How a format's chunks lie: where the first one begins, and the bytes of a name and of a length."""

    first: int
    name: int
    size: int
    order: Literal["little", "big"]
    align: int
    own_head: bool = False  # whether a length counts its own head


_CHUNKED = {
    b"RIFF": _Chunks(12, 4, 4, "little", 2),
    b"RF64": _Chunks(12, 4, 4, "little", 2),
    b"FORM": _Chunks(12, 4, 4, "big", 2),
    b"riff": _Chunks(40, 16, 8, "little", 8, own_head=True),
    b"caff": _Chunks(8, 4, 8, "big", 1),
}
_STARTS = {*_CHUNKED, b".snd"}


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
    if head[:4] in _STARTS:
        return list(_chunked_streams(file, size))
    if is_flac(file):
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


def is_flac(file: BufferedIOBase) -> bool:
    """Return whether a file is FLAC."""
    return _FLAC_START.match(_head(file)) is not None


def flac_goes_on(file: BufferedIOBase, start: int, end: int) -> bool:
    """Return whether there are frames behind those of a FLAC stream that its header counts.

    Args:
        file: the whole.
        start: byte after what was read.
        end: of the stream.
    """
    behind = _bytes_at(file, start, min(end - start, _CHUNK))
    return not behind.startswith(_TAGS) and _FLAC_FRAME.search(behind) is not None


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


def _chunked_streams(file: BufferedIOBase, size: int) -> Iterator[Stream]:
    """Go from file to file: the next one begins where one says that it ends, or behind its last chunk."""
    start = 0
    while True:
        stated, walked = _stated_end(file, start), _chunks_end(file, start, size)
        joined = [end for end in (stated, walked) if start < end < size and _bytes_at(file, end, 4) in _STARTS]
        if not joined:
            break
        yield Stream(start, joined[0])
        start = joined[0]
    uncounted = walked < min(stated or size, size) and _bytes_at(file, walked, _CHUNK).strip(b"\0")
    loss = f"holds {size - walked} bytes behind its samples that its header does not count"
    yield Stream(start, size, loss=loss if uncounted and not uncounted.startswith(_TAGS) else "")


def _stated_end(file: BufferedIOBase, start: int) -> int:
    """Return where a file ends by its first words, 0 where they do not say it."""
    head = _bytes_at(file, start, 24)
    kind = head[:4]
    if kind == b"riff":
        return start + int.from_bytes(head[16:], "little")
    if kind == b".snd" and head[8:12] != b"\xff\xff\xff\xff":
        return start + int.from_bytes(head[4:8], "big") + int.from_bytes(head[8:12], "big")
    if kind not in (b"RIFF", b"FORM"):
        return 0
    length = int.from_bytes(head[4:8], _CHUNKED[kind].order)
    return start + 8 + length + length % 2


def _chunks_end(file: BufferedIOBase, start: int, size: int) -> int:
    """Return where a file's chunks end: beyond the end of what is there where it was cut off."""
    kind = _bytes_at(file, start, 4)
    if kind == b".snd":  # it has none
        return _stated_end(file, start) or size
    form = _CHUNKED[kind]
    at, wide = start + form.first, 0
    while at < size:
        head = _bytes_at(file, at, form.name + form.size)
        name, length = head[:4], int.from_bytes(head[form.name :], form.order)
        if name in _STARTS or len(head) < form.name + form.size or not (name.isascii() and name.decode().isprintable()):
            break
        if name == b"ds64":
            wide = int.from_bytes(_bytes_at(file, at + 16, 8), "little")
        elif name == b"data" and wide:
            length = wide
        at += max(length, len(head)) if form.own_head else len(head) + length
        at += (start - at) % form.align
    return at


def _bytes_at(file: BufferedIOBase, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


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
