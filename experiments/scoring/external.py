"""Systems from outside under a split: what each makes of the utterances, laid over them as `overtone evaluate` does."""

import hashlib
import json
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from shlex import split as words_of

import numpy as np

from datamodules.corpora.manifest import scan
from evaluation.contracts import Utterance
from experiments.keys import file_stamp
from experiments.presets.external import External
from experiments.records import read_record
from experiments.scoring.alignment import Delay, find_delay
from experiments.scoring.external_command import Run, one_core, processor_seconds
from experiments.scoring.folder_job import Source, laid_over
from experiments.scoring.folders import delay_line, read_header
from experiments.scoring.rows import Pair, Unusable
from overtone.audio import Waveform, resample, write_audio
from overtone.errors import OvertoneError
from overtone.files import written_whole

TOLERANCE_SECONDS = 0.05  # by which lengths may differ, as in `evaluate`
DELAY_FILES = 8  # that are listened to for a constant delay
GIVE_UP = 3  # failures one after the other, after which files are not tried any more
LONGEST_NAME = 100
RECORD, LOG = "estimates.json", "log.txt"
COST_SECONDS = (1.0, 9.0)  # the difference of two runs is free of what a start costs
COST_TIMES = (1, 10)  # as long: again where a quick system's difference is too small
COST_REPEATS = 3
COST_LONG_SECONDS = 20.0  # of processor time: a run that takes so much is not repeated
COST_FROM_SECONDS = 0.02  # of processor time: a smaller difference is within what two starts differ by

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Remarks:
    """What was found about a system's estimates of a split.

    Attributes:
        delay: by how much they are late; None where none resembles its utterance.
        rates: that they have, in Hz.
        missing: how many utterances have none.
        failure: why the last run failed; "" where it did not.
    """

    delay: Delay | None = None
    rates: tuple[int, ...] = ()
    missing: int = 0
    failure: str = ""

    @property
    def delay_seconds(self) -> float:
        """How much is taken off their beginning: a constant delay."""
        return self.delay.seconds if self.delay is not None and self.delay.constant else 0.0

    def sentences(self, sample_rate: int) -> list[str]:
        """Return what a reader should know.

        Args:
            sample_rate: of the utterances in Hz.
        """
        said = [f"estimates of {rate} Hz are resampled" for rate in self.rates if rate != sample_rate]
        if self.delay is not None and (line := delay_line(self.delay, self.delay.constant)):
            said.append(line)
        if self.missing:
            have = "utterance has" if self.missing == 1 else "utterances have"
            said.append(f"{self.missing} {have} no estimate: {self.failure or 'there is no file of that name'}")
        return said


@dataclass(frozen=True)
class Estimates:
    """A system's estimates of a split, in files that are named as `name_of` says.

    Attributes:
        name: of the system.
        files: paths by name.
        remarks: what was found about them.
        reasons: why there is none, by name, beyond what the remarks say.
    """

    name: str
    files: Mapping[str, Path]
    remarks: Remarks
    reasons: Mapping[str, str] = field(default_factory=dict)

    def pair(self, system: str, utterance: Utterance) -> Pair | Unusable:
        """Return the estimate of an utterance, aligned, or why there is none.

        Args:
            system: what the pair calls it.
            utterance: that it is of.
        """
        name = name_of(utterance)
        if name not in self.files:
            reason = self.reasons.get(name) or self.remarks.failure or f"there is no file {name}"
            return Unusable(system, reason)
        return laid_over(
            system, utterance, Source(str(self.files[name]), self.remarks.delay_seconds), TOLERANCE_SECONDS
        )

    def __call__(self, utterance: Utterance) -> Waveform:
        """Return the estimate ``(samples,)`` to be heard, as long as the utterance; no samples where there is none."""
        pair = self.pair(self.name, utterance)
        if isinstance(pair, Unusable):
            return np.zeros(0, np.float32)
        heard = np.zeros(utterance.wideband.size, np.float32)
        first = max(round(-self.remarks.delay_seconds * utterance.sample_rate), 0)
        waveform = np.asarray(pair.estimate, np.float32)
        heard[first : first + len(waveform)] = waveform
        return heard


def name_of(utterance: Utterance) -> str:
    """Return what the files of an utterance's input and estimates are called, without suffix; unique in its split."""
    full = f"{utterance.condition}--{utterance.file}"
    plain = re.sub(r"[^A-Za-z0-9+-]", "_", full)[:LONGEST_NAME]
    return f"{plain}-{hashlib.sha256(full.encode()).hexdigest()[:6]}"


