"""The grounds of a selection: the finalists beside the preset's own settings, links, and a record of it all."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from evaluation.statistics.intervals import speaker_mean
from evaluation.statistics.training_spread import paired_difference_over_trainings, training_spread
from experiments.comparison.comparison import Comparison, Outcome
from experiments.comparison.publication import Evidence
from experiments.keys import digest
from experiments.pages.tables import Table, table_markdown
from experiments.presets.preset import Preset
from experiments.ranking.columns import rows_of
from experiments.ranking.primary import PRIMARY, add_primary
from experiments.report.markdown import leaderboard_markdown
from experiments.report.words import explanation
from experiments.scoring.splits import read_scores, table_path
from experiments.sweep.finalists import Finalist, cautions, inequalities
from experiments.sweep.results import trial_table
from experiments.training.places import TrainingPlace, training_place
from overtone.files import written_whole

RECORD, WORDS, FINALISTS = "selection.json", "selection.md", "finalists.csv"
SPLITS = ("val", "test")
HEADINGS = ("model", "trial", "val", "own", "change", "test", "own", "change")
DEFAULT_SUFFIX = " (the preset's own settings)"
_DIFFERENCE = ("difference", "difference_low", "difference_high")


@dataclass(frozen=True)
class Decision:
    """A selection from its studies to its scores.

    Attributes:
        preset: as it was declared, before the studies' settings.
        resolved: the file of the preset with them.
        finalists: who entered.
        storage: where the studies lie, without a password.
        outcome: what the finalists' comparison found.
        links: what follows the MLflow server's address to open a study or a run, by its name.
    """

    preset: Preset
    resolved: Path
    finalists: Sequence[Finalist]
    storage: str
    outcome: Outcome
    links: Mapping[str, str]

    @property
    def facts(self) -> dict[str, str | int | None]:
        """What the decision rests on."""
        source = self.outcome.findings.provenance
        return {
            "preset": self.preset.name,
            "commit": source.commit,
            "data digest": source.data_digest,
            "studies in": self.storage,
            "resolved preset": self.resolved.name,
            "comparison": self.outcome.comparison.folder.name,
            "comparisons that have scored this test split": self.outcome.findings.test_uses,
        }


def finalist_scores(preset: Preset, finalists: Sequence[Finalist], outcome: Outcome) -> pd.DataFrame:
    """Sum up the finalists, beside the preset's own settings where these were trained in full and scored before.

    Args:
        preset: with its own settings.
        finalists: who entered.
        outcome: what their comparison found.

    Returns:
        A row per finalist: ``model, study, trial, trials, asked, tuned``, the study's ``best`` objective and that of
        the ``default``, ``seeds``; and for each SPLIT ``primary_SPLIT`` with ``seed_sd_SPLIT``, ``default_SPLIT`` over
        ``default_seeds_SPLIT`` trainings, and their paired ``difference_SPLIT`` (negative: tuning helped), with a 95 %
        interval that allows for other trainings. NaN where it is unknown.
    """
    comparison, rows = outcome.comparison, []
    for finalist in finalists:
        row: dict[str, Any] = {"model": finalist.model, "tuned": finalist.tuned, "seeds": comparison.preset.seeds}
        if study := finalist.study:
            row |= {"study": study.name, "trial": study.trial, "trials": study.trials, "asked": finalist.asked}
            row |= {"best": study.value, "default": study.default_value}
        for split, scores in zip(SPLITS, (outcome.val, outcome.findings.scores), strict=True):
            row |= _beside_default(preset, finalist, comparison, split, scores)
        rows.append(row)
    return pd.DataFrame(rows)


def _beside_default(
    preset: Preset, finalist: Finalist, comparison: Comparison, split: str, scores: pd.DataFrame
) -> dict[str, float]:
    spread = training_spread(scores, finalist.model, PRIMARY)
    row = {f"primary_{split}": spread.interval.mean, f"seed_sd_{split}": spread.standard_deviation}
    default = _default_scores(preset, finalist.model, comparison, split) if finalist.tuned else []
    row[f"default_seeds_{split}"] = len(default)
    if not default:
        return row | dict.fromkeys((f"{name}_{split}" for name in ("default", *_DIFFERENCE)), math.nan)
    name = finalist.model + DEFAULT_SUFFIX
    controls = scores[scores["seed"].isna()].drop(columns=PRIMARY)
    own = add_primary(pd.concat([*(table.assign(system=name) for table in default), controls], ignore_index=True))
    both = pd.concat([scores[scores["system"] == finalist.model], own[own["system"] == name]], ignore_index=True)
    difference = paired_difference_over_trainings(both, finalist.model, name, PRIMARY)
    numbers = (difference.mean, difference.low, difference.high)
    return (
        row
        | {f"default_{split}": speaker_mean(both[both["system"] == name], PRIMARY)}
        | {f"{column}_{split}": number for column, number in zip(_DIFFERENCE, numbers, strict=True)}
    )


def _default_scores(preset: Preset, model: str, comparison: Comparison, split: str) -> list[pd.DataFrame]:
    """The tables that an earlier comparison left of the preset's own settings, trained in full."""
    seeds = range(comparison.preset.seeds)
    places = [training_place(comparison.runs, preset, model, seed, comparison.corpus.digest) for seed in seeds]
    paths = {place.seed: table_path(place.folder, comparison.split(split)) for place in places if place.finished}
    return [read_scores(path).assign(seed=float(seed)) for seed, path in paths.items() if path.is_file()]


