"""The registered champion as an MLflow model, where neither torch nor our training code can be imported."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from enhance_cases import speech
from packages import package
from project import PROJECT
from score_tables import GOOD, findings_of, score_table

from datamodules.corpora.corpus import load_corpus
from experiments.comparison.publication import Publisher
from experiments.export import parity as export_parity
from experiments.presets.preset import load_preset
from experiments.registry import build_model
from experiments.tracking.pyfunc import PACKAGE_FOLDER, REQUIREMENTS, pyfunc_folder
from experiments.tracking.tracker import open_tracker
from experiments.training.places import TrainingPlace
from overtone.enhancer import Enhancer
from overtone.errors import OvertoneError
from overtone.model_package import load_model

# What a scoring server does, without the server; it starts where nothing of this repository is found.
LOADING = """
import json, sys
import numpy as np

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "librosa", "experiments", "models", "datamodules", "evaluation"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
sys.path = [place for place in sys.path if place not in ("", {root!r})]
import mlflow
from mlflow.exceptions import MlflowException

folder, waveform = sys.argv[1:]
mlflow.set_tracking_uri("sqlite:///" + folder + "/mlflow.db")
model = mlflow.pyfunc.load_model("models:/overtone-tiny@champion")
samples = np.load(waveform)
answers = {{
    "own_rate": model.predict(samples),
    "narrow": model.predict(samples, params={{"rate": 16000}}),
    "denoised": model.predict(samples, params={{"rate": 16000, "denoise": True}}),
    "one": model.predict(samples[1:], params={{"rate": 16000}}),
}}
np.savez(waveform + ".npz", **answers)
from mlflow.pyfunc.scoring_server import invocations

def asked(inputs):
    body = json.dumps({{"inputs": inputs, "params": {{"rate": 16000}}}})
    try:
        answer = invocations(body, "application/json", model, model.metadata.get_input_schema())
        return [answer.status, json.loads(answer.response)]
    except MlflowException as error:
        return [400, error.message]

served = [asked(samples[:1].tolist()), asked([[0.0, float("nan")]])]
print(json.dumps([sys.modules["overtone"].__file__, served]))
"""


@pytest.fixture(scope="module")
def champion(tmp_path_factory):
    """A folder of runs with a registered champion: weights, scores and the exported package."""
    folder = tmp_path_factory.mktemp("champion")
    shutil.copytree(package(), folder / "bundle" / PACKAGE_FOLDER)
    (folder / "bundle" / "model.pt").write_bytes(b"weights")
    (folder / "bundle" / "config.yaml").write_text("name: tiny\n")
    tracker = open_tracker("mlflow", folder / "runs")
    with tracker.run("compare-tiny", "dnn_fft-seed0", {}, "key") as run:
        version = tracker.register("overtone-tiny", run, folder / "bundle", {"evidence": "scores"})
    return folder / "runs", version


def test_the_version_is_a_model_with_weights_and_configuration_beside_it(champion):
    _, version = champion
    names = {path.name for path in version.folder.iterdir()}
    assert {"MLmodel", "model.pt", "config.yaml", "requirements.txt", "input_example.json"} <= names
    assert load_model(version.folder / "artifacts" / PACKAGE_FOLDER).name == "dnn_fft"
    assert not list(version.folder.rglob("*.pkl"))
    required = (version.folder / "requirements.txt").read_text().split()
    assert [line.partition("==")[0] for line in required] == list(REQUIREMENTS)
    assert all("==" in line for line in required)
    signature = yaml.safe_load((version.folder / "MLmodel").read_text())["signature"]
    waveforms = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, -1]}}]
    assert json.loads(signature["inputs"]) == json.loads(signature["outputs"]) == waveforms
    assert {one["name"]: one["default"] for one in json.loads(signature["params"])} == {"rate": 0, "denoise": False}


def test_it_answers_without_torch_as_the_runtime_does(champion, tmp_path):
    runs, _ = champion
    batch = np.stack([speech(seed=0)[:, 0], speech(seed=1)[:, 0]])
    np.save(tmp_path / "batch.npy", batch)
    code = LOADING.format(root=str(PROJECT))
    command = [sys.executable, "-c", code, str(runs), str(tmp_path / "batch.npy")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    place, (answer, refusal) = json.loads(done.stdout.splitlines()[-1])
    assert str(runs) in place  # not the runtime that is installed here
    answers = np.load(tmp_path / "batch.npy.npz")
    kept, changed = (Enhancer(load_model(package()), denoise=denoise) for denoise in (False, True))
    for name, enhancer, rate in (("own_rate", kept, 48000), ("narrow", kept, 16000), ("denoised", changed, 16000)):
        for given, received in zip(batch, answers[name], strict=True):
            np.testing.assert_allclose(received, enhancer.enhance(given, rate)[0], atol=1e-5)
    np.testing.assert_allclose(answers["one"][0], answers["narrow"][1], atol=1e-5)
    assert answer[0] == 200
    np.testing.assert_allclose(answer[1]["predictions"], answers["narrow"][:1], atol=1e-5)
    assert refusal[0] == 400 and "Sample 1 is NaN" in str(refusal[1])


def test_a_folder_without_a_package_is_left_as_it_is(tmp_path):
    with pyfunc_folder(tmp_path) as folder:
        assert folder == tmp_path
    assert not list(tmp_path.iterdir())


# What a comparison registers


@pytest.fixture
def winner(tiny_preset, tiny_corpus, tmp_path):
    """A publisher, and the place of an untrained winner."""
    preset = load_preset(str(tiny_preset))
    place = TrainingPlace("dnn_fft", 0, "key", tmp_path / "trainings" / "dnn_fft-seed0-key")
    place.folder.mkdir(parents=True)
    build_model("dnn_fft", preset.sample_rate, preset.models["dnn_fft"]).save_weights(place.weights)
    (place.folder / "config.yaml").write_text(yaml.safe_dump(preset.training_configuration("dnn_fft", 0)))
    comparison = tmp_path / "comparison"
    comparison.mkdir()
    (comparison / "leaderboard.md").write_text("# Leaderboard")
    tracker = open_tracker("mlflow", tmp_path / "runs")
    findings = findings_of(score_table({"dnn_fft": GOOD}), test_uses=1)
    return Publisher(tracker, preset, load_corpus(tiny_corpus), comparison, findings), place


def test_the_winner_of_a_comparison_is_registered_with_its_export(winner):
    publisher, place = winner
    version = publisher.register(place)
    names = {path.name for path in version.folder.iterdir()}
    assert {"MLmodel", "model.pt", "config.yaml", "scores-test.csv", "leaderboard.md"} <= names
    exported = version.folder / "artifacts" / PACKAGE_FOLDER
    assert load_model(exported).configuration["preset"] == "tiny"
    assert {"card.md", "parity.json", "parity.md"} <= {path.name for path in exported.iterdir()}


def test_an_export_that_differs_from_the_model_is_not_registered(winner, monkeypatch):
    publisher, place = winner
    monkeypatch.setattr(export_parity, "TOLERANCE", -1.0)
    with pytest.raises(OvertoneError, match="differs from the model"):
        publisher.register(place)
    assert publisher.tracker.champion("overtone-tiny") is None
