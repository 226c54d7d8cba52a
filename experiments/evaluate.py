"""Scoring folders of audio: any system's output against a reference, with the controls beside it."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from evaluation.bandwidth import effective_band_hz
from evaluation.contracts import System, Utterance
from evaluation.harness import IDENTITY_COLUMNS, Scorer
from evaluation.statistics import applicable, speaker_mean
from experiments.leaderboard import HEADINGS
from experiments.progress import Board, board, console
from experiments.scoring import write_scores
from models.baselines import CONTROLS, build_controls
from runtime.audio import AUDIO_SUFFIXES, Waveform, read_audio, resample
from runtime.errors import OvertoneError

NOT_WRITTEN = [name for name in IDENTITY_COLUMNS if name not in ("file", "condition")]
SUMMARY = ("extended_ber", "lsd", "lsd_hf_band", "lsd_low", "content_ber", "si_sdr", "visqol")

Files = dict[str, Path]


@dataclass(frozen=True)
class References:
    """The target files, and how an utterance is made of each.

    Attributes:
        files: paths by stem.
        band_hz: where each file's own content ends, by stem.
        narrowband: the inputs' paths by stem, None where there are none.
        cutoff_hz: where the inputs' own content ends, None where nobody says.
    """

    files: Files
    band_hz: Mapping[str, float]
    narrowband: Files | None
    cutoff_hz: float | None

    @property
    def condition(self) -> str:
        """What the inputs are: given, a low-passed reference, or none."""
        if self.narrowband is not None:
            return "given"
        return "none" if self.cutoff_hz is None else f"lowpass_{self.cutoff_hz:g}"

    def utterance(self, stem: str) -> Utterance:
        """Return a file's utterance; without inputs its narrowband is the reference, for nobody to look at."""
        wideband, sample_rate = read_audio(self.files[stem])
        narrowband = wideband
        if self.narrowband is not None:
            narrowband = read_audio(self.narrowband[stem])[0]
        elif self.cutoff_hz is not None:
            narrowband = low_passed(wideband, sample_rate, self.cutoff_hz)
        return Utterance(
            file=stem,
            speaker=stem,
            condition=self.condition,
            sample_rate=sample_rate,
            narrowband=narrowband,
            wideband=wideband,
            cutoff_hz=self.cutoff_hz,
            band_hz=self.band_hz[stem],
            clean=self.narrowband is None,
        )


def evaluate(
    reference: Path,
    estimates: Sequence[str],
    out: Path,
    *,
    narrowband: Path | None,
    cutoff_hz: float | None,
    workers: int,
) -> None:
    """Score systems' files against a reference, write the table and print its means.

    Args:
        reference: folder of target files.
        estimates: ``NAME=DIR`` for each system; files belong to the reference of the same stem.
        out: the table, one row per system and file: ``system, file, condition``, a column per measure key,
            ``failures, not_applicable``. Controls that need no training are rows too.
        narrowband: folder of input files, for the controls. Without it, the low-passed reference stands in.
        cutoff_hz: where the input's own content ends; without it, measures of the missing band do not apply.
        workers: processes to score in.

    Raises:
        OvertoneError: a folder, file, name or number is not usable; nothing is written then.
    """
    if out.suffix.lower() != ".csv" or out.is_dir():
        raise OvertoneError(f"--out {out}: expected the name of a .csv file.")
    if workers < 1:
        raise OvertoneError(f"--workers: expected at least 1, got {workers}.")
    files = audio_files(reference)
    systems = {name: paired(folder, files, name) for name, folder in named_folders(estimates).items()}
    inputs = None if narrowband is None else paired(narrowband, files, "--narrowband")
    _check_writable(out.parent)
    with board() as progress:
        bands = check_files(files, systems, inputs, cutoff_hz, progress)
        references = References(files, bands, inputs, cutoff_hz)
        controls = build_controls() if references.condition != "none" else []
        _say_what_controls_hear(references, progress)
        table = score(references, systems, controls, workers, progress)
    write_scores(table.drop(columns=NOT_WRITTEN), out)
    _print_summary(table)
    console.print(f"Table: {out}", soft_wrap=True, highlight=False, markup=False)


def audio_files(folder: Path) -> Files:
    """Return the audio files below a folder by their stems, in order of these; hidden ones are left out.

    Raises:
        OvertoneError: it is no folder, holds no audio, or two files share a stem.
    """
    if not folder.is_dir():
        raise OvertoneError(f"{folder}: no such folder.")
    files: Files = {}
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.suffix.lower() not in AUDIO_SUFFIXES or not path.is_file():
            continue
        if path.stem in files:
            raise OvertoneError(f"{path} and {files[path.stem]} share a stem, by which files are paired. Rename one.")
        files[path.stem] = path
    if not files:
        raise OvertoneError(f"{folder}: expected audio ({', '.join(sorted(AUDIO_SUFFIXES))}), found none.")
    return dict(sorted(files.items()))


def named_folders(estimates: Sequence[str]) -> dict[str, Path]:
    """Read ``NAME=DIR`` of each system.

    Raises:
        OvertoneError: one is malformed, comes twice, or is called like a control.
    """
    folders: dict[str, Path] = {}
    for estimate in estimates:
        name, _, folder = (part.strip() for part in estimate.partition("="))
        if not name or not folder:
            raise OvertoneError(f"--estimate: expected NAME=DIR, got {estimate!r}.")
        if name in folders:
            raise OvertoneError(f"--estimate: expected each name once, got {name!r} twice.")
        if name in CONTROLS:
            raise OvertoneError(f"--estimate: {name!r} is the name of a control. Choose another.")
        folders[name] = Path(folder)
    return folders


