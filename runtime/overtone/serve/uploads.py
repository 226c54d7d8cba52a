"""Uploaded bytes as a recording, within limits that hold whatever the file says of itself, and answers as WAV."""

from collections.abc import Iterator
from http import HTTPStatus

from overtone.audio import AudioError, Waveform
from overtone.audio_files.recordings import Recording
from overtone.audio_files.wave_pipes import PipeForm, SampleForm, wave_header
from overtone.enhancer import HIGHEST_RATE, LOWEST_RATE
from overtone.serve.limits import Limits
from overtone.serve.refusals import Refused

BLOCK_SECONDS = 1.0
ANSWERED = SampleForm(24)
UNNAMED = "audio"
NAME_LENGTH = 80


class Upload:
    """An upload that is read as `overtone enhance` reads a file, from memory.

    The header is looked at before anything is decoded, and frames are counted while decoding: neither a file that
    says it is short nor hours of silence in a few kilobytes are decoded beyond the limit.

    Args:
        data: an audio file.
        limits: the longest audio and the most channels.

    Attributes:
        recording: what was uploaded.
        frames: that `blocks` has given so far.

    Raises:
        Refused: empty, not audio, too long, of too many channels or an unusual rate.
    """

    def __init__(self, data: bytes, limits: Limits) -> None:
        if not data:
            raise Refused(HTTPStatus.BAD_REQUEST, "The upload is empty. Send an audio file, such as a WAV.")
        try:
            self.recording = Recording(data, "upload")
        except AudioError as error:
            raise Refused(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"{error} Others become one by: ffmpeg -i FILE FILE.wav"
            ) from None
        self.frames, self._limits = 0, limits
        self._require_served_kind()

    def blocks(self) -> Iterator[Waveform]:
        """Yield ``(samples, channels)``.

        Raises:
            Refused: it is too long.
        """
        for block in self.recording.blocks(round(BLOCK_SECONDS * self.recording.rate)):
            self.frames += len(block)
            self._require_length(self.frames)
            yield block

    def _require_served_kind(self) -> None:
        if not LOWEST_RATE <= self.recording.rate <= HIGHEST_RATE:
            raise Refused(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"The sample rate is {self.recording.rate} Hz; served are {LOWEST_RATE} to {HIGHEST_RATE} Hz.",
            )
        if not 1 <= self.recording.channels <= self._limits.channels:
            raise Refused(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"The file has {self.recording.channels} channels; served are 1 to {self._limits.channels}. "
                "Mix it down, or use `overtone enhance`.",
            )
        self._require_length(self.recording.frames or 0)

    def _require_length(self, frames: int) -> None:
        if frames > self._limits.upload_seconds * self.recording.rate:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The audio is longer than {self._limits.longest}. "
                "Cut it, or use `overtone enhance`, which has no limit.",
            )


class WaveAnswer:
    """A WAV of 24 bits that grows block by block.

    Args:
        rate: in Hz.
        channels: how many.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self._rate, self._channels = rate, channels
        self._data = bytearray(len(self._header(0)))

    def add(self, block: Waveform) -> None:
        """Append ``(samples, channels)`` of full scale 1; what is beyond is clipped."""
        self._data += ANSWERED.encoded(block)

    def whole(self) -> bytearray:
        """Return the file."""
        header = self._header(0)
        length = len(self._data) - len(header)
        self._data[: len(header)] = self._header(length)
        self._data += bytes(length % 2)
        return self._data

    def _header(self, length: int) -> bytes:
        return wave_header(PipeForm(self._rate, self._channels, ANSWERED, length))


def download_name(name: str | None, ending: str) -> str:
    """Return a plain file name for a download: letters, digits and ``-_. `` of the given one, never a path.

    Args:
        name: as the user gave it; None for a neutral one.
        ending: what replaces the name's own ending.

    >>> download_name("../../etc/pass<wd>.mp3", "-enhanced.wav")
    'passwd-enhanced.wav'
    """
    last = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    stem = last.rsplit(".", 1)[0] if "." in last.strip(".") else last
    plain = "".join(letter for letter in stem if letter.isalnum() or letter in "-_. ").strip(" .")
    return f"{plain[:NAME_LENGTH] or UNNAMED}{ending}"
