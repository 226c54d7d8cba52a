"""Which format an enhanced file gets: what was asked for, else the input's where it is lossless, else FLAC."""

from dataclasses import dataclass
from pathlib import Path

import soundfile

from overtone.audio_files.recordings import FLOATING, LOSSLESS_BITS, Source
from overtone.errors import OvertoneError

# By the name that `--format` takes: libsndfile's format, and the sample type where there is no choice of it.
FORMATS = {
    "wav": ("WAV", None),
    "flac": ("FLAC", None),
    "aiff": ("AIFF", None),
    "caf": ("CAF", None),
    "w64": ("W64", None),
    "au": ("AU", None),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
FORMAT_OF_SUFFIX = {f".{name}": name for name in FORMATS} | {
    ".wave": "wav",
    ".rf64": "wav",
    ".bwf": "wav",
    ".aif": "aiff",
    ".aifc": "aiff",
    ".oga": "ogg",
    ".snd": "au",
}
LOSSY = frozenset({"ogg", "opus", "mp3"})
LARGEST_WAV = 2**32 - 2**20  # bytes; a larger one becomes RF64, which is WAV with wider lengths
BYTES_OF_SUBTYPE = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}


@dataclass(frozen=True)
class OutputForm:
    """How an enhanced file is written.

    Attributes:
        container: libsndfile's name of the format.
        subtype: libsndfile's name of the sample type.
    """

    container: str
    subtype: str

    @property
    def has_full_scale(self) -> bool:
        """Whether samples beyond 1 would clip, here or in a decoder."""
        return self.subtype not in FLOATING


def format_named(name: str) -> str:
    """Return a name that `--format` was given, in lower case.

    Raises:
        OvertoneError: there is none of this name.
    """
    known = name.lower().removeprefix(".")
    if known not in FORMATS:
        raise OvertoneError(f"--format {name}: unknown; expected one of {', '.join(FORMATS)}.")
    return known


def output_suffix(source: Path, format_name: str | None) -> str:
    """Return the suffix of a file's output.

    Args:
        source: the input.
        format_name: what was asked for, None for the sensible one: lossless formats are kept, what is lossy becomes
            FLAC, since a second lossy coding would damage what was won, and anything else becomes WAV.
    """
    known = FORMAT_OF_SUFFIX.get(source.suffix.lower())
    if format_name is not None:
        return source.suffix if known == format_name else f".{format_name}"
    if known is None:
        return ".wav"
    return ".flac" if known in LOSSY else source.suffix


def output_form(source: Source, format_name: str, samples: int) -> OutputForm:
    """Choose sample type and container.

    The input's sample type is kept where the format has it. Types of 8 bits, of telephony and of lossy codecs
    become 16 or 24 bits, so that the format does not hide what the model adds.

    Args:
        source: the input.
        format_name: a key of `FORMATS`.
        samples: that will be written, of all channels together.
    """
    container, subtype = FORMATS[format_name]
    if subtype is not None:
        return OutputForm(container, subtype)
    wanted = _subtype(source)
    subtype = next(one for one in (wanted, "PCM_24", "PCM_16") if soundfile.check_format(container, one))
    if container == "WAV":
        large = samples * BYTES_OF_SUBTYPE[subtype] > LARGEST_WAV
        container = "RF64" if large else "WAVEX" if source.container == "WAVEX" else "WAV"
    return OutputForm(container, subtype)


def _subtype(source: Source) -> str:
    if source.subtype in BYTES_OF_SUBTYPE:
        return source.subtype
    telephony = source.subtype in {"ULAW", "ALAW"} or LOSSLESS_BITS.get(source.subtype, 16) < 16
    return "PCM_16" if telephony or "ADPCM" in source.subtype or "GSM" in source.subtype else "PCM_24"
