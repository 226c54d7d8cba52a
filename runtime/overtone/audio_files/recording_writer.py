"""Writing audio files block by block, with all their channels and their tags."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import soundfile

from overtone.audio import AudioError, Waveform
from overtone.audio_files.recordings import LOSSLESS_BITS, reason
from overtone.audio_files.wave_pipes import whole_numbers


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
                    f"({reason(error)}). Choose another with --format or --rate."
                ) from None
        checked.flush()
        if checked.error is not None:
            raise checked.error


def _set_tag(file: soundfile.SoundFile, name: str, text: str) -> None:
    try:
        setattr(file, name, text)
    except soundfile.LibsndfileError:  # the format has no place for it
        return
