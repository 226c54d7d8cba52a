"""Whether a study on PostgreSQL stays exact when those who work on it are killed, again and again.

Each round is one study on a PostgreSQL server that this program starts, tracked on an MLflow server on the same
PostgreSQL. Two commands, which stand for two machines, give it two workers each. Two of the workers are killed with
SIGKILL: one in mid-trial, whose supervisor lives; and, together with its supervisor, the one that is in the middle of
the study's last trial. A round passes when the study ends with exactly the trials asked for (complete plus pruned),
both killed trials were tried again, no trial is left running, and MLflow shows each trial once.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from optuna import Study
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from experiments.data.opening import open_corpus
from experiments.presets.preset import load_preset
from experiments.runs import find_runs_folder
from experiments.sweep.study import load_study
from experiments.sweep.trial_queue import FINISHED, RETRY_OF, SURPLUS, read_queue
from experiments.tracking.store import SILENT_ENVIRONMENT
from overtone.errors import OvertoneError
from overtone.progress import board

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))  # where the tests' own server lives
from postgresql_server import free_port, postgresql_server

WORKERS_PER_MACHINE = 2
ROUND_SECONDS = 900.0
MODEL = "dnn_fft"


class Machine:
    """A sweep command in a process group of its own.

    Args:
        preset: path of the preset.
        runs: its folder, of its own as on a machine of its own.
        arguments: further ones.
    """

    def __init__(self, preset: Path, runs: Path, arguments: list[str]) -> None:
        self.runs = runs
        with (runs / "output.txt").open("a") as out:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "experiments.cli.main",
                    "sweep",
                    MODEL,
                    str(preset),
                    "--runs",
                    str(runs),
                    *arguments,
                ],
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def workers(self) -> list[int]:
        """Return the process numbers of its workers."""
        children: list[int] = []
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
        return [child for child in set(children) if b"sweep_worker" in Path(f"/proc/{child}/cmdline").read_bytes()]

    def worker_of(self, trial: FrozenTrial) -> int | None:
        """Return which of its workers has a trial's folder open."""
        lock = Path(trial.user_attrs.get("folder", "/")) / ".trial.lock"
        for worker in self.workers():
            opened = [path.resolve() for path in Path(f"/proc/{worker}/fd").iterdir()]
            if lock.resolve() in opened:
                return worker
        return None

    def kill(self) -> None:
        """Kill it and all its workers."""
        for process in [*self.workers(), self.process.pid]:
            os.kill(process, signal.SIGKILL)
        self.process.wait()


@dataclass
class Round:
    """One study and what was killed of it."""

    study: Study
    wanted: int
    killed: list[int]
    seconds: float
    tracked: int

    @property
    def states(self) -> Counter[str]:
        """How many trials ended how, surplus ones apart."""
        trials = self.study.get_trials(deepcopy=False)
        return Counter("SURPLUS" if trial.user_attrs.get(SURPLUS) else trial.state.name for trial in trials)

    @property
    def faults(self) -> list[str]:
        """What is wrong; nothing, it is hoped."""
        queue = read_queue(self.study, load_preset("demo").sweep.max_retries)
        finished = self.states["COMPLETE"] + self.states["PRUNED"]
        retried = [trial.user_attrs[RETRY_OF] for trial in queue.trials if RETRY_OF in trial.user_attrs]
        shown = sum(not trial.user_attrs.get(SURPLUS) for trial in queue.trials)
        checks = {
            f"{finished} trials instead of {self.wanted}": finished != self.wanted,
            "some are left running": bool(queue.running),
            "a killed trial was not tried again": not set(self.killed) <= set(retried),
            "a trial was tried again twice": len(retried) != len(set(retried)),
            f"MLflow shows {self.tracked} of {shown} trials": self.tracked != shown,
        }
        return [fault for fault, found in checks.items() if found]


