"""Many files at once: several processes, one bar by seconds of audio, and a stop that leaves nothing half-written."""

import contextlib
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from overtone.audio_files.file_enhancement import BLOCK_SECONDS, EnhancedFile, enhance_file
from overtone.audio_files.recordings import Recording
from overtone.enhance.plan import FileJob
from overtone.enhancer import Enhancer
from overtone.errors import OvertoneError, in_words
from overtone.files import remove_parts
from overtone.model_package import load_model
from overtone.progress import Board, board
from overtone.worker_pool import WorkerPool

JOB = "seconds of audio"
TICK_SECONDS = 0.25
STREAM_BLOCK_SECONDS = 0.01


@dataclass(frozen=True)
class HowToEnhance:
    """What all files of a batch have in common.

    Attributes:
        model: folder of the exported model.
        denoise: whether the model may change what the input already holds.
        stream: whether the files go through in blocks of 10 ms, as a microphone's sound would.
        output_rate: in Hz, the model's own where it is None.
    """

    model: Path
    denoise: bool = False
    stream: bool = False
    output_rate: int | None = None


@dataclass(frozen=True)
class _Task:
    number: int
    job: FileJob
    how: HowToEnhance
    counter: Path


def enhance_files(
    jobs: Sequence[FileJob], how: HowToEnhance, workers: int
) -> Iterator[tuple[FileJob, EnhancedFile | str]]:
    """Enhance files; yield each with what became of it, or with what went wrong in words, as it is finished.

    Args:
        jobs: files.
        how: to enhance them.
        workers: processes, of which 1 is the calling one.

    Raises:
        OvertoneError: the model is unusable.
    """
    enhancer_of(how.model, how.denoise)  # an unusable model is said once, and before anything else
    # Windows removes no file that is still mapped; the system's own clean-up takes it.
    with tempfile.TemporaryDirectory(prefix="overtone-", ignore_cleanup_errors=True) as folder, board() as shown:
        counter = Path(folder) / "seconds"
        seconds = np.memmap(counter, np.float64, "w+", shape=(len(jobs) + 1,))  # the first one: stop
        tasks = [_Task(number, job, how, counter) for number, job in enumerate(jobs, start=1)]
        unfinished = {task.number: task.job.target for task in tasks}
        with _ticking(shown, seconds, jobs), WorkerPool(min(workers, len(jobs))) as pool:
            try:
                for task, result in pool.map(_run, tasks):
                    del unfinished[task.number]
                    yield task.job, result or f"{task.job.source}: its process was ended, for lack of memory perhaps."
            except BaseException:
                seconds[0] = 1
                raise
            finally:
                # A process that Ctrl-C or the system ends cannot tidy up after itself.
                for target in unfinished.values() if workers > 1 else ():
                    remove_parts(target)


@lru_cache(maxsize=1)
def enhancer_of(model: Path, denoise: bool) -> Enhancer:
    """Return the enhancer of this process.

    Args:
        model: folder of the model package.
        denoise: whether the band below the cutoff is also changed.
    """
    return Enhancer(load_model(model), denoise=denoise)


def _run(task: _Task) -> EnhancedFile | str:
    seconds = np.memmap(task.counter, np.float64, "r+")

    def advance(done: float) -> None:
        seconds[task.number] += done
        if seconds[0]:
            raise KeyboardInterrupt

    try:
        return enhance_file(
            enhancer_of(task.how.model, task.how.denoise),
            task.job.source,
            task.job.target,
            output_rate=task.how.output_rate,
            block_seconds=STREAM_BLOCK_SECONDS if task.how.stream else BLOCK_SECONDS,
            advance=advance,
        )
    except OSError as error:
        return in_words(error)
    except OvertoneError as error:
        return str(error)


@contextlib.contextmanager
def _ticking(shown: Board, seconds: np.memmap, jobs: Sequence[FileJob]) -> Iterator[None]:
    """Show from a thread how many seconds of audio are done while the processes work."""
    ended = threading.Event()

    def tick() -> None:
        total = sum(_seconds(job.source) for job in jobs)
        while not ended.wait(TICK_SECONDS):
            done = float(seconds[1:].sum())
            shown.update(JOB, round(done), round(max(total, done + 1)))
        done = round(float(seconds[1:].sum()))
        shown.update(JOB, done, done)

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _seconds(source: Path) -> float:
    try:
        if not source.is_file():  # a pipe can be read only once
            return 0.0
        with Recording(source) as recording:
            return (recording.frames or 0) / recording.rate
    except (OvertoneError, OSError):
        return 0.0
