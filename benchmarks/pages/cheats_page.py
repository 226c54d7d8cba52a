"""`python -m benchmarks.pages.cheats_page`: the page "What fools what", its table as CSV, and its picture."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.pages.cheats import GROUPS, Trial
from benchmarks.pages.cheats_table import IDEAL, UNPROCESSED, Task, Verdict, judge, score_trials, tasks_for
from benchmarks.pages.page_command import run_page_command
from datamodules.corpora.corpus import Corpus
from evaluation.harness import check_measures
from evaluation.measures.catalogue import MEASURES
from experiments.runs import find_runs_folder
from overtone.errors import OvertoneError
from overtone.files import written_whole
from overtone.progress import Board, board
from overtone.worker_pool import WorkerPool, available_cores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPEAKERS = 6
COLUMNS_PER_TABLE = 9
LEGEND = """\
Read a column downwards. Rows under *nothing gained* know nothing of the missing band that counts: **▲** marks one that
nevertheless scores better than the unprocessed input, **▲▲** one that also scores better than a row known to be better
(and not itself marked ▼).
Rows under *better and better* have more and more of the missing band: **▽** marks one that scores worse than the row
that it is known to be better than (the last table says which), **▼** one that scores worse than the unprocessed input;
nobody knows where `cubic_spline` belongs, so it has no mark. Rows under *target, changed* are the truth after what a
listener hardly minds: **▼** marks one that scores worse than the unprocessed input. Guards, which do not tell the
unprocessed input from the target, have no ▼ and ▽. A difference counts when the 95 % interval of its mean over speakers
excludes 0 and it is at least 0.01 and 2 % of the way from the unprocessed input to the target. ↓ lower is better,
↑ higher; – does not apply; *failed*: the measure gives no score for it, which disqualifies a candidate.
"""
Results = list[tuple[Task, list[Trial], Verdict]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the page from the command line; a user's mistake is one line and status 2."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages.cheats_page", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder or manifest of speech; without it, the demo corpus")
    parser.add_argument("--corpus-name", help="what the page calls the speech")
    parser.add_argument("--speakers", type=int, default=SPEAKERS, help="of the split test (default %(default)s)")
    parser.add_argument("--measures", help="comma-separated keys (default: all)")
    parser.add_argument("--runs", type=Path, help="where the demo corpus lies or is made (default: mlruns)")
    parser.add_argument("--workers", type=int, default=available_cores(), help="processes (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("docs/what-fools-what.md"), help="default %(default)s")
    return run_page_command(make_page, parser.parse_args(arguments))


def make_page(options: argparse.Namespace) -> None:
    """Score everything and write page, CSV and picture beside each other.

    Raises:
        OvertoneError: a number, a measure or the corpus is not usable.
    """
    for name, value in (("--speakers", options.speakers), ("--workers", options.workers)):
        if value < 1:
            raise OvertoneError(f"{name}: expected at least 1, got {value}.")
    if options.out.suffix != ".md" or options.out.is_dir():
        raise OvertoneError(f"--out {options.out}: expected the name of a .md file.")
    keys = check_measures(options.measures.split(",") if options.measures else list(MEASURES))
    results: Results = []
    speakers = 0
    with board() as progress, WorkerPool(options.workers) as pool:
        corpus = _corpus(options, progress)
        for task in tasks_for(corpus):
            trials, table = score_trials(corpus, task, options.speakers, keys, pool, progress)
            results.append((task, trials, judge(trials, table)))
            speakers = max(speakers, table["speaker"].nunique())
    name = options.corpus_name or ("real speech" if options.data else "the synthetic demo corpus")
    with written_whole(options.out) as temporary:
        temporary.write_text(page(results, name, speakers, options.out.stem))
    with written_whole(options.out.with_suffix(".csv")) as temporary:
        long_table(results).to_csv(temporary, index=False, float_format="%.4f")
    with written_whole(options.out.with_suffix(".png")) as temporary:
        picture(results).savefig(temporary)
    print(f"Page: {options.out}, with .csv and .png beside it")


def _corpus(options: argparse.Namespace, progress: Board) -> Corpus:
    from datamodules.corpora.corpus import load_corpus
    from datamodules.demo.demo_corpus import prepare_demo_corpus

    if options.data is not None:
        return load_corpus(options.data)
    folder = find_runs_folder(options.runs) / "corpora"
    return load_corpus(
        prepare_demo_corpus(folder, lambda done, total: progress.update("demo corpus", done, total, "voices"))
    )


def page(results: Results, corpus: str, speakers: int, stem: str) -> str:
    """Return the page as Markdown."""
    parts = [
        "# What fools what",
        f"Every measure against every control and cheat, on {corpus}: {speakers} speakers of the split `test`, one "
        "excerpt of 4 s each. `make cheats DATA=FOLDER` writes this page; do not edit it.",
        findings(results),
        LEGEND.strip(),
        f"![Each row's scores between the unprocessed input and the target]({stem}.png)",
    ]
    for task, trials, verdict in results:
        parts.append(f"## {task.title}")
        keys = [key for key in verdict.keys if verdict.means[key].notna().any()]
        for start in range(0, len(keys), COLUMNS_PER_TABLE):
            parts.append(markdown_table(trials, verdict, keys[start : start + COLUMNS_PER_TABLE]))
    parts += ["## What each measure cannot hear", weaknesses(results), "## The rows", row_descriptions(results)]
    return "\n\n".join(parts) + "\n"


def findings(results: Results) -> str:
    """Say which measures nothing in the table cheats, under any task."""
    keys = list(dict.fromkeys(key for _, _, verdict in results for key in verdict.keys))

    def in_all(listed: Sequence[Sequence[str]]) -> list[str]:
        return [key for key in keys if all(key in names for names in listed)]

    uncheated = in_all([verdict.uncheated() for _, _, verdict in results])
    consistent = in_all([verdict.consistent() for _, _, verdict in results])
    return (
        f"**No cheat here fools** {_listed(uncheated)}: no row that gains nothing scores better than the unprocessed "
        f"input, in any task. **No mark at all** has {_listed(consistent)}: no cheat fools it, and no step of known "
        "order is missed.\n\n"
        "**No control can become champion**: the rule chooses among trained candidates only, and a control with a "
        "better score is flagged beside the winner (`tests/benchmarks/test_cheats.py` holds it to that)."
    )


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(f"`{key}`" for key in keys) or "no measure"


def markdown_table(trials: Sequence[Trial], verdict: Verdict, keys: Sequence[str]) -> str:
    """Return rows against some measures."""
    arrows = [f"{key} {MEASURES[key].arrow}" for key in keys]
    lines = [f"| row | {' | '.join(arrows)} |", "|---|" + "---:|" * len(keys)]
    for group in GROUPS:
        lines.append(f"| **{group}** |" + " |" * len(keys))
        for name in (trial.name for trial in trials if trial.group == group):
            cells = (_cell(verdict.value(name, key), verdict.mark(name, key)) for key in keys)
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: float, mark: str) -> str:
    if np.isnan(value):
        return mark or "–"
    text = f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return f"**{text} {mark}**" if mark else text


def weaknesses(results: Results) -> str:
    """Return a list of what each measure of the table cannot hear."""
    keys = dict.fromkeys(key for _, _, verdict in results for key in verdict.keys)
    return "\n".join(f"- `{key}`: {MEASURES[key].weakness}." for key in keys)


def row_descriptions(results: Results) -> str:
    """Return a table of what each row is."""
    lines = ["| row | group | what it is | better than |", "|---|---|---|---|"]
    lines += [f"| {t.name} | {t.group} | {t.description} | {t.better_than or '–'} |" for t in results[0][1]]
    return "\n".join(lines)


def long_table(results: Results) -> pd.DataFrame:
    """Return a row per task, system and measure: value and mark."""
    rows = [
        {
            "task": task.name,
            "group": trial.group,
            "system": trial.name,
            "measure": key,
            "value": verdict.value(trial.name, key),
            "mark": verdict.mark(trial.name, key),
        }
        for task, trials, verdict in results
        for trial in trials
        for key in verdict.keys
    ]
    return pd.DataFrame(rows)


def picture(results: Results) -> "Figure":
    """Draw scores on the way from the unprocessed input (0) to the target (1), for measures that tell these apart."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5 * len(results), 9.5), dpi=110, layout="constrained")
    for axes, (task, trials, verdict) in zip(figure.subplots(1, len(results), squeeze=False)[0], results, strict=True):
        keys = [key for key in verdict.keys if verdict.tells(key)]
        ways = np.clip(np.stack([_way(verdict, key) for key in keys], axis=1), -1, 1)
        image = axes.imshow(ways, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
        axes.set_xticks(range(len(keys)), keys, rotation=60, ha="right")
        axes.set_yticks(range(len(trials)), [trial.name for trial in trials])
        axes.set_title(task.title)
        for row, trial in enumerate(trials):
            for column, key in enumerate(keys):
                if mark := verdict.mark(trial.name, key):
                    colour = "white" if abs(ways[row, column]) > 0.6 else "black"
                    axes.text(column, row, mark, ha="center", va="center", fontsize=8, color=colour)
        for row in range(1, len(trials)):
            if trials[row].group != trials[row - 1].group:
                axes.axhline(row - 0.5, color="black", linewidth=1)
    figure.colorbar(
        image, ax=figure.axes, label="worse than unprocessed  <  0 = unprocessed  <  1 = target", shrink=0.5
    )
    return figure


def _way(verdict: Verdict, key: str) -> NDArray[np.float64]:
    """How far each row is from the unprocessed input (0) to the target (1)."""
    unprocessed, ideal = verdict.value(UNPROCESSED, key), verdict.value(IDEAL, key)
    return (verdict.means[key].to_numpy(float) - unprocessed) / (ideal - unprocessed)


if __name__ == "__main__":
    sys.exit(main())
