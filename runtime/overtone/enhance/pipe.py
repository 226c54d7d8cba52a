"""Enhancement through pipes: standard input, standard output or both, while the sound comes."""

import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from overtone.audio_files.file_enhancement import (
    BLOCK_SECONDS,
    EnhancedFile,
    enhance_to_file,
    enhanced_blocks,
    start_stream,
)
from overtone.audio_files.recordings import Source
from overtone.audio_files.sources import opened
from overtone.audio_files.wave_pipes import RAW_FORMS, HeaderReader, PipeForm, PipeSource, SampleForm, wave_header
from overtone.enhance.batch import STREAM_BLOCK_SECONDS, HowToEnhance, enhancer_of
from overtone.errors import OvertoneError
from overtone.limiter import KNEE, softly_limited

PIPE = "-"
PIPE_FORMATS = ("wav", "raw")
COPIED_BYTES = 2**20


@dataclass(frozen=True)
class RawAudio:
    """Bare samples on standard input, without a header.

    Attributes:
        rate: in Hz.
        channels: how many.
        form: a key of `RAW_FORMS`.
    """

    rate: int
    channels: int
    form: str


def enhance_pipe(
    source: str, out: str, how: HowToEnhance, raw: RawAudio | None, format_name: str | None
) -> EnhancedFile:
    """Enhance standard input or a file to standard output or a file.

    Args:
        source: a file, or ``-``.
        out: a file, or ``-``.
        how: to enhance.
        raw: what standard input holds where it has no header.
        format_name: of standard output, ``wav`` or ``raw``; as the input where it is None.

    Raises:
        OvertoneError: the input is not audio, or the output was closed.
    """
    enhancer = enhancer_of(how.model, how.denoise)
    block_seconds = STREAM_BLOCK_SECONDS if how.stream else BLOCK_SECONDS
    with _opened(source, raw) as opened:
        if out != PIPE:
            return enhance_to_file(
                enhancer, opened, Path(out), output_rate=how.output_rate, block_seconds=block_seconds
            )
        if sys.stdout.isatty():
            raise OvertoneError(
                "--out -: standard output is a terminal. Send it to a program or a file, or name a file."
            )
        bare = format_name == "raw" or (format_name is None and raw is not None)
        try:
            return _to_pipe(how, opened, sys.stdout.buffer, raw.form if raw else None, block_seconds, bare=bare)
        except BrokenPipeError:
            _close_stdout()
            raise OvertoneError("Standard output was closed by the program that read it, before the end.") from None


def _to_pipe(
    how: HowToEnhance, source: Source, pipe: BinaryIO, raw_form: str | None, block_seconds: float, *, bare: bool
) -> EnhancedFile:
    started = time.perf_counter()
    stream = start_stream(enhancer_of(how.model, how.denoise), source, how.output_rate)
    samples = RAW_FORMS[raw_form] if raw_form and RAW_FORMS[raw_form].bits > 8 else _sample_form(source.subtype)
    if not bare:
        pipe.write(wave_header(PipeForm(stream.output_rate, source.channels, samples)))
    times: list[float] = []
    count = bent = 0
    for enhanced in enhanced_blocks(stream, source, source.blocks(max(round(block_seconds * source.rate), 1)), times):
        if not samples.floating:
            bent += int(np.count_nonzero(np.abs(enhanced) > KNEE))
            enhanced = softly_limited(enhanced)
        pipe.write(samples.encoded(enhanced))
        pipe.flush()
        count += len(enhanced)
    seconds = count / stream.output_rate
    return EnhancedFile(
        seconds=seconds,
        processing_seconds=time.perf_counter() - started,
        gain_db=0.0,
        loss=source.loss,
        latency_seconds=stream.latency_seconds,
        block_seconds=tuple(times),
        complete_share=stream.complete_share,
        limited_samples=bent,
    )


@contextlib.contextmanager
def _opened(source: str, raw: RawAudio | None) -> Iterator[Source]:
    if source != PIPE:
        with opened(Path(source)) as recording:
            yield recording
        return
    if sys.stdin.isatty():
        raise OvertoneError("-: standard input is a terminal. Send audio to it, or name a file.")
    # The interpreter opens it so; only its declared type is wider.
    pipe = cast(io.BufferedIOBase, sys.stdin.buffer)
    if raw is not None:
        yield PipeSource(pipe, PipeForm(raw.rate, raw.channels, RAW_FORMS[raw.form]))
        return
    header = HeaderReader(pipe)
    form = header.wave_form()
    if form is not None:
        yield PipeSource(pipe, form)
        return
    with tempfile.TemporaryDirectory(prefix="overtone-") as folder:  # other formats are decoded from a file
        path = Path(folder) / "input"
        with path.open("wb") as whole:
            whole.write(header.taken)
            while data := pipe.read(COPIED_BYTES):
                whole.write(data)
        with opened(path, name="standard input") as recording:
            yield recording


def _sample_form(subtype: str) -> SampleForm:
    forms = {
        "PCM_24": SampleForm(24),
        "PCM_32": SampleForm(32),
        "FLOAT": SampleForm(32, True),
        "DOUBLE": SampleForm(32, True),
    }
    return forms.get(subtype, SampleForm(16))


def _close_stdout() -> None:
    """Close standard output now, or the interpreter complains about the closed pipe when it ends."""
    with contextlib.suppress(OSError):
        sys.stdout.close()
