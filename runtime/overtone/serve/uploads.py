"""Uploaded bytes to samples, within limits that hold whatever the file says of itself."""

import io
from http import HTTPStatus

import numpy as np
import soundfile
from numpy.typing import NDArray

from overtone.enhancer import HIGHEST_RATE, LOWEST_RATE
from overtone.serve.limits import Limits
from overtone.serve.refusals import Refused

BLOCK_FRAMES = 1 << 16
UNKNOWN_FRAMES = 1 << 62  # libsndfile's count for streams whose header does not say
UNNAMED = "audio"
NAME_LENGTH = 80
Samples = NDArray[np.float32]


def decode(data: bytes, limits: Limits) -> tuple[Samples, int]:
    """Decode any format that libsndfile knows, from memory.

    The header is looked at before anything is decoded, and frames are counted while decoding: neither a file that
    says it is short nor hours of silence in a few kilobytes are decoded beyond the limit.

    Args:
        data: an audio file.
        limits: the longest audio and the most channels.

    Returns:
        Samples ``(frames, channels)`` and their rate in Hz.

    Raises:
        Refused: empty, not audio, too long, of too many channels or an unusual rate, damaged, NaN.
    """
    if not data:
        raise Refused(HTTPStatus.BAD_REQUEST, "The upload is empty. Send an audio file, such as a WAV.")
    try:
        file = soundfile.SoundFile(io.BytesIO(data))
    except soundfile.LibsndfileError as error:
        raise _not_audio(error) from None
    with file:
        _require_served_kind(file, limits)
        samples, sample_rate = _read(file, limits), file.samplerate
    if not len(samples):
        raise Refused(HTTPStatus.BAD_REQUEST, "The file holds no samples. Record or save it again.")
    bad = np.flatnonzero(~np.isfinite(samples).all(axis=1))
    if bad.size:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"The audio holds a value that is not a number, first at sample {bad[0]}. Save it again from its source.",
        )
    return samples, sample_rate


def encode(samples: Samples, sample_rate: int) -> bytes:
    """Encode as WAV of 24 bits.

    Args:
        samples: ``(frames, channels)``.
        sample_rate: in Hz.
    """
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, format="WAV", subtype="PCM_24")
    return file.getvalue()


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


def _require_served_kind(file: soundfile.SoundFile, limits: Limits) -> None:
    if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"The sample rate is {file.samplerate} Hz; served are {LOWEST_RATE} to {HIGHEST_RATE} Hz.",
        )
    if not 1 <= file.channels <= limits.channels:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"The file has {file.channels} channels; served are 1 to {limits.channels}. "
            "Mix it down, or use `overtone enhance`.",
        )
    if file.frames < UNKNOWN_FRAMES and file.frames > limits.upload_seconds * file.samplerate:
        raise _too_long(limits)


def _read(file: soundfile.SoundFile, limits: Limits) -> Samples:
    most = int(limits.upload_seconds * file.samplerate)
    blocks: list[Samples] = []
    count = 0
    try:
        while len(block := file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
            count += len(block)
            if count > most:
                raise _too_long(limits)
            blocks.append(block)
    except (soundfile.LibsndfileError, soundfile.SoundFileRuntimeError) as error:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"The audio is damaged after {count / file.samplerate:.1f} s ({_reason(error)}). "
            "Save it again from its source.",
        ) from None
    return np.concatenate(blocks) if blocks else np.zeros((0, file.channels), np.float32)


def _too_long(limits: Limits) -> Refused:
    return Refused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"The audio is longer than {limits.upload_seconds:g} seconds. "
        "Cut it, or use `overtone enhance`, which has no limit.",
    )


def _not_audio(error: Exception) -> Refused:
    return Refused(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f"Not readable as audio ({_reason(error)}). Served are WAV, FLAC, MP3, Ogg, Opus, AIFF, AU and CAF.",
    )


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).removeprefix("Error : ").rstrip(".")
