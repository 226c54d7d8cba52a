"""The systems from outside in a comparison: where each is kept, its scores, its cost, and what a reader should know."""

import json
import math
from functools import cached_property, partial
from pathlib import Path

import pandas as pd

from evaluation.contracts import Utterance
from experiments.keys import digest
from experiments.presets.preset import Preset
from experiments.records import read_record
from experiments.scoring.external import Estimates, ExternalSystem, check_usable, stamps
from experiments.scoring.splits import ScoredSplit, ScoringTask
from experiments.training.resource_use import processor_name
from overtone.audio import Waveform
from overtone.errors import OvertoneError
from overtone.files import written_whole
from overtone.progress import Board

COST = "cost.json"


class Externals:
    """A preset's systems from outside on a split.

    Args:
        preset: that names them.
        split: whose utterances they get.
        utterances_key: of these.
        runs: folder for runs.
        progress: told how far they are.

    Raises:
        OvertoneError: some cannot run, because their programs or files are not there.
    """

    def __init__(self, preset: Preset, split: ScoredSplit, utterances_key: str, runs: Path, progress: Board) -> None:
        self._split, self._progress, self._rate = split, progress, preset.sample_rate
        self._systems: dict[str, ExternalSystem] = {}
        check_usable(preset.external)
        for name, external in preset.external.items():
            settings = (external.kind, external.what, external.sample_rate, external.output_sample_rate)
            key = digest(settings, external.input_name, external.over, stamps(external))
            folder = runs / "external" / f"{name}-{key}" / f"{split.name}-{utterances_key}"
            self._systems[name] = ExternalSystem(name, external, preset.sample_rate, folder)

    @property
    def names(self) -> tuple[str, ...]:
        """Those of the systems."""
        return tuple(self._systems)

    @property
    def keys(self) -> list[str]:
        """What changes when one of them, or what it is given, changes."""
        return sorted(system.folder.parent.name for system in self._systems.values())

    def ask_for_estimates(self) -> None:
        """Raise where folders of estimates have none; the inputs that they are to be made of are written then.

        Raises:
            OvertoneError: says where they are.
        """
        utterances, asked = self._split.utterances, []
        for name, system in self._systems.items():
            if system.external.kind != "folder" or system.has_estimate_of_any(utterances):
                continue
            self._progress.say(f"{name}: writing {len(utterances)} inputs")
            system.write_inputs(utterances)
            found = "files of other names only" if system.has_estimates else "no audio"
            asked.append(
                f"external {name}: expected estimates of {len(utterances)} utterances of {self._split.name} in "
                f"{system.estimates}, found {found}. Their inputs are in {system.inputs}: enhance each into a file of "
                f"the same name in {system.estimates}, then start the same command again."
            )
        if asked:
            raise OvertoneError(" ".join(asked))

    def run(self) -> None:
        """Make the estimates that are not there yet, and tell what went wrong: before hours of training, not after."""
        for name, system in self._systems.items():
            kept = system.kept()
            if system.external.kind == "folder" or (kept and not kept.remarks.missing):
                continue
            remarks = self._made(name).remarks
            for sentence in remarks.sentences(self._rate):
                self._progress.say(f"{name}: {sentence}")
            if remarks.missing:
                self._progress.say(f"{name}: {system.log} has what it printed. The comparison goes on; Ctrl-C ends it.")

    def tasks(self) -> list[ScoringTask]:
        """Return what is to be scored."""
        return [ScoringTask(name, partial(self._ready, name), system.folder) for name, system in self._systems.items()]

    def _ready(self, name: str) -> Estimates:
        """The estimates of this run's own making, made now where there are none, or some were missing before."""
        return self._estimates.get(name) or self._made(name)

    @cached_property
    def _estimates(self) -> dict[str, Estimates]:
        return {}

    def _made(self, name: str) -> Estimates:
        def progress(done: int, total: int) -> None:
            self._progress.update(f"enhance with {name}", done, total)

        utterances = self._split.utterances
        self._estimates[name] = self._systems[name].made(utterances, len(utterances), progress)
        return self._estimates[name]

    def _of(self, name: str) -> Estimates:
        """The estimates, from the run that made them, or as an earlier command left them."""
        if name not in self._estimates and (kept := self._systems[name].kept()):
            self._estimates[name] = kept
        return self._ready(name)

    def enhance(self, name: str, utterance: Utterance) -> Waveform:
        """Return a system's estimate ``(samples,)`` of an utterance; no samples where it has none.

        Args:
            name: of the system.
            utterance: of the split.
        """
        return self._of(name)(utterance)

    def costs(self) -> pd.DataFrame:
        """Return the real-time factor of each on one core, NaN where it is not known, indexed by system."""
        factors = {name: self._real_time_factor(name, system) for name, system in self._systems.items()}
        return pd.DataFrame({"rtf": factors}, dtype=float)

    def _real_time_factor(self, name: str, system: ExternalSystem) -> float:
        """Measured once a machine and kept; of a system that has made nothing there is nothing to measure."""
        if system.external.kind == "folder" or not self._of(name).files:
            return math.nan
        path, machine = system.folder.parent / COST, processor_name()
        measured = read_record(path, dict[str, float], "Remove it to measure anew.") if path.is_file() else {}
        if machine not in measured:
            self._progress.say(f"{name}: measuring its speed on one core")
            factor = system.real_time_factor()
            measured[machine] = math.nan if factor is None else factor
            with written_whole(path) as temporary:
                temporary.write_text(json.dumps(measured))
        return measured[machine]

    def words(self) -> dict[str, str]:
        """Return by system what it is, what was done to its estimates and what its cost was measured on."""
        return {name: self._words(name, system) for name, system in self._systems.items()}

    def _words(self, name: str, system: ExternalSystem) -> str:
        external = system.external
        given = f", given {external.sample_rate} Hz" if external.sample_rate else ""
        parts = [f"{external.kind} `{external.what}`{given}", *self._of(name).remarks.sentences(self._rate)]
        if external.kind != "folder" and self._of(name).files:
            known = not math.isnan(self._real_time_factor(name, system))
            measured = f"RTF without its start, on one core of {processor_name()}"
            parts.append(measured if known else "no RTF: it failed on noise, or is lost in what a start takes")
        return "; ".join(parts)