def make_evidence(decision: Decision, table: pd.DataFrame, place: TrainingPlace) -> Evidence:
    """Write a decision's files into its comparison's folder and return what is registered with the champion.

    Args:
        decision: the selection.
        table: as `finalist_scores` gives it.
        place: the training that ships.
    """
    folder = decision.outcome.comparison.folder
    words = _words(decision, table)
    # The leaderboard is wider than a run's page; the comparison's run shows it as a table.
    leaderboard = leaderboard_markdown(decision.outcome.findings, title=False)
    with written_whole(folder / WORDS) as temporary:
        temporary.write_text(f"{words}\n## Leaderboard on test\n\n{leaderboard}", encoding="utf-8")
    with written_whole(folder / FINALISTS) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    files = {name: folder / name for name in (WORDS, FINALISTS, "leaderboard.csv", "report.html")}
    files["preset.yaml"] = decision.resolved
    for finalist in decision.finalists:
        if finalist.study is not None:
            files[f"trials-{finalist.model}.csv"] = path = folder / f"trials-{finalist.model}.csv"
            with written_whole(path) as temporary:
                trial_table(finalist.study.study).to_csv(temporary, index=False)
    return Evidence(digest("selection", decision.outcome.comparison.key), _tags(decision, place), words, files)


def _tags(decision: Decision, place: TrainingPlace) -> dict[str, str]:
    tags = {
        "training": place.folder.name,
        "storage": decision.storage,
        "resolved_preset": decision.resolved.name,
        "seeds": str(decision.outcome.comparison.preset.seeds),
        "selected": datetime.now().isoformat(" ", "seconds"),
    }
    for finalist in decision.finalists:
        if finalist.study is not None:
            tags[f"study.{finalist.model}"] = finalist.study.name
            tags[f"trial.{finalist.model}"] = str(finalist.study.trial)
            tags[f"trials.{finalist.model}"] = str(finalist.study.trials)
    return tags | {f"link.{name}": link for name, link in decision.links.items() if link}


def _words(decision: Decision, table: pd.DataFrame) -> str:
    """What was selected, from what and on what grounds, in Markdown."""
    parts = [
        explanation(decision.outcome.findings.selection),
        "## Finalists",
        table_markdown(finalists_table(table)),
        _NOTE,
        *_listed("## Mind", [*inequalities(decision.finalists), *cautions(decision.finalists)]),
        *_listed("## Settings", [_settings_line(finalist) for finalist in decision.finalists]),
        "## Evidence",
        "\n".join(f"- {name}: `{value}`" for name, value in decision.facts.items()),
        *_listed("## Pages", [f"[{name}]({link.lstrip('/')})" for name, link in decision.links.items() if link]),
    ]
    return "\n\n".join(parts) + "\n"


