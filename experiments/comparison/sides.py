"""The two things that `overtone diff` puts beside each other: their scores, and what they were configured with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from datamodules.corpora.manifest import scan
from evaluation.contracts import System, Utterance
from evaluation.measures.catalogue import MEASURES
from experiments.comparison.options import DiffOptions
from experiments.data.opening import open_corpus
from experiments.export.source import CONFIGURATION as TRAINING
from experiments.keys import digest
from experiments.presets.preset import RESOLVED, Preset, load_preset
from experiments.presets.winner_rule import UNPROCESSED
from experiments.ranking.findings import FILE as FINDINGS
from experiments.ranking.findings import read_stored
from experiments.ranking.primary import PRIMARY, PRIMARY_MEASURES, add_primary
from experiments.runs import count_test_use, find_runs_folder
from experiments.scoring.rows import score_pairs
from experiments.scoring.splits import Utterances, read_scores
from experiments.tracking.run import flat_parameters
from experiments.training.fit import make_datamodule
from models.baselines import CONTROLS, Unprocessed
from overtone.audio import Waveform
from overtone.enhancer import Enhancer
from overtone.errors import OvertoneError
from overtone.model_package import CHECKSUMS, Model, check_sums, load_model
from overtone.progress import Board
from overtone.worker_pool import WorkerPool, available_cores

IDENTITY = ("system", "file", "condition")
SHOWN_OF_A_PACKAGE = ("sample_rate", "latency_samples", "widest_input_hz", "data_digest", "commit", "libraries")


class PackagedSystem:
    """An exported model as the harness knows systems: what ``overtone enhance`` makes of an utterance.

    Args:
        folder: of the package.
        denoise: as `Enhancer` takes it.
        name: for the column ``system``; the architecture's where it is empty.
    """

    def __init__(self, folder: Path, *, denoise: bool, name: str = "") -> None:
        self.enhancer = Enhancer(load_model(folder), denoise=denoise)
        self.name = name or self.enhancer.model.name

    def __call__(self, utterance: Utterance) -> Waveform:
        """Enhance the narrowband; nothing else of the utterance is looked at."""
        enhanced, _ = self.enhancer.enhance(utterance.narrowband, utterance.sample_rate)
        return enhanced[: utterance.narrowband.size]


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        words: what it is.
        scores: its score table, with the column ``primary`` where that is known.
        preset: name of its preset; None where that is not known.
        champion: the system that it stands for; None without one.
        configuration: settings as texts, by their dotted names; empty where none are known.
        load: gives what makes a system's sounds, by its name, or None; None itself where there are scores only.
        outside: names of its systems from outside, which are scored on test alone.
    """

    words: str
    scores: pd.DataFrame
    preset: str | None = None
    champion: str | None = None
    configuration: Mapping[str, str] = field(default_factory=dict)
    load: Callable[[str], System | None] | None = None
    outside: Sequence[str] = ()

    @property
    def systems(self) -> list[str]:
        """The names of its systems that are no controls."""
        return [str(name) for name in self.scores["system"].unique() if name not in CONTROLS]

    @property
    def measures(self) -> list[str]:
        """The keys of what was scored."""
        return [key for key in (PRIMARY, *MEASURES) if key in self.scores]


@dataclass(frozen=True)
class Sides:
    """Both, on the same utterances.

    Attributes:
        a: what was there before.
        b: what is held to it.
        utterances: on which the systems can be heard; None where there are scores only.
        remarks: what a reader should know of the scores.
    """

    a: Side
    b: Side
    utterances: Utterances | None = None
    remarks: Sequence[str] = ()


def read_sides(options: DiffOptions, progress: Board) -> Sides:
    """Return both sides; exported models are scored here.

    Args:
        options: of the command.
        progress: told how far that is.

    Raises:
        OvertoneError: one is missing, damaged or without scores of the split; they are of different presets; or
            exported models lack a corpus to be scored on.
    """
    packaged = [_is_package(path) for path in (options.a, options.b)]
    if all(packaged):
        sides = _scored_packages(options, progress)
    elif any(packaged):
        raise OvertoneError(
            f"Expected two exported models or two with scores, got {options.a} and {options.b}: an exported model "
            "holds no scores of utterances. Name the comparison that it comes from instead."
        )
    else:
        _refuse_unused(options)
        sides = Sides(_scored_side(options.a, options), _scored_side(options.b, options))
    presets = {side.preset for side in (sides.a, sides.b)} - {None}
    if len(presets) > 1:
        raise OvertoneError(
            f"Expected two of the same preset, got {sides.a.preset} and {sides.b.preset}: their conditions differ, so "
            "their scores do not compare."
        )
    return _with_same_speakers(sides)