def stamps(external: External) -> list[object]:
    """Return what changes when the files of a system from outside do: what they hold, or their size and time."""
    if external.kind == "onnx":
        with Path(external.what).open("rb") as file:
            return [hashlib.file_digest(file, "sha256").hexdigest()]
    if external.kind == "callable":
        module = Path(*external.what.partition(":")[0].split("."))
        return [file_stamp(path) for path in (module.with_suffix(".py"), module / "__init__.py") if path.is_file()]
    if external.kind == "folder":
        return [file_stamp(listed.path) for listed in scan(Path(external.what))]
    return [file_stamp(Path(word)) for word in words_of(external.what) if Path(word).is_file()]


def check_usable(externals: Mapping[str, External]) -> None:
    """Raise where it is clear before anything is trained that systems from outside cannot run.

    Args:
        externals: the systems by name.

    Raises:
        OvertoneError: programs, files or modules are not there; it names all of them.
    """
    if missing := [f"external {name}: {said}" for name, one in externals.items() if (said := _missing(one))]:
        them = "it" if len(missing) == 1 else "them"
        raise OvertoneError(f"{' '.join(missing)} Or take {them} out of `external`.")


def _missing(external: External) -> str:
    """What a system needs and is not there, in a sentence; "" where nothing is known to be missing."""
    what = external.what
    if external.kind == "onnx" and not Path(what).is_file():
        return f"{what}: no such file. Fetch it, or name another path."
    if external.kind == "command" and shutil.which(program := words_of(what)[0]) is None:
        return f"expected a program, found no {program}. Install it, or name its path."
    if external.kind == "callable":
        top = what.partition(":")[0].partition(".")[0]
        if top not in sys.modules and PathFinder.find_spec(top, [str(Path.cwd()), *sys.path]) is None:
            return f"expected a module, found no {top} in {Path.cwd()}. Put {top}.py there, or install it."
    return ""


