"""What two workers gain over one, and what a trial costs beyond its training and its scores.

1. The same study by one single-threaded worker and by two: the same trials lie ready in its queue, of equal size, and
   none is pruned. Seconds are the whole command's, all processes' imports included. At least 1.7 is required.
2. Seconds of a trial beyond its training and its scores, in the study with one worker: from a trial's start to the next
   one's, less what the two took. At most 2 s are allowed.

Needs two cores with nothing else to do.
"""

import argparse
import itertools
import shutil
import tempfile
import time
from pathlib import Path
from statistics import mean

import yaml
from optuna import Study
from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table

from experiments.data.opening import open_corpus
from experiments.presets.preset import Preset, load_preset
from experiments.runs import Workspace, find_runs_folder
from experiments.sweep.options import SweepOptions
from experiments.sweep.search_space import SearchSpace
from experiments.sweep.storage import default_storage, open_storage
from experiments.sweep.study import load_study, make_study, study_key
from experiments.sweep.sweep import sweep
from overtone.progress import board

LEAST_SPEED_UP = 1.7
MOST_OVERHEAD_SECONDS = 2.0
LEARNING_RATES = (5e-4, 5e-3)


def prepared_preset(name: str, model: str, examples: int, folder: Path) -> tuple[Path, Preset]:
    """Write a preset without pruning, one model in it, and return its path and what it says."""
    plain = yaml.safe_load((Path("experiments/presets") / f"{name}.yaml").read_text())
    plain["models"] = {model: plain["models"][model] or {}}
    plain["sweep"] = plain.get("sweep", {}) | {"examples": examples, "epochs": 2, "pruner_startup_trials": 10**6}
    plain["budget"]["threads"] = 1
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(plain))
    return path, load_preset(str(path))


def queued_study(preset: Preset, model: str, data_digest: str, runs: Path, trials: int) -> None:
    """Make a study whose trials wait in its queue; they differ in what costs nothing."""
    key = study_key(preset, model, data_digest, "benchmark")
    study, _ = make_study(open_storage(default_storage(runs)), key, preset)
    low, high = LEARNING_RATES
    for number in range(trials):
        rate = low * (high / low) ** (number / max(trials - 1, 1))
        study.enqueue_trial(SearchSpace(preset, model).default_parameters | {"learning_rate": rate})


def timed_sweep(
    model: str, path: Path, runs: Path, workers: int, trials: int, tracking: str, data: str | None
) -> float:
    """Return the seconds of a sweep."""
    options = SweepOptions(trials, workers, study="benchmark", workspace=Workspace(runs, data, tracking=tracking))
    started = time.perf_counter()
    sweep(model, str(path), options)
    return time.perf_counter() - started


def overheads(study: Study) -> list[float]:
    """Return for each trial but the last the seconds beyond its training and its scores."""
    trials = sorted(study.get_trials(states=(TrialState.COMPLETE,)), key=lambda trial: trial.datetime_start or 0)
    seconds = []
    for one, following in itertools.pairwise(trials):
        assert one.datetime_start is not None and following.datetime_start is not None
        whole = (following.datetime_start - one.datetime_start).total_seconds()
        seconds.append(whole - one.user_attrs["training_seconds"] - one.user_attrs["scoring_seconds"])
    return seconds


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="corpus (the demo corpus, made when missing)")
    parser.add_argument("--model", default="dnn_fft", help="(dnn_fft)")
    parser.add_argument("--trials", type=int, default=10, help="of the study (10)")
    parser.add_argument("--examples", type=int, default=480, help="of a trial (480)")
    parser.add_argument("--tracking", default="mlflow", help="where runs are kept (mlflow)")
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        path, preset = prepared_preset("demo", options.model, options.examples, folder)
        shared = find_runs_folder(None)
        with board() as progress:
            corpus = open_corpus(preset, Workspace(shared, options.data), progress)
        seconds, beyond = {}, []
        for workers in (1, 2):
            runs = folder / str(workers)
            runs.mkdir()
            if options.data is None:
                shutil.copytree(shared / "corpora", runs / "corpora")
            queued_study(preset, options.model, corpus.digest, runs, options.trials)
            seconds[workers] = timed_sweep(
                options.model, path, runs, workers, options.trials, options.tracking, options.data
            )
            if workers == 1:
                beyond = overheads(load_study(default_storage(runs), "benchmark"))
    table = Table(title=f"{options.trials} trials of {options.model}, {options.examples} examples each")
    for column in ("", "measured", "required", ""):
        table.add_column(column)
    gain = seconds[1] / seconds[2]
    table.add_row("one worker, s", f"{seconds[1]:.0f}", "", "")
    table.add_row("two workers, s", f"{seconds[2]:.0f}", "", "")
    table.add_row("times as fast", f"{gain:.2f}", f"{LEAST_SPEED_UP}", "passed" if gain >= LEAST_SPEED_UP else "missed")
    verdict = "passed" if mean(beyond) < MOST_OVERHEAD_SECONDS else "missed"
    table.add_row("overhead of a trial, s: mean", f"{mean(beyond):.2f}", f"{MOST_OVERHEAD_SECONDS:g}", verdict)
    table.add_row("  largest", f"{max(beyond):.2f}", "", "")
    console.print(table)


if __name__ == "__main__":
    main()