def _is_package(path: Path) -> bool:
    return (path / CHECKSUMS).is_file()


def to_be_heard(options: DiffOptions) -> bool:
    """Return whether A and B are comparisons of which a page with sounds is asked for.

    Args:
        options: of the command.
    """
    comparisons = all((path / FINDINGS).is_file() for path in (options.a, options.b))
    return comparisons and options.out is not None and options.workspace.data is not None


def _refuse_unused(options: DiffOptions) -> None:
    given = {
        "--data": None if to_be_heard(options) else options.workspace.data,
        "--preset": options.preset,
        "--denoise": options.denoise,
        "--jobs": options.jobs,
    }
    for name, value in given.items():
        if value:
            heard = ", or two comparisons with --out, which are heard on that page" if name == "--data" else ""
            raise OvertoneError(
                f"{name}: expected two exported models, which are scored here{heard}; got {options.a} and {options.b}, "
                f"which have scores. Leave {name} out."
            )


def _with_same_speakers(sides: Sides) -> Sides:
    """Give each file one speaker on both sides; a table without speakers takes the other's, else files count alone."""
    tables = [side.scores for side in (sides.a, sides.b)]
    known = next((table for table in tables if "speaker" in table), pd.DataFrame({"file": [], "speaker": []}))
    speaker_of = known.drop_duplicates("file").set_index("file")["speaker"].to_dict()
    a, b = (table.assign(speaker=[speaker_of.get(file, file) for file in table["file"]]) for table in tables)
    return replace(sides, a=replace(sides.a, scores=a), b=replace(sides.b, scores=b))


# What has scores: comparisons, trainings, tables


def _scored_side(path: Path, options: DiffOptions) -> Side:
    if not path.exists():
        raise OvertoneError(
            f"{path}: no such file or folder. Expected the folder of a comparison or a training, a score table (.csv), "
            "or an exported model."
        )
    if (path / FINDINGS).is_file():
        stored = read_stored(path)
        source, champion = stored.provenance, stored.selection.winner
        about = {"data_digest": source.data_digest, "commit": source.commit, "libraries": source.versions}
        configuration = flat_parameters({"champion": champion, **_plain(path / RESOLVED), **about})
        table, outside = _with_control(_table_in(path, options)), stored.selection.externals
        return Side("comparison", table, stored.preset, champion, configuration, outside=outside)
    if path.is_file():
        side = Side("score table", _scores(path))
    else:
        table = _with_control(_table_in(path, options))
        side = Side("training", table, configuration=_of_training(_plain(path / TRAINING)))
    return replace(side, champion=side.systems[0]) if len(side.systems) == 1 else side