def paired(folder: Path, references: Files, name: str) -> Files:
    """Return a folder's counterparts of the references, by stem; files without a reference are left out.

    Raises:
        OvertoneError: as `audio_files`, or a counterpart is missing.
    """
    files = audio_files(folder)
    missing = [stem for stem in references if stem not in files]
    if missing:
        raise OvertoneError(
            f"{name}: {folder} has no file {missing[0]!r} for {references[missing[0]]} "
            f"({len(missing)} of {len(references)} references have no counterpart)."
        )
    return {stem: files[stem] for stem in references}


def check_files(
    references: Files, systems: Mapping[str, Files], inputs: Files | None, cutoff_hz: float | None, progress: Board
) -> dict[str, float]:
    """Read every file once, before hours of scoring; return where each reference's own content ends, by stem.

    Raises:
        OvertoneError: a file cannot be read, has another sample rate than its reference, is an input of another
            length than its reference, or ``cutoff_hz`` is not below a reference's Nyquist frequency.
    """
    bands = {}
    for number, (stem, path) in enumerate(references.items(), start=1):
        wideband, sample_rate = read_audio(path)
        if cutoff_hz is not None and not 0 < cutoff_hz < sample_rate / 2:
            raise OvertoneError(
                f"--cutoff-hz: expected more than 0 and less than {sample_rate / 2:g}, half the sample rate of {path}, "
                f"got {cutoff_hz:g}."
            )
        for files in systems.values():
            _read_at(files[stem], path, sample_rate)
        if inputs is not None and (length := len(_read_at(inputs[stem], path, sample_rate))) != len(wideband):
            raise OvertoneError(
                f"{inputs[stem]} has {length} samples, {path} has {len(wideband)}. Expected an input that is aligned "
                "with the reference, sample by sample."
            )
        bands[stem] = effective_band_hz(wideband, sample_rate)
        progress.update("check files", number, len(references))
    return bands


def _read_at(path: Path, reference: Path, sample_rate: int) -> Waveform:
    waveform, own_rate = read_audio(path)
    if own_rate != sample_rate:
        raise OvertoneError(
            f"{path} has {own_rate} Hz, {reference} has {sample_rate} Hz. Resample one of them: scores of different "
            "rates cannot be compared."
        )
    return waveform


def _check_writable(folder: Path) -> None:
    probe = folder / f".{os.getpid()}.probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OvertoneError(f"{folder}: cannot write there ({error.strerror}). Name another file with --out.") from None


def low_passed(wideband: Waveform, sample_rate: int, cutoff_hz: float) -> Waveform:
    """Return ``(samples,)`` without what lies above ``cutoff_hz``: resampled to twice that and back, as long."""
    low_rate = max(round(2 * cutoff_hz), 1)
    narrowband = resample(resample(wideband, sample_rate, low_rate), low_rate, sample_rate)[: len(wideband)]
    return np.pad(narrowband, (0, len(wideband) - len(narrowband)))


def _say_what_controls_hear(references: References, progress: Board) -> None:
    if references.condition == "none":
        progress.say("No controls: they need --narrowband, or --cutoff-hz to low-pass the reference at.")
    elif references.narrowband is None:
        progress.say(
            f"Controls hear the reference low-passed at {references.cutoff_hz:g} Hz, for want of --narrowband."
        )
    elif references.cutoff_hz is None:
        progress.say("Without --cutoff-hz no band counts as missing: neither its measures apply nor controls fill it.")


def score(
    references: References,
    systems: Mapping[str, Files],
    controls: Sequence[System],
    workers: int,
    progress: Board,
) -> pd.DataFrame:
    """Return the score table of systems and controls."""
    total = len(references.files) * (len(systems) + len(controls))
    tables: list[pd.DataFrame] = []

    def counter(name: str) -> Callable[[int], None]:
        before = sum(map(len, tables))
        return lambda count: progress.update("score", before + count, total, name)

    with Scorer(workers) as scorer:
        for name, files in systems.items():
            tables.append(scorer.score(_file_pairs(references, files), name, progress=counter(name)))
        for control in controls:
            tables.append(
                scorer.score(_control_pairs(references, control), control.name, progress=counter(control.name))
            )
    return pd.concat(tables, ignore_index=True)


def _file_pairs(references: References, files: Files) -> Iterator[tuple[Utterance, Waveform]]:
    for stem, path in files.items():
        yield references.utterance(stem), read_audio(path)[0]


def _control_pairs(references: References, control: System) -> Iterator[tuple[Utterance, Waveform]]:
    for stem in references.files:
        utterance = references.utterance(stem)
        yield utterance, control(utterance)


def _print_summary(table: pd.DataFrame) -> None:
    """Print each system's means over files, and how many rows hold a failed score."""
    summary = Table(box=box.SIMPLE_HEAD, padding=0)
    summary.add_column("system", overflow="fold")
    for key in SUMMARY:
        summary.add_column(Text(HEADINGS[key].replace(" ", "\n", 1)), justify="right")
    for name, rows in table.groupby("system", sort=False):
        style = "dim" if name in CONTROLS else ""
        summary.add_row(*(Text(cell) for cell in (str(name), *(_cell(rows, key) for key in SUMMARY))), style=style)
    console.print(summary)
    failed = int((table["failures"] != "").sum())
    if failed:
        console.print(f"{failed} of {len(table)} rows have failed scores; their column failures says why.")


def _cell(rows: pd.DataFrame, key: str) -> str:
    if applicable(rows, key).empty:
        return "–"
    mean = speaker_mean(rows, key)
    return "failed" if np.isnan(mean) else f"{mean:.3f}"