def wait_for(find: Callable[[], Any], what: str) -> Any:  # noqa: ANN401 - whatever is waited for
    """Return what is found, as soon as it is.

    Raises:
        TimeoutError: it never was.
    """
    end = time.monotonic() + ROUND_SECONDS
    while not (found := find()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: waited in vain")
        time.sleep(0.05)
    return found


def play_round(number: int, preset: Path, folder: Path, url: str, wanted: int, tracking: str) -> Round:
    """Run one study, kill two workers, and return what came of it."""
    name = f"kills-{number}"
    arguments = ["--trials", str(wanted), "--workers", str(WORKERS_PER_MACHINE), "--storage", url, "--study", name]
    machines: list[Machine] = []
    started = time.monotonic()
    for place in ("first", "second"):
        runs = folder / f"{place}-{number}"
        runs.mkdir()
        shutil.copytree(folder / "corpora", runs / "corpora")
        machines.append(Machine(preset, runs, [*arguments, "--tracking", tracking]))
    try:
        study = wait_for(lambda: _study(url, name, machines), "the study")
        killed = [_kill_one(study, machines)]
        killed += _kill_last(study, machines, wanted)
        wait_for(lambda: all(machine.process.poll() is not None for machine in machines), "the end")
    finally:
        for machine in machines:
            if machine.process.poll() is None:
                machine.kill()
    return Round(study, wanted, killed, time.monotonic() - started, _tracked(tracking, name))


def _study(url: str, name: str, machines: list[Machine]) -> Study | None:
    for machine in machines:
        if machine.process.poll() is not None:
            raise RuntimeError((machine.runs / "output.txt").read_text())
    try:
        return load_study(url, name)
    except OvertoneError:
        return None


def _in_mid_trial(study: Study, machines: list[Machine]) -> tuple[FrozenTrial, Machine, int] | None:
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.intermediate_values:
            for machine in machines:
                if machine.process.poll() is None and (worker := machine.worker_of(trial)):
                    return trial, machine, worker
    return None


def _kill_one(study: Study, machines: list[Machine]) -> int:
    """Kill a worker in mid-trial; its supervisor lives."""
    trial, _, worker = wait_for(lambda: _in_mid_trial(study, machines), "a worker in mid-trial")
    os.kill(worker, signal.SIGKILL)
    return trial.number


def _kill_last(study: Study, machines: list[Machine], wanted: int) -> list[int]:
    """Kill the worker that is in the middle of the last trial, its supervisor and whatever else is on that machine."""

    def last() -> tuple[FrozenTrial, Machine, int] | None:
        finished = len(study.get_trials(deepcopy=False, states=FINISHED))
        return _in_mid_trial(study, machines) if finished == wanted - 1 else None

    _, machine, _ = wait_for(last, "the last trial")
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    own = [trial for trial in running if machine.worker_of(trial)]
    machine.kill()
    return [trial.number for trial in own]


def _tracked(tracking: str, name: str) -> int:
    """Return how many runs of trials the MLflow server shows for a study."""
    import mlflow

    client = mlflow.MlflowClient(tracking)
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, f"tags.study = '{name}'", max_results=1000)
    numbers = [run.data.tags["trial.number"] for run in runs if "trial.number" in run.data.tags]
    return len(numbers) if len(numbers) == len(set(numbers)) else -len(numbers)


@contextmanager
def mlflow_server(database: str, folder: Path) -> Iterator[str]:
    """Yield the address of an MLflow server whose runs are in a database."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", database, "--artifacts-destination", str(folder / "artifacts")]
    address = f"http://127.0.0.1:{port}"
    with (folder / "mlflow.log").open("w") as log:
        process = subprocess.Popen(
            command, env=os.environ | SILENT_ENVIRONMENT, stdout=log, stderr=log, start_new_session=True
        )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def answers() -> bool:
        try:
            opener.open(f"{address}/health", timeout=1)
        except OSError:
            return False
        return True

    try:
        wait_for(answers, "the MLflow server")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)


def prepared_preset(examples: int, folder: Path) -> Path:
    """Write the demo preset with short trials and a short grace, and return its path."""
    plain = yaml.safe_load((Path("experiments/presets") / "demo.yaml").read_text())
    plain["models"] = {MODEL: {}}
    plain["data"]["val_utterances_per_speaker"] = 1
    plain["sweep"] = {"examples": examples, "epochs": 4, "heartbeat_seconds": 1, "grace_seconds": 5}
    path = folder / "kills.yaml"
    path.write_text(yaml.safe_dump(plain))
    return path


def main() -> int:
    """Print a row for each round; return 1 when one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10, help="rounds (10)")
    parser.add_argument("--trials", type=int, default=8, help="of each study (8)")
    parser.add_argument("--examples", type=int, default=160, help="of a trial (160)")
    options = parser.parse_args()
    table = Table(title=f"{options.trials} trials, 4 workers on 2 machines, PostgreSQL and MLflow server")
    for column in ("round", "complete", "pruned", "failed", "surplus", "killed", "runs", "s", ""):
        table.add_column(column)
    failed = 0
    with tempfile.TemporaryDirectory() as scratch, postgresql_server() as server:
        folder = Path(scratch)
        shared = find_runs_folder(None)
        with board() as progress:
            open_corpus(load_preset("demo"), None, shared, progress)
        shutil.copytree(shared / "corpora", folder / "corpora")
        preset, studies = prepared_preset(options.examples, folder), server.make_database("studies")
        with mlflow_server(server.make_database("tracking"), folder) as tracking:
            for number in range(1, options.repeats + 1):
                one = play_round(number, preset, folder, studies, options.trials, tracking)
                failed += bool(one.faults)
                states, faults = one.states, "; ".join(one.faults) or "exact"
                killed = ", ".join(map(str, one.killed))
                cells = [number, states["COMPLETE"], states["PRUNED"], states["FAIL"], states["SURPLUS"], killed]
                row = [str(cell) for cell in (*cells, one.tracked, f"{one.seconds:.0f}", faults)]
                print("\t".join(row), flush=True)
                table.add_row(*row)
    Console().print(table)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