def _table_in(folder: Path, options: DiffOptions) -> Path:
    """Return a folder's table of the split: under the key that the other side has too, else the newest one."""
    whole = folder / f"scores-{options.split}.csv"
    if whole.is_file():
        return whole
    found = sorted(folder.glob(f"scores-{options.split}-*.csv"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        other = "test" if options.split == "val" else "val"
        advice = (
            f"It has those of {other}: ask for them with --split {other}."
            if any(folder.glob(f"scores-{other}*.csv"))
            else "Score its audio with `overtone evaluate --out TABLE.csv`, and compare the tables."
            if folder.is_dir() and next(iter(scan(folder)), None)
            else "Expected the folder of a finished comparison or training (in comparisons/ or trainings/ of the "
            "folder for runs), or an exported model."
        )
        raise OvertoneError(f"{folder}: holds no scores of {options.split} utterances. {advice}")
    others = {path.name for side in (options.a, options.b) if side != folder for path in side.glob("scores-*.csv")}
    return next((path for path in reversed(found) if path.name in others), found[-1])


def _with_control(path: Path) -> pd.DataFrame:
    """Return a table; one of a training gets its comparison's rows of doing nothing, which its primary score needs."""
    control = path.parent.parent.parent / "controls" / UNPROCESSED / path.name
    return _scores(path, *([control] if control.is_file() else []))


def _scores(*paths: Path) -> pd.DataFrame:
    """Return checked score tables as one, with the primary score where it can be known."""
    scores = pd.concat([_checked_table(path) for path in paths], ignore_index=True)
    if PRIMARY in scores or not {"cutoff_hz", *PRIMARY_MEASURES} <= set(scores):
        return scores
    try:
        return add_primary(scores)
    except OvertoneError:  # no band is missing, and there is no control to compare with
        return scores


def _checked_table(path: Path) -> pd.DataFrame:
    try:
        table = read_scores(path)
        fault = _fault(table)
    except ValueError as error:  # of pandas' parsers, and of texts that are no UTF-8
        fault = f"not a score table ({' '.join(str(error).split())[:100]})"
    if fault:
        raise OvertoneError(
            f"{path}: {fault}. Expected a table as `overtone evaluate --out TABLE.csv` or a comparison writes it "
            "(scores-val.csv)."
        )
    floats = dict.fromkeys((key for key in (*MEASURES, PRIMARY) if key in table), float)
    return table.astype(floats).assign(condition=table["condition"].fillna("").astype(str))


def _fault(table: pd.DataFrame) -> str:
    """What a table lacks to be a score table; empty where it is one."""
    if lacking := [name for name in IDENTITY if name not in table]:
        return f"not a score table, it has no column {lacking[0]}"
    if table.empty:
        return "holds no scores"
    keys = [key for key in (*MEASURES, PRIMARY) if key in table]
    if words := [key for key in keys if not pd.api.types.is_numeric_dtype(table[key])]:
        return f"not a score table, column {words[0]} holds words in place of numbers"
    return "" if keys else "not a score table, it has no column of a measure"


def _plain(path: Path) -> dict[str, Any]:
    """Return what a YAML file of settings holds; nothing where there is none."""
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, yaml.YAMLError):
        plain = None
    if not isinstance(plain, dict):
        raise OvertoneError(f"{path}: damaged; expected settings as YAML. Restore it, or move it away.")
    return plain


def _of_training(configuration: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of a training under the names that they have in a preset."""
    rest = {name: value for name, value in configuration.items() if name not in ("model", "settings")}
    model = configuration.get("model")
    return flat_parameters(rest | ({"models": {model: configuration.get("settings")}} if model else {}))


# Exported models


def _scored_packages(options: DiffOptions, progress: Board) -> Sides:
    folders = (options.a, options.b)
    systems = [PackagedSystem(folder, denoise=options.denoise) for folder in folders]
    preset = _preset_of(systems, options)
    if options.workspace.data is None:
        raise OvertoneError(
            "Exported models hold no scores of utterances: expected speech to score them on. Name a prepared corpus "
            "with --data."
        )
    corpus = open_corpus(preset, options.workspace, progress)
    data = make_datamodule(preset, corpus, seed=0)
    utterances = Utterances(partial(data.utterances, options.split), data.utterance_count(options.split))
    if not len(utterances):
        raise OvertoneError(
            f"{corpus.root}: expected speakers in the split {options.split}, found none. Prepare the corpus with "
            "`overtone data prepare`, which splits it by speaker."
        )
    remarks = [
        f"Scored here on {options.split} of {corpus.root}, data {corpus.digest[:12]}, as `overtone enhance` does."
    ]
    if options.split == "test":
        sums = [check_sums(folder) for folder in folders]
        uses = count_test_use(find_runs_folder(options.workspace.runs), corpus.digest, digest("diff", *sums))
        remarks.append(f"Times that something was scored on the test split of these data: {uses}.")
    tables = []
    with WorkerPool(options.jobs or available_cores()) as pool:
        jobs: dict[str, System] = {"doing nothing": Unprocessed(), "A scored": systems[0], "B scored": systems[1]}
        for job, system in jobs.items():
            pairs = ((utterance, system(utterance)) for utterance in utterances)
            tell = partial(progress.update, job, total=len(utterances))
            tables.append(score_pairs(pairs, system.name, pool=pool, progress=tell))
    nothing, *tables = tables
    a, b = (
        Side(
            "exported model",
            add_primary(pd.concat([table, nothing], ignore_index=True)),
            preset.name,
            system.name,
            _of_package(system.enhancer.model),
            partial(_itself, system),
        )
        for system, table in zip(systems, tables, strict=True)
    )
    return Sides(a, b, utterances, remarks)


def _itself(system: System, _: str) -> System:
    return system


def _of_package(model: Model) -> dict[str, str]:
    known = model.configuration
    training = known.get("training") or {"model": model.name, "settings": known.get("settings")}
    return _of_training(training) | flat_parameters({key: known.get(key) for key in SHOWN_OF_A_PACKAGE})


def _preset_of(systems: Sequence[PackagedSystem], options: DiffOptions) -> Preset:
    named = [system.enhancer.model.configuration.get("preset") for system in systems]
    if options.preset is None and (None in named or len(set(named)) > 1):
        raise OvertoneError(
            f"Expected two exported models of the same preset, got {' and '.join(str(name) for name in named)}. "
            "Name the preset that they are scored by with --preset."
        )
    preset = load_preset(options.preset or str(named[0]))
    for system, folder in zip(systems, (options.a, options.b), strict=True):
        rate = system.enhancer.model.sample_rate
        if rate != preset.sample_rate:
            raise OvertoneError(
                f"{folder}: expected a model of {preset.sample_rate} Hz, as preset {preset.name} has it, got one of "
                f"{rate} Hz. Name another --preset."
            )
    return preset
