"""`overtone enhance`: files, folders, patterns and pipes through an exported model, without torch and MLflow."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from overtone.audio_files.file_enhancement import EnhancedFile
from overtone.audio_files.output_forms import FORMAT_OF_SUFFIX, format_named
from overtone.enhance.batch import HowToEnhance, enhance_files
from overtone.enhance.pipe import PIPE, PIPE_FORMATS, RawAudio, enhance_pipe
from overtone.enhance.plan import plan_files
from overtone.errors import OvertoneError
from overtone.files import refuse_overwriting
from overtone.packed_models import default_model
from overtone.progress import console
from overtone.worker_pool import available_cores

WORTH_A_NOTE = 0.1  # of a recording


@dataclass(frozen=True)
class EnhanceOptions:
    """Choices of an enhancement.

    Attributes:
        profile: which packed model, where none is named.
        model: folder of an exported model.
        denoise: whether the model may change what the input already holds.
        stream: whether to work in blocks of 10 ms and say how late and how fast that is.
        format: of the output, None for the input's own or, where that loses something, FLAC.
        rate: of the output in Hz, None for the model's.
        jobs: processes, None for one per core.
        overwrite: whether outputs that exist are made again.
        raw: what standard input holds where it has no header.
    """

    profile: str = "fullband"
    model: Path | None = None
    denoise: bool = False
    stream: bool = False
    format: str | None = None
    rate: int | None = None
    jobs: int | None = None
    overwrite: bool = False
    raw: RawAudio | None = None


def enhance(inputs: Sequence[str], out: str, options: EnhanceOptions) -> None:
    """Enhance inputs and say what became of them.

    Args:
        inputs: files, folders, patterns, or ``-`` alone.
        out: a file, a folder, or ``-``.
        options: the choices.

    Raises:
        OvertoneError: nothing could be begun with; or some inputs failed, which the message lists.
    """
    model = options.model or default_model(options.profile)
    how = HowToEnhance(model, options.denoise, options.stream, options.rate)
    if PIPE in inputs or out == PIPE:
        _through_pipe(inputs, out, how, options)
        return
    if options.raw is not None:
        raise OvertoneError("--raw-rate: describes standard input. Expected - as the input.")
    plan = plan_files(
        inputs, out, format_named(options.format) if options.format else None, overwrite=options.overwrite
    )
    started = time.perf_counter()
    failures, done = list(plan.problems), []
    workers = options.jobs or available_cores()
    for job, result in enhance_files(plan.jobs, how, workers) if plan.jobs else ():
        if isinstance(result, str):
            failures.append(result)
            continue
        done.append(result)
        for note in _notes(result):
            console.print(f"{job.target}: {note}", highlight=False, markup=False, soft_wrap=True)
        if result.loss:
            failures.append(f"{job.source}: {result.loss}; what is there is in {job.target}.")
    for line in _summary(done, len(plan.existing), time.perf_counter() - started, stream=options.stream):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if failures:
        total = len(plan.jobs) + len(plan.existing) + len(plan.problems)
        heading = f"{len(failures)} of {total} inputs failed:\n  " if total > 1 else ""
        raise OvertoneError(heading + "\n  ".join(failures))


def _through_pipe(inputs: Sequence[str], out: str, how: HowToEnhance, options: EnhanceOptions) -> None:
    if len(inputs) != 1:
        raise OvertoneError(f"-: expected one input where a pipe takes part, received {len(inputs)}.")
    if out == PIPE and options.format not in (None, *PIPE_FORMATS):
        raise OvertoneError(f"--format {options.format}: standard output takes {' or '.join(PIPE_FORMATS)}.")
    if out != PIPE:
        _check_target(Path(out), options)
    elif inputs[0] != PIPE and not Path(inputs[0]).is_file():
        raise OvertoneError(f"{inputs[0]}: no such file. Standard output takes one file.")
    result = enhance_pipe(inputs[0], out, how, options.raw, options.format)
    for line in (*_notes(result), *_summary([result], 0, result.processing_seconds, stream=True)):
        print(line, file=sys.stderr)
    if result.loss:
        raise OvertoneError(f"The input {result.loss}; what came was enhanced.")


def _check_target(target: Path, options: EnhanceOptions) -> None:
    known = FORMAT_OF_SUFFIX.get(target.suffix.lower())
    if known is None or target.is_dir():
        raise OvertoneError(
            f"--out {target}: expected a file of one of {', '.join(FORMAT_OF_SUFFIX)} for standard input."
        )
    if options.format is not None and format_named(options.format) != known:
        raise OvertoneError(f"--out {target} and --format {options.format} differ. Leave one of them out.")
    refuse_overwriting(target, overwrite=options.overwrite)


def _notes(result: EnhancedFile) -> Iterator[str]:
    """Say what was not enhanced, and what was done to keep peaks below full scale."""
    if result.complete_share > WORTH_A_NOTE:
        yield f"{result.complete_share:.0%} of it reaches beyond what this model extends, and stayed as it was."
    if result.gain_db:
        yield f"scaled by {result.gain_db:.1f} dB, so that its peaks do not clip."
    if result.limited_samples:
        yield f"{result.limited_samples} samples above 0.9 of full scale were bent, so that they do not clip."


def _summary(done: Sequence[EnhancedFile], existing: int, elapsed: float, *, stream: bool) -> list[str]:
    lines = []
    if done:
        seconds = sum(result.seconds for result in done)
        lines.append(
            f"Enhanced {_counted(len(done), 'file')}, {seconds:.1f} s of audio in {elapsed:.1f} s "
            f"({seconds / elapsed:.3g} times real time)."
        )
    if existing:
        stayed = (
            "stayed as it was; --overwrite makes it" if existing == 1 else "stayed as they were; --overwrite makes them"
        )
        lines.append(f"{_counted(existing, 'output')} existed and {stayed} again.")
    if stream and done:
        blocks = np.concatenate([result.block_seconds for result in done]) * 1000
        latency = max(result.latency_seconds for result in done) * 1000
        lines.append(
            f"Stream: latency {latency:.1f} ms; {len(blocks)} blocks, of which half took {np.median(blocks):.2f} ms "
            f"or less, 99.9 % {np.quantile(blocks, 0.999):.2f} ms or less."
        )
    return lines


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
