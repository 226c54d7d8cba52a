"""One audio file to another, block by block: constant memory, aligned, of the same channels, unclipped."""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from overtone.audio import AudioError, Waveform
from overtone.audio_files.output_forms import FORMAT_OF_SUFFIX, output_form
from overtone.audio_files.recording_writer import write_recording
from overtone.audio_files.recordings import Source
from overtone.audio_files.sources import opened
from overtone.errors import OvertoneError
from overtone.files import written_whole

if TYPE_CHECKING:
    from overtone.enhancer import Enhancer, EnhancerStream

BLOCK_SECONDS = 1.0
HELD_BYTES = 2**24  # of enhanced audio; what is beyond waits in an unnamed file beside the output
HIGHEST_PEAK = 10 ** (-0.1 / 20)  # what a file is scaled to that would clip
FRAMES_AT_ONCE = 2**18


@dataclass(frozen=True)
class EnhancedFile:
    """What became of a file.

    Attributes:
        seconds: of audio.
        processing_seconds: that it took.
        gain_db: by how much it was scaled so that it does not clip, 0 or less.
        complete_share: how much of it was passed on, 0 to 1, because it reaches beyond what the model extends.
        limited_samples: of a stream that could not be scaled, which were bent to stay below full scale.
        loss: what is missing, as the rest of a sentence about the source; empty where nothing is.
        latency_seconds: how late a stream's output is.
        block_seconds: how long each block took.
    """

    seconds: float
    processing_seconds: float
    gain_db: float
    loss: str
    latency_seconds: float
    complete_share: float
    block_seconds: tuple[float, ...] = field(repr=False, default=())
    limited_samples: int = 0


def enhance_file(
    enhancer: "Enhancer",
    source: Path,
    target: Path,
    *,
    output_rate: int | None = None,
    block_seconds: float = BLOCK_SECONDS,
    advance: Callable[[float], None] = lambda seconds: None,
) -> EnhancedFile:
    """Enhance a file of any length to a file.

    Args:
        enhancer: with its model.
        source: anything that libsndfile reads, or ffmpeg where it is installed.
        target: appears when it is whole; its suffix chooses the format. Peaks beyond full scale are avoided by one
            gain over the whole file; a floating-point file keeps them.
        output_rate: in Hz, the model's own where it is None.
        block_seconds: that are read and enhanced at once; the result does not depend on it.
        advance: told after each block how many seconds of the input were enhanced.

    Raises:
        AudioError: the file is not audio, holds no samples or unusable ones, or the format cannot hold the result.
        OSError: a file cannot be read or written.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise AudioError(f"{target}: is the input, which is never overwritten. Choose another file.")
    with opened(source) as recording:
        return enhance_to_file(
            enhancer, recording, target, output_rate=output_rate, block_seconds=block_seconds, advance=advance
        )


def enhance_to_file(
    enhancer: "Enhancer",
    source: Source,
    target: Path,
    *,
    output_rate: int | None = None,
    block_seconds: float = BLOCK_SECONDS,
    advance: Callable[[float], None] = lambda seconds: None,
) -> EnhancedFile:
    """Enhance a recording or what comes through a pipe to a file, as `enhance_file` does.

    Args:
        enhancer: with its model loaded.
        source: a recording or a pipe.
        target: file to write; its suffix chooses the format.
        output_rate: in Hz, None for the model's.
        block_seconds: how much is enhanced at once.
        advance: is called with the seconds of each block that was read.

    Raises:
        AudioError: the target's suffix is unknown, or the source holds no samples or unusable ones.
    """
    started = time.perf_counter()
    stream = start_stream(enhancer, source, output_rate)
    format_name = FORMAT_OF_SUFFIX.get(target.suffix.lower())
    if format_name is None:
        raise AudioError(f"{target}: expected a file of one of {', '.join(FORMAT_OF_SUFFIX)}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.SpooledTemporaryFile(max_size=HELD_BYTES, dir=str(target.parent)) as held:
        times: list[float] = []
        blocks = _told(source.blocks(max(round(block_seconds * source.rate), 1)), source.rate, advance)
        for enhanced in enhanced_blocks(stream, source, blocks, times):
            held.write(enhanced.tobytes())
        samples = held.tell() // 4
        form = output_form(source, format_name, samples)
        gain = HIGHEST_PEAK / stream.peak if form.has_full_scale and stream.peak > 1 else 1.0
        held.seek(0)
        chunks = iter(lambda: held.read(4 * source.channels * FRAMES_AT_ONCE), b"")
        scaled = (np.frombuffer(data, np.float32).reshape(-1, source.channels) * np.float32(gain) for data in chunks)
        with written_whole(target) as temporary:
            write_recording(
                temporary, scaled, stream.output_rate, source.channels, form.container, form.subtype, source.tags
            )
    seconds = samples / source.channels / stream.output_rate
    return EnhancedFile(
        seconds=seconds,
        processing_seconds=time.perf_counter() - started,
        gain_db=20 * float(np.log10(gain)),
        loss=source.loss,
        latency_seconds=stream.latency_seconds,
        complete_share=stream.complete_share,
        block_seconds=tuple(times),
    )


def start_stream(enhancer: "Enhancer", source: Source, output_rate: int | None) -> "EnhancerStream":
    """Start a stream for a source.

    Args:
        enhancer: with its model loaded.
        source: a recording or a pipe.
        output_rate: in Hz, None for the model's.

    Raises:
        AudioError: the runtime does not take its rate; the message names the source.
    """
    try:
        return enhancer.stream(source.rate, source.channels, output_rate)
    except OvertoneError as error:
        raise AudioError(f"{source.name}: {error}") from None


def enhanced_blocks(
    stream: "EnhancerStream", source: Source, blocks: Iterable[Waveform], times: list[float]
) -> Iterator[Waveform]:
    """Yield the enhanced blocks of a source, aligned with it: the stream's latency is cut off at the beginning.

    Args:
        stream: a new one; it is flushed at the end.
        source: for messages.
        blocks: of the source, ``(samples, channels)``.
        times: takes the seconds that each push took.

    Raises:
        AudioError: there are no samples, or unusable ones.
    """
    late, pushed = stream.latency_samples, 0
    for block in blocks:
        started = time.perf_counter()
        try:
            enhanced = stream.push(block)
        except OvertoneError as error:
            raise AudioError(f"{source.name}: {error}") from None
        times.append(time.perf_counter() - started)
        pushed += len(block)
        skipped = min(late, len(enhanced))
        late -= skipped
        yield enhanced[skipped:]
    if not pushed:
        raise AudioError(f"{source.name}: holds no samples. Remove it or replace it.")
    yield stream.flush().reshape(-1, stream.channels)[late:]


def _told(blocks: Iterable[Waveform], rate: int, advance: Callable[[float], None]) -> Iterator[Waveform]:
    for block in blocks:
        yield block
        advance(len(block) / rate)
