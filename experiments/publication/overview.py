"""What follows from a comparison's findings as a whole: its own run, ranks, and the experiment's words and columns."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from evaluation.measures.catalogue import Shown, keys_shown
from experiments.keys import digest
from experiments.pages.tables import table_markdown
from experiments.ranking.band_levels import over_conditions
from experiments.ranking.findings import Findings
from experiments.ranking.leaderboard import RATING_COLUMNS, plain_table
from experiments.ranking.primary import PRIMARY
from experiments.report.figures import band_levels_picture
from experiments.report.markdown import overview_markdown
from experiments.report.tables import overview_table
from experiments.report.words import headline
from experiments.runs import comparison_experiment
from experiments.tracking.registered_models import CHAMPION_FOLDER, Words
from experiments.tracking.run import Run
from experiments.tracking.tracker import Tracker

COMPARISON = "comparison"
REPORT, LISTENING_TEST, SAMPLES_NAME, EPOCHS = "report.html", "listening-test.html", "samples.html", "epochs.html"
RANK = "rank"
RATING = RATING_COLUMNS[0]


def comparison_key(folder: Path, what: str = COMPARISON) -> str:
    """Return the run key of what belongs to one comparison alone.

    Args:
        folder: of the comparison.
        what: the comparison itself, or one of its controls.
    """
    return digest(what, folder.name)


def registry_words(model_name: str, findings: Findings, keys: Mapping[str, str]) -> Words:
    """Return what the registry says of a champion: why it won, how it is loaded, and where all else is.

    Args:
        model_name: the registered name.
        findings: of the comparison that it won.
        keys: run keys of its training, ``run``, of what holds its files, ``package``, and of its ``comparison``.
    """
    table = table_markdown(overview_table(findings))
    load = f"""```python
import mlflow

model = mlflow.pyfunc.load_model("models:/{model_name}@champion")
# waveforms: float32 (batch, samples) at the model's rate;
# params={{"rate": 8000}} for another
enhanced = model.predict(waveforms)
```

Without MLflow: `overtone export --preset {findings.preset} --out DIR`, then `overtone enhance ... --model DIR`."""
    links = " · ".join(
        f"[{name}](run:{keys[run]}{rest})"
        for name, run, rest in (
            ("The run that trained it", "run", ""),
            ("its package", "package", f"/artifacts/{CHAMPION_FOLDER}"),
            ("the comparison's report", COMPARISON, f"/artifacts/{REPORT}"),
        )
    )
    about = (
        f"Champions of preset `{findings.preset}`: speech super-resolution, narrowband in, wideband out. The alias "
        "`champion` is the version in use, `previous` the one before it; each version says why it won."
    )
    plain = headline(findings).replace("**", "").replace("`", "")  # MLflow's list of versions shows it as it is
    return Words(f"{about}\n\n{load}", f"{plain}\n\n{links}\n\n{table}\n\n{load}")


def publish_overview(
    tracker: Tracker, folder: Path, findings: Findings, files: Sequence[Path], votes: pd.DataFrame | None = None
) -> Run:
    """Bring the comparison's run, every run's rank and rating, and the experiment's words up to date.

    Again after each change of the findings, such as an import of votes.

    Args:
        tracker: where to.
        folder: of the comparison.
        findings: what it found.
        files: of the comparison, kept in its run.
        votes: a row per rating of its listening test; None without one.

    Returns:
        The comparison's run.
    """
    experiment, key = comparison_experiment(findings.preset), comparison_key(folder)
    words = overview_markdown(findings, _links(folder, findings))
    tags = {"model": COMPARISON, "variant": COMPARISON, "preset": findings.preset, "status": "report"}
    with tracker.run(experiment, COMPARISON, tags, key) as run:
        for file in files:
            run.log_file(file)
        run.log_table(plain_table(findings.leaderboard), "tables/leaderboard.json")
        if not findings.band_levels.empty:
            run.log_table(over_conditions(findings.band_levels), "tables/band_levels.json")
            run.log_text(band_levels_picture(findings).svg(), "figures/band_levels.svg")
        if votes is not None:
            run.log_table(votes, "tables/listening.json")
        run.log_metrics({RANK: 0.0})  # the table is sorted by it, and this run is where to begin
        run.describe(words)
    if findings.ratings is not None:
        ratings = findings.ratings.set_index("system")[RATING].dropna()
        for name, key, system in _runs(folder, findings):
            if system in ratings:
                with tracker.run(experiment, name, {}, key) as rated:
                    rated.log_metrics({f"test/{RATING}": round(float(ratings[system]), 2)})
    # Folded up, MLflow shows the first line only: the result, not the title.
    tracker.describe_experiment(experiment, words)
    tracker.show_columns(experiment, _columns(findings), f"metrics.{RANK}")
    return run


def _links(folder: Path, findings: Findings) -> dict[str, str]:
    """Addresses, as `MlflowStore.linked` resolves them, of what is read and heard first, by what it is called."""
    key = comparison_key(folder)
    winners = (run for _, run, system in _runs(folder, findings) if system == findings.selection.winner)
    runs = {
        "Report": (key, REPORT),
        "samples": (next(winners, ""), SAMPLES_NAME),
        "listening test": (key, LISTENING_TEST),
    }
    return {name: artifact_link(run, page) for name, (run, page) in runs.items() if run}


def artifact_link(key: str, page: str) -> str:
    """Return the address of a run's artifact, as `MlflowStore.linked` resolves it.

    Args:
        key: of the run.
        page: the artifact's path.
    """
    return f"run:{key}/artifacts/{page}"


def _runs(folder: Path, findings: Findings) -> list[tuple[str, str, str]]:
    """Name, key and system of every system's run."""
    trainings = findings.trainings
    known = trainings.itertuples() if "key" in trainings else ()
    runs = [(f"{one.system}-seed{one.seed:.0f}", str(one.key), str(one.system)) for one in known]
    controls = [name for name in findings.systems if findings.selection.candidate(name) is None]
    return runs + [(name, comparison_key(folder, name), name) for name in controls]


def _columns(findings: Findings) -> tuple[str, ...]:
    """The columns of MLflow's list of runs: what decides first, costs last."""
    keys = [PRIMARY, *keys_shown(Shown.OVERVIEW)]
    keys.sort(key=lambda key: key not in ("visqol", PRIMARY))
    rating = [RATING] if findings.ratings is not None else []
    scores = (f"metrics.test/{key}" for key in (*keys[:2], *rating, *keys[2:]))
    costs = (f"metrics.work/{key}" for key in ("rtf", "latency_ms", "macs"))
    return (f"metrics.{RANK}", *scores, "tags.status", *costs)
