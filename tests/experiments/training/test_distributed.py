"""Two processes train what one trains, stop together, and leave nothing behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from distributed_training import STOP_AFTER, place_of, record_of, stop, trained
from processes import children_of, is_running
from project import PROJECT

from datamodules.corpora.corpus import load_corpus
from datamodules.epoch_loader import DealtBatches
from experiments.cli.main import main
from experiments.presets.preset import load_preset
from experiments.registry import MODELS, build_model
from experiments.runs import Workspace
from experiments.training.distribution import (
    Distribution,
    TrainRequest,
    launched_distribution,
    outer_launcher,
    process_rank,
)
from experiments.training.fit import TrainingRecord, make_strategy
from experiments.training.processes import TrainingProcesses
from experiments.training.resource_use import resource_use
from experiments.training.train import train_side_by_side
from overtone.errors import OvertoneError
from overtone.progress import Board

SMALL = {
    "wavegan": {"channels": [4, 8], "critic_from": 0.0, "critic_channels": 2},
    "wavegan_original": {"channels": 2, "critic_steps": 2},
    "dnn_fft": {"hidden": 16, "layers": 1},
}
LAUNCHER_VARIABLES = ("WORLD_SIZE", "LOCAL_RANK", "RANK", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_STEP_ID")


@pytest.fixture(scope="module")
def corpus(tiny_corpus):
    return load_corpus(tiny_corpus)


@pytest.fixture(scope="module")
def preset_path(tmp_path_factory):
    """Batches of unlike bands, so that losses which divide by what is there differ between a batch and its shares."""
    telephone = {"steps": [{"resample": {"rate": 8000}}]}
    data = {
        "crop_seconds": 0.25,
        "batch_size": 4,
        "joined_seconds": 1.2,
        "train_conditions": {"telephone": telephone},
        "test_conditions": {"telephone": telephone, "mp3": {"steps": [{"mp3": {"kbps": 32}}]}},
        "val_utterances_per_speaker": 3,
    }
    models = {name: SMALL.get(name, {}) for name in MODELS}
    plain = {"name": "shared", "sample_rate": 16000, "data": data, "models": models}
    path = tmp_path_factory.mktemp("preset") / "shared.yaml"
    path.write_text(yaml.safe_dump(plain | {"budget": {"examples": 24, "epochs": 2, "threads": 1}}))
    return path


@pytest.fixture(scope="module")
def preset(preset_path):
    return load_preset(str(preset_path))


@pytest.fixture(scope="module")
def alone(preset, corpus, tmp_path_factory):
    """What one process learns, and a training of one process that was stopped."""
    runs = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        for name in LAUNCHER_VARIABLES:
            patch.delenv(name, raising=False)
        learnt = {model: trained(preset, corpus, runs, model) for model in MODELS}
    return runs, learnt


@pytest.fixture(scope="module")
def together(preset_path, preset, corpus, tiny_corpus, tmp_path_factory):
    """What two processes learn, started by torchrun; they also go on with a training that one process began."""
    runs = tmp_path_factory.mktemp("together")
    stop(preset, corpus, runs / "stopped-alone", "wavegan")
    script = PROJECT / "tests" / "support" / "distributed_training.py"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    ended = subprocess.run(
        [*launch, str(preset_path), str(tiny_corpus), str(runs)], capture_output=True, text=True, timeout=900
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    ranks = {model: [torch.load(runs / f"{model}-{rank}.pt") for rank in (0, 1)] for model in MODELS}
    return runs, ranks, ended.stdout + ended.stderr


def assert_alike(found, expected, relative):
    """Tensors agree to a share of the largest value of each."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        largest = float(tensor.abs().max())
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=relative * largest + 1e-9, msg=name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_first_gradient_of_two_processes_is_that_of_one(model, alone, together):
    expected = alone[1][model]["gradients"]
    first, second = (rank["gradients"] for rank in together[1][model])
    assert not any(gradient is None for gradient in expected.values())
    # A Wasserstein critic's last bias cancels out between real and fake.
    assert [name for name, gradient in expected.items() if not gradient.any()] in ([], ["critic.score.bias"])
    assert_alike(second, first, 0)
    assert_alike(first, expected, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_two_processes_end_with_the_same_weights_and_the_score_of_one(model, alone, together, preset, corpus):
    first, second = (rank["weights"] for rank in together[1][model])
    assert_alike(second, first, 0)
    one, two = (record_of(preset, corpus, runs[0], model) for runs in (alone, together))
    drift = 5e-3 if model == "wavegan" else 1e-3  # Muon steps as far where a gradient is only rounding
    assert two.val_loss == pytest.approx(one.val_loss, rel=drift)
    assert (one.processes, two.processes) == (1, 2)
    assert one.examples == two.examples == 24
    assert [point[0] for point in two.curve] == [point[0] for point in one.curve]


@pytest.mark.slow
def test_a_training_that_was_stopped_goes_on_with_another_number_of_processes(alone, together, preset, corpus):
    runs, expected = together[0], alone[1]["wavegan"]["weights"]
    network = {name: weight for name, weight in expected.items() if name.startswith("network.")}
    finished = torch.load(place_of(preset, corpus, runs / "stopped-alone", "wavegan").weights, weights_only=True)
    assert_alike({f"network.{name}": weight for name, weight in finished["network"].items()}, network, 1e-3)

    stopped = place_of(preset, corpus, runs / "stopped-together", "wavegan")
    checkpoint = torch.load(stopped.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["SpeechPairsDataModule"] == {"examples": 0}  # the third batch of four is an epoch's last
    assert not stopped.finished
    result = trained(preset, corpus, runs / "stopped-together", "wavegan")
    assert_alike(result["weights"], together[1]["wavegan"][0]["weights"], 1e-3)
    record = TrainingRecord.read(stopped)
    assert record.examples == 24
    assert [point[0] for point in record.curve] == [12, 24]
    assert record.cpu_seconds > checkpoint["callbacks"]["Spending"]["cpu_seconds"] > 0
    assert record.peak_mb + 0.1 >= checkpoint["callbacks"]["Spending"]["peak_mb"] > 100
    assert STOP_AFTER == 3


@pytest.mark.slow
def test_started_by_torchrun_the_first_process_speaks_and_compare_refuses(together):
    runs, _, printed = together
    assert printed.count("dnn_fft-seed0: 24 examples") == 1
    assert "on 2 processes" in " ".join(printed.split())
    assert "start it without torchrun" in " ".join(printed.split())
    assert len(list((runs / "command").glob("trainings/*/training.json"))) == 1


class Watcher(Board):
    """Does something when a training has begun, told in whichever process."""

    def __init__(self, runs, act):
        super().__init__(None)
        self._runs, self._act, self._done = runs, act, False
        self._strangers = set(children_of(os.getpid()))  # multiprocessing's, of other tests

    def update(self, name, done, total, note=""):
        if not self._done and list(self._runs.glob("trainings/*/checkpoints/last.ckpt")):
            self._done = True
            self._act([child for child in children_of(os.getpid()) if child not in self._strangers])


@pytest.mark.slow
def test_a_killed_process_ends_the_others_and_the_next_start_goes_on(preset_path, tiny_corpus, tmp_path):
    plain = yaml.safe_load(preset_path.read_text())
    plain["budget"] |= {"examples": 400_000, "epochs": 20_000}
    plain["data"]["val_utterances_per_speaker"] = 1
    longer = tmp_path / "long.yaml"
    longer.write_text(yaml.safe_dump(plain))
    runs, distribution, ranks = tmp_path / "runs", Distribution(devices=2), []
    request = TrainRequest("dnn_fft", str(longer), 0, Workspace(runs, str(tiny_corpus), (), "none"), distribution)

    def kill_one(processes):
        ranks.extend(processes)
        os.kill(processes[-1], signal.SIGKILL)

    words = "dnn_fft-seed0: process [12] of 2 was killed (SIGKILL); the others were stopped. The same command continues"
    with pytest.raises(OvertoneError, match=re.escape(words).replace(r"\[12\]", "[12]")):
        train_side_by_side([request], 1, 1, Watcher(runs, kill_one))
    assert len(ranks) == 2
    before = seconds_kept(runs)

    def terminate(processes):
        ranks.extend(processes)
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as ended:
        train_side_by_side([request], 1, 1, Watcher(runs, terminate))
    assert ended.value.code == 143
    assert seconds_kept(runs) > before
    assert len(ranks) == 4
    assert not any(map(is_running, ranks))


def seconds_kept(runs):
    (checkpoint,) = runs.glob("trainings/*/checkpoints/last.ckpt")
    return torch.load(checkpoint, weights_only=True)["callbacks"]["Timer"]["time_elapsed"]["train"]


@pytest.mark.parametrize("replicas", [1, 2, 3, 5])
@pytest.mark.parametrize("items", [1, 8, 11, 12])
def test_batches_are_dealt_whole_once_each_and_equally_many(items, replicas):
    alone = list(DealtBatches(items, 4))
    dealt = [DealtBatches(items, 4, replicas, rank) for rank in range(replicas)]
    assert len({len(list(batches)) for batches in dealt}) == 1
    assert all(len(list(batches)) == len(batches) for batches in dealt)
    counted = [batch for batches in dealt for turn, batch in enumerate(batches) if batches.is_counted(turn)]
    assert sorted(counted) == alone


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--devices", "3"], "3 processes (3 devices x 1 nodes) cannot share the preset's batch of 4 evenly"),
        (["--devices", "0"], "--devices: expected at least 1, got 0"),
        (["--num-nodes", "-1"], "--num-nodes: expected at least 1, got -1"),
        (["--num-nodes", "2"], "missing NODE_RANK, MASTER_ADDR, MASTER_PORT"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options, words, preset_path, tiny_corpus, tmp_path, capsys):
    arguments = ["train", "dnn_fft", str(preset_path), "--data", str(tiny_corpus), "--runs", str(tmp_path)]
    assert main([*arguments, "--tracking", "none", *options]) == 1
    errors = capsys.readouterr().err
    assert words in errors
    assert errors.count("\n") == 1


def test_compare_refuses_a_batch_that_cannot_be_shared(preset_path, tiny_corpus, tmp_path, capsys):
    arguments = ["compare", str(preset_path), "--data", str(tiny_corpus), "--runs", str(tmp_path), "--devices", "3"]
    assert main([*arguments, "--tracking", "none"]) == 1
    assert "cannot share" in capsys.readouterr().err


def test_unused_parameters_are_looked_for_where_two_optimisers_alternate(preset):
    for name in MODELS:
        module = build_model(name, 16000, preset.models[name])
        alternates = name.startswith("wavegan")
        for strategy in ("auto", "ddp"):
            made = make_strategy(module, Distribution(devices=2, strategy=strategy))
            assert made._ddp_kwargs["find_unused_parameters"] == alternates
        assert make_strategy(module, Distribution()) == "auto"
        never = Distribution(devices=2, strategy="ddp_find_unused_parameters_false")
        if alternates:
            with pytest.raises(OvertoneError, match="expected --strategy auto or ddp_find_unused_parameters_true"):
                make_strategy(module, never)
        else:
            make_strategy(module, never)


def test_an_outer_launcher_is_seen_and_its_numbers_are_taken(monkeypatch):
    for name in LAUNCHER_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    asked = Distribution(accelerator="cpu")
    assert (outer_launcher(), process_rank(), launched_distribution(asked)) == (None, 0, asked)
    slurm = {"SLURM_NTASKS": "6", "SLURM_NNODES": "3", "SLURM_PROCID": "4", "SLURM_JOB_NAME": "training"}
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    assert outer_launcher() is None  # a batch script: srun has not been called
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert (outer_launcher(), process_rank()) == ("srun", 4)
    assert launched_distribution(asked) == Distribution(2, 3, accelerator="cpu")
    for name, value in {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1", "RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    assert (outer_launcher(), process_rank()) == ("environment", 3)
    assert launched_distribution(Distribution(2, 2)) == Distribution(2, 2)
    with pytest.raises(OvertoneError, match="has started 2 processes on 2 nodes, but --devices and --num-nodes say 4"):
        launched_distribution(Distribution(4, 1))


def test_a_process_that_fails_without_a_word_names_its_log(tmp_path, tiny_corpus):
    request = TrainRequest("dnn_fft", "demo", 0, Workspace(tmp_path, str(tiny_corpus), tracking="none"))
    environment = {"WORLD_SIZE": "many"}
    processes = TrainingProcesses(request, [environment], tmp_path / "dnn_fft-seed0.log")
    with pytest.raises(
        OvertoneError, match=r"^dnn_fft-seed0: the training process ended with code 1\. See .*seed0\.log"
    ):
        while not processes.step(print):
            time.sleep(0.1)
    assert "Traceback" in processes.log_of(0).read_text()
    assert processes.log_of(1).name == "dnn_fft-seed0.1.log"


def test_processor_time_and_memory_of_child_processes_count():
    before = resource_use()
    busy = "import time; x, end = bytearray(200_000_000), time.process_time() + 0.5\n"
    busy += "while time.process_time() < end: pass"
    wait = "\nprint(flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", busy + wait], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    running = resource_use()
    child.communicate(b"\n")
    after = resource_use()
    assert running[0] - before[0] > 0.5 and after[0] - before[0] > 0.5
    assert running[1] - before[1] > 190 and after[1] - before[1] < 100


def test_a_record_of_before_still_loads(tmp_path, preset, corpus):
    place = place_of(preset, corpus, tmp_path, "dnn_fft")
    place.folder.mkdir(parents=True)
    old = {"examples": 24, "seconds": 4.0, "cpu_seconds": 3.0, "peak_mb": 9.0, "over_budget": False, "val_loss": 1.0}
    place.record.write_text(json.dumps(old | {"curve": [[12, 2.0], [24, 1.0]]}))
    record = TrainingRecord.read(place)
    assert record.processes == 1
    assert record.costs["examples_per_second"] == 6.0
