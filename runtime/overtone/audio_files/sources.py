"""Any audio file as a source: through libsndfile, else through ffmpeg where it is installed."""

import io
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import cast

from overtone.audio import AudioError, Waveform
from overtone.audio_files.output_forms import FORMAT_OF_SUFFIX
from overtone.audio_files.recordings import Recording
from overtone.audio_files.wave_pipes import HeaderReader, PipeSource

# By how a file begins: what it is, and ffmpeg's name of it. It is told to ffmpeg, which otherwise would also follow
# play lists to other files and to the network.
_KINDS = (
    (re.compile(rb"....ftyp", re.DOTALL), "MPEG-4 audio", "mov"),
    (re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"), "AAC", "aac"),
    (re.compile(rb"\x1a\x45\xdf\xa3"), "WebM or Matroska", "matroska"),
    (re.compile(rb"#!AMR"), "AMR", "amr"),
    (re.compile(rb"\x30\x26\xb2\x75"), "Windows Media", "asf"),
    (re.compile(rb"wvpk"), "WavPack", "wv"),
    (re.compile(rb"MAC "), "Monkey's Audio", "ape"),
    (re.compile(rb"\x0b\x77"), "AC-3", "ac3"),
    (re.compile(rb"OggS"), "Ogg with another codec", "ogg"),
)
THROUGH_FFMPEG = frozenset(
    {".m4a", ".m4b", ".mp4", ".mov", ".3gp", ".3g2", ".aac", ".webm", ".mkv", ".mka"}
    | {".amr", ".awb", ".wma", ".wv", ".ape", ".ac3"}
)
SUFFIXES = frozenset({*FORMAT_OF_SUFFIX, ".mp2", ".sph", ".nist", ".voc", ".gsm"}) | THROUGH_FFMPEG


class ConvertedRecording:
    """A file that ffmpeg decodes, with the attributes of `overtone.audio_files.recordings.Source`.

    Args:
        path: the file.
        name: how messages call it.
        kind: what it is, in words.
        demuxer: ffmpeg's name of its format.

    Raises:
        AudioError: ffmpeg is not installed, or finds no audio in it.
    """

    def __init__(self, path: Path, name: str, kind: str, demuxer: str) -> None:
        program = shutil.which("ffmpeg")
        if program is None:
            way = f"convert the file elsewhere: {shlex.join(('ffmpeg', '-i', name, str(path.with_suffix('.wav'))))}"
            if name != str(path):
                way = "convert it on its way: ffmpeg -i FILE -f wav - | overtone enhance - --out OUT"
            raise AudioError(f"{name}: is {kind}, which needs ffmpeg. Install it, or {way}")
        self.name, self.container, self.subtype, self.loss = name, demuxer, "", ""
        self.tags: dict[str, str] = {}
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        options = ["-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe", "-f", demuxer]
        self._process = subprocess.Popen(
            [program, *options, "-i", f"file:{path}", "-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "wav", "pipe:1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )
        self._output = cast(io.BufferedIOBase, self._process.stdout)
        form = HeaderReader(self._output).wave_form()
        if form is None:
            said = self._ended()
            raise AudioError(f"{name}: not readable as audio (ffmpeg: {said or 'no audio'}). It begins as {kind}.")
        self._pipe = PipeSource(self._output, form)
        self.rate, self.channels = form.rate, form.channels

    def __enter__(self) -> "ConvertedRecording":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._said.closed:
            self._process.kill()
            self._ended()

    def blocks(self, frames: int) -> Iterator[Waveform]:
        """Yield ``(samples, channels)`` float32, at most so many frames at once."""
        yield from self._pipe.blocks(frames)
        if said := self._ended():
            self.loss = f"is damaged (ffmpeg: {said})"

    def _ended(self) -> str:
        """Wait for ffmpeg's end, and return its first words on what is wrong."""
        self._output.close()
        code = self._process.wait()
        with self._said as said:
            said.seek(0)
            lines = said.read(1000).decode(errors="replace").splitlines()
        first = re.sub(r"^\[[^\]]*\] ", "", lines[0]) if lines else ""
        return first or (f"exit code {code}" if code else "")


def opened(path: Path, name: str | None = None) -> Recording | ConvertedRecording:
    """Open a file for reading.

    Args:
        path: the file.
        name: how messages call it, the path where it is None.

    Raises:
        OSError: the file is missing or must not be read.
        AudioError: it is not audio, or ffmpeg is missing that would read it.
    """
    try:
        return Recording(path, name)
    except AudioError:
        if not path.is_file():
            raise
        with path.open("rb") as file:
            head = file.read(16)
        for begin, kind, demuxer in _KINDS:
            if begin.match(head):
                return ConvertedRecording(path, name or str(path), kind, demuxer)
        raise