@dataclass(frozen=True)
class ExternalSystem:
    """A system from outside in one comparison.

    Attributes:
        name: of the system.
        external: what it is.
        sample_rate: of the utterances in Hz.
        folder: for its estimates of the split; what was made there before is kept.
    """

    name: str
    external: External
    sample_rate: int
    folder: Path

    @property
    def inputs(self) -> Path:
        """The folder of its inputs, while it needs them."""
        return self.folder / "inputs"

    @property
    def estimates(self) -> Path:
        """The folder of its estimates."""
        return Path(self.external.what) if self.external.kind == "folder" else self.folder / "estimates"

    @property
    def log(self) -> Path:
        """The file with what it has printed."""
        return self.folder / LOG

    @property
    def has_estimates(self) -> bool:
        """Whether its folder of estimates holds any audio."""
        return bool(self._files())

    def has_estimate_of_any(self, utterances: Iterable[Utterance]) -> bool:
        """Return whether any file there is named as one of these utterances; they are made up to the first that is."""
        files = self._files()
        return bool(files) and any(name_of(utterance) in files for utterance in utterances)

    @property
    def _rate(self) -> int:
        return self.external.sample_rate or self.sample_rate

    def kept(self) -> Estimates | None:
        """Return the estimates that were made before; None where there are none."""
        path = self.folder / RECORD
        if not path.is_file():
            return None
        return Estimates(self.name, self._files(), read_record(path, Remarks, "Remove it to run the system again."))

    def made(self, utterances: Iterable[Utterance], count: int, progress: Progress) -> Estimates:
        """Let the system make what is not there yet, and find out how it lies over the utterances.

        Args:
            utterances: of the split.
            count: how many there are.
            progress: called with how many of how many estimates are there.
        """
        names, heard = self._write_inputs(utterances, count)
        reasons: Mapping[str, str] = {}
        failure = ""
        if self.external.kind != "folder":
            reasons, failure = self._run(names, lambda done: progress(done, len(names)))
        files = self._files()
        delay = find_delay((files[name], (target, self.sample_rate)) for name, target in heard.items() if name in files)
        rates = {header.rate for path in files.values() if (header := read_header(str(path)))}
        missing = len([name for name in names if name not in files])
        remarks = Remarks(delay, tuple(sorted(rates)), missing, failure)
        with written_whole(self.folder / RECORD) as temporary:
            temporary.write_text(json.dumps(asdict(remarks)), encoding="utf-8")
        if not (missing and self.external.kind == "folder"):  # whoever makes the missing ones needs their inputs
            shutil.rmtree(self.inputs, ignore_errors=True)
        return Estimates(self.name, files, remarks, reasons)

    def write_inputs(self, utterances: Iterable[Utterance]) -> None:
        """Write all inputs, for whoever makes the estimates elsewhere."""
        self._write_inputs(utterances, 1)

    def _write_inputs(self, utterances: Iterable[Utterance], count: int) -> tuple[list[str], dict[str, Waveform]]:
        """Write the inputs that have no estimate; return all names, and the targets of some, evenly spread."""
        self.inputs.mkdir(parents=True, exist_ok=True)
        chosen = {index * count // min(count, DELAY_FILES) for index in range(min(count, DELAY_FILES))}
        files, names, heard = self._files(), [], {}
        for number, utterance in enumerate(utterances):
            names.append(name := name_of(utterance))
            if number in chosen:
                heard[name] = utterance.wideband
            seconds = len(utterance.narrowband) / self.sample_rate
            if name not in files or not _lasts(files[name], seconds):
                given = resample(utterance.narrowband, self.sample_rate, self._rate)
                write_audio(self.inputs / f"{name}.wav", given, self._rate, "FLOAT")
        return names, heard

    def _run(self, names: list[str], progress: Callable[[int], None]) -> tuple[dict[str, str], str]:
        """Run it on the inputs; return reasons by name, and why the last run failed."""
        self._adopt()
        left = sorted(self.inputs.glob("*.wav"))
        if not left:
            return {}, ""
        done = len(names) - len(left)
        made = Path(tempfile.mkdtemp(prefix="run-", dir=self.folder))
        try:
            if self.external.over == "folder":
                return {}, self._one(self.inputs, made, len(left)).wait(lambda count: progress(done + count))
            return self._each(left, made, lambda count: progress(done + count))
        finally:
            self._adopt()

    def _each(self, left: list[Path], made: Path, progress: Callable[[int], None]) -> tuple[dict[str, str], str]:
        reasons: dict[str, str] = {}
        failures: list[str] = []
        for number, path in enumerate(left, start=1):
            failure = self._one(path, made / path.name, 1).wait(lambda _: None)
            if not failure and not (made / path.name).is_file():
                failure = "it ended well, but made no file"
            if failure:
                failures.append(failure)
                reasons[path.stem] = failure
            else:
                failures.clear()
            progress(number)
            if len(failures) == GIVE_UP:
                return reasons, f"not tried after {GIVE_UP} failures: {failure}"
        return reasons, ""

    def _one(self, given: Path, made: Path, utterances: int) -> Run:
        return Run(self.external, given, made, utterances, self.log)

    def _adopt(self) -> None:
        """Take over what runs have made, also one that was killed: its last file may be cut off, and is made again."""
        self.estimates.mkdir(parents=True, exist_ok=True)
        for run in sorted(self.folder.glob("run-*")):
            for listed in scan(run):
                given = self.inputs / f"{listed.path.stem}.wav"
                if given.is_file():
                    for earlier in self.estimates.glob(f"{listed.path.stem}.*"):
                        earlier.unlink()
                    listed.path.replace(self.estimates / listed.path.name)
                    header = read_header(str(given))
                    if header and _lasts(self.estimates / listed.path.name, header.seconds):
                        given.unlink()
            shutil.rmtree(run, ignore_errors=True)

    def _files(self) -> dict[str, Path]:
        return {listed.path.stem: listed.path for listed in scan(self.estimates)} if self.estimates.is_dir() else {}

    def real_time_factor(self) -> float | None:
        """Return processor seconds of one core per second of audio, without the start; lower is faster.

        It is the difference of a long and a short run on noise, the median of several where they are quick; of longer
        noise where the least of them is too little.

        Returns:
            None where a run fails, or a difference is too small to tell from that of two starts.
        """
        with one_core(), tempfile.TemporaryDirectory(prefix="cost-", dir=self.folder) as folder:
            for times in COST_TIMES:
                spent = self._spent(Path(folder) / str(times), [times * seconds for seconds in COST_SECONDS])
                if not spent:
                    return None
                if min(spent) > COST_FROM_SECONDS:
                    return statistics.median(spent) / (times * (COST_SECONDS[1] - COST_SECONDS[0]))
        return None

    def _spent(self, folder: Path, lengths: Sequence[float]) -> list[float]:
        """Differences in processor seconds of runs on noise of two lengths in seconds; none where one fails."""
        spent: list[float] = []
        for repeat in range(COST_REPEATS):
            runs = [self._cost_run(folder / f"{repeat}-{seconds:g}", seconds) for seconds in lengths]
            (least, _), (most, _) = found = [processor_seconds(run) for run in runs]
            if any(failure for _, failure in found):
                return []
            spent.append(most - least)
            if most > COST_LONG_SECONDS:
                break
        return spent

    def _cost_run(self, folder: Path, seconds: float) -> Run:
        given, made = folder / "given", folder / "made"
        for place in (given, made):
            place.mkdir(parents=True)
        noise = np.random.default_rng(0).standard_normal(round(seconds * self._rate)).astype(np.float32) * 0.05
        write_audio(given / "noise.wav", noise, self._rate, "FLOAT")
        if self.external.over == "file":
            given, made = given / "noise.wav", made / "noise.wav"
        return self._one(given, made, 1)


def _lasts(path: Path, seconds: float) -> bool:
    header = read_header(str(path))
    return header is not None and header.seconds >= seconds - TOLERANCE_SECONDS