_NOTE = (
    "Under val and test: primary scores, means over trainings ± their standard deviation (0 is perfect, doing nothing "
    "scores 0.5). Own: the score of the preset's own settings and over how many trainings, known where `overtone "
    "compare` trained and scored them at the full budget. The change from it is paired, negative where tuning "
    "helped; its 95 % interval allows for other trainings, so there is none with a single one. A study chooses on val, "
    "so that val flatters what it chose; test does not."
)


def _listed(title: str, lines: Sequence[str]) -> list[str]:
    return [title, "\n".join(f"- {line}" for line in lines)] if lines else []


def _settings_line(finalist: Finalist) -> str:
    settings = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in finalist.settings.items()
    )
    return f"`{finalist.model}`: {settings or 'all at their defaults'} ({finalist.origin})"


def finalists_table(table: pd.DataFrame, *, intervals: bool = True, own: bool = True) -> Table:
    """Return the finalists, best on val first.

    Args:
        table: as `finalist_scores` gives it.
        intervals: whether changes have theirs, where there is one.
        own: whether the scores of the preset's own settings are shown.
    """
    rows = [
        (str(row["model"]), _trial(row), *(text for split in SPLITS for text in _score_texts(row, split, intervals)))
        for row in rows_of(table.sort_values("primary_val"))
    ]
    shown = [place for place, heading in enumerate(HEADINGS) if own or heading != "own"]
    headings, *lines = ([row[place] for place in shown] for row in (HEADINGS, *rows))
    return Table.of("Finalists", headings, lines)


def _trial(row: Mapping[str, Any]) -> str:
    return "–" if pd.isna(row.get("trial")) else f"{row['trial']:.0f} of {row['trials']:.0f}"


def _score_texts(row: Mapping[str, Any], split: str, intervals: bool) -> tuple[str, str, str]:
    own = f"{row[f'primary_{split}']:.3f} ± {row[f'seed_sd_{split}']:.3f}"
    if math.isnan(row[f"default_{split}"]):
        return own, "unknown" if row["tuned"] else "the same", "–"
    default = f"{row[f'default_{split}']:.3f} ({row[f'default_seeds_{split}']:.0f})"
    difference, low, high = (row[f"{name}_{split}"] for name in _DIFFERENCE)
    interval = f" ({low:+.3f} to {high:+.3f})" if intervals and not math.isnan(low) else ""
    return own, default, f"{difference:+.3f}{interval}"


def write_record(decision: Decision, table: pd.DataFrame, version: str | None, tracking: str) -> None:
    """Note that a selection is finished, with all that it rests on; written last.

    Args:
        decision: the selection.
        table: as `finalist_scores` gives it.
        version: that the champion is registered as; None without a champion or a registry.
        tracking: where the runs are tracked.
    """
    record = decision.facts | {
        "finished": datetime.now().isoformat(" ", "seconds"),
        "winner": decision.outcome.findings.selection.winner,
        "version": version,
        "tracking": tracking,
        "finalists": [
            {"model": finalist.model, "settings": dict(finalist.settings), "origin": finalist.origin}
            for finalist in decision.finalists
        ],
        "scores": json.loads(table.to_json(orient="records", double_precision=6)),
        "trainings": [place.folder.name for place in decision.outcome.comparison.places],
    }
    with written_whole(decision.outcome.comparison.folder / RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=2))


def read_record(comparison: Comparison) -> dict[str, Any] | None:
    """Return what an earlier selection of the same key noted when it was finished; None without one."""
    path = comparison.folder / RECORD
    return json.loads(path.read_text()) if path.is_file() else None
