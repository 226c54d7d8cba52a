"""Export: the proof holds for every streaming architecture, and what cannot be exported leaves nothing behind."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from exported_models import exported, small_module
from network_stream import NetworkStream
from packages import STREAMING, exported_model
from waveforms import speech_like

from datamodules.corpora.corpus import load_corpus
from evaluation.measures.catalogue import MEASURES
from experiments.cli.main import main
from experiments.export import package as package_module
from experiments.export.card import training_data, write_card
from experiments.export.generated_speech import generated_clips
from experiments.export.package import check_target, export_package
from experiments.export.parity import TOLERANCE, Parity, ParityRow, parity_of, real_clips
from experiments.export.source import ModelSource, checkpoint_source
from experiments.presets.preset import load_preset
from experiments.ranking.primary import add_primary
from experiments.registry import MODELS, build_model
from experiments.training.trained_system import enhance_waveform
from models.export.forms import ComplexPair, ConvolutionAsProduct
from models.export.graphs import Graph
from models.streaming.causal_layers import History
from overtone.enhancer import Enhancer
from overtone.errors import OvertoneError
from overtone.model_package import GraphRun, load_model


def test_every_streaming_architecture_is_tested():
    assert set(STREAMING) == {name for name in MODELS if not name.endswith("_original")}


@pytest.mark.parametrize("name", STREAMING)
def test_the_package_equals_pytorch(name):
    module, _, parity = exported(name)
    assert parity.holds
    assert parity.largest.difference < TOLERANCE
    assert {row.samples for row in parity.rows} >= {1, module.network.hop_samples - 1, module.latency_samples, 12345}
    clip = speech_like(16000, 7001, seed=5)
    enhanced, _ = Enhancer(exported_model(name), denoise=True).enhance(clip, 16000)
    np.testing.assert_allclose(enhanced, enhance_waveform(module, clip), atol=TOLERANCE)


@pytest.mark.parametrize("name", STREAMING)
def test_it_streams_as_the_pytorch_stream_does(name):
    module, _, _ = exported(name)
    clip = speech_like(16000, 3000, seed=6)
    theirs, ours = NetworkStream(module.network), Enhancer(exported_model(name), denoise=True).stream(16000)
    assert ours.latency_samples == theirs.latency_samples == module.latency_samples
    for block in np.split(clip, [100, 101, 900, 2222]):
        np.testing.assert_allclose(ours.push(block), theirs.push(block), atol=TOLERANCE)
    np.testing.assert_allclose(ours.flush(), theirs.flush(), atol=TOLERANCE)


@pytest.mark.parametrize("name", STREAMING)
def test_the_network_is_as_before_after_export(name):
    network, before = exported(name)[0].network, small_module(name).network
    clip = torch.from_numpy(speech_like(16000, 3000))[None]
    assert [(path, type(part)) for path, part in network.named_modules()] == [
        (path, type(part)) for path, part in before.named_modules()
    ]
    torch.testing.assert_close(network(clip), before(clip), rtol=0, atol=0)


def test_the_runtime_has_the_models_own_window_to_the_last_bit():
    """A window computed anew differs in its edges by rounding, and real speech by 1.3e-4."""
    window = exported("dnn_fft")[0].network.analysis.window.numpy()
    np.testing.assert_array_equal(exported_model("dnn_fft").window, window)
    np.testing.assert_allclose(window, np.sin(np.pi * np.arange(len(window)) / len(window)), atol=1e-4)


def test_the_graph_keeps_what_guards_a_division(tmp_path):
    """The exporter's own optimiser takes 1e-8 for 0: silence became 0 / 0."""
    run = GraphRun(exported_model("dnn_fft"), 1)
    bins = len(exported_model("dnn_fft").window) // 2 + 1
    nothing = np.zeros((1, 3, bins, 2), np.float32)
    output = run(spectra=nothing, harmonic_spectra=nothing, noise_spectra=nothing)
    assert not output.any()


@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), [(1, 1, 1), (5, 1, 1), (25, 4, 1), (3, 1, 8)])
def test_a_convolution_as_a_product_is_the_convolution(kernel_size, stride, dilation):
    convolution = torch.nn.Conv1d(3, 7, kernel_size, stride, dilation=dilation)
    x = torch.randn(2, 3, 96)
    torch.testing.assert_close(ConvolutionAsProduct(convolution)(x), convolution(x), atol=1e-5, rtol=1e-5)


def test_complex_pairs_compute_as_complex_numbers():
    a, b, real = torch.randn(4, 2), torch.randn(4, 2), torch.rand(4) + 0.5
    x, y = torch.view_as_complex(a), torch.view_as_complex(b)
    pair = real * (ComplexPair(a) + 2.0 * ComplexPair(b)) / real.square()
    torch.testing.assert_close(torch.view_as_complex(pair.parts), real * (x + 2 * y) / real.square())
    torch.testing.assert_close(ComplexPair(a).abs(), x.abs())
    with pytest.raises(TypeError):
        ComplexPair(a) * ComplexPair(b)


@pytest.mark.parametrize("name", [name for name in MODELS if name.endswith("_original")])
def test_models_that_need_the_whole_file_are_refused_in_one_line(name, tmp_path, capsys):
    build_model(name, 16000, {}).save_weights(tmp_path / "model.pt")
    assert main(["export", "--checkpoint", str(tmp_path / "model.pt"), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{name} needs the whole file" in error
    assert not (tmp_path / "out").exists()


def test_a_graph_that_differs_fails_and_leaves_nothing(tmp_path, monkeypatch):
    package = exported("dnn_fft")[1]

    def of_other_weights(network, path):
        shutil.copyfile(package / "model.onnx", path)
        return Graph("spectral", load_model(package).states)

    module = small_module("dnn_fft")
    with torch.no_grad():
        module.network.last.bias += 1e-2
    monkeypatch.setattr(package_module, "export_graph", of_other_weights)
    with pytest.raises(OvertoneError, match=r"differs from the model by .* nothing was written"):
        export_package(ModelSource(module, "a test", None), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_difference_that_is_no_number_does_not_hold():
    rows = (ParityRow("a", 1, "whole", 0.0), ParityRow("b", 1, "whole", float("nan")))
    assert not Parity(rows, real=False).holds
    assert Parity(rows, real=False).largest.clip == "b"
    assert not Parity((ParityRow("a", 1, "whole", 1.1e-4),), real=False).holds


def test_only_packages_and_empty_folders_are_replaced(tmp_path, monkeypatch):
    check_target(tmp_path / "new")
    check_target(tmp_path)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OvertoneError, match=r"holds thesis\.txt, which is no part"):
        check_target(tmp_path)
    with pytest.raises(OvertoneError, match="found a file"):
        check_target(tmp_path / "thesis.txt")
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    for place in (".", "..", tmp_path / "inner"):
        with pytest.raises(OvertoneError, match="working directory"):
            check_target(Path(place))


@pytest.mark.parametrize("foreign", ["thesis.txt", "SHA256SUMS alone", "changed"])
def test_what_this_program_did_not_write_is_never_removed(tmp_path, foreign):
    out = tmp_path / "model"
    if foreign == "SHA256SUMS alone":
        out.mkdir()
        (out / "SHA256SUMS").write_text("0" * 64 + "  thesis.txt\n")
        (out / "thesis.txt").write_text("years of work")
    else:
        shutil.copytree(exported("dnn_fft")[1], out)
        with (out / ("thesis.txt" if foreign == "thesis.txt" else "card.md")).open("a") as file:
            file.write("years of work")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(OvertoneError, match="Nothing was removed"):
        export_package(ModelSource(small_module("dnn_fft"), "a test", None), out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_whole_package_is_replaced(tmp_path):
    out = tmp_path / "model"
    shutil.copytree(exported("wavegan")[1], out)
    export_package(ModelSource(small_module("dnn_fft"), "a test", None), out)
    assert load_model(out).name == "dnn_fft"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def configuration_of(preset_file, model, **changes):
    """What `overtone train` writes beside the weights."""
    plain = load_preset(str(preset_file)).training_configuration(model, 0) | {"data_digest": "abc"} | changes
    return json.loads(json.dumps(plain))


def trained(folder, preset_file, model="dnn_fft", file="model.pt", **changes):
    """Weights and the configuration beside them, as a training leaves them."""
    weights = folder / file
    weights.parent.mkdir(parents=True, exist_ok=True)
    small_module(model).save_weights(weights)
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration_of(preset_file, model, **changes)))
    return weights


def test_the_command_exports_weights_with_what_lies_beside_them(tiny_preset, tiny_settings, tmp_path, capsys):
    conditions = {
        "resampled": {"steps": [{"resample": {"rate": [7000, 8000]}}]},
        "unused": {"share": 0, "steps": [{"gain": {"db": 0}}]},
    }
    changed = {"data": tiny_settings["data"] | {"train_conditions": conditions}}
    tiny_preset.write_text(yaml.safe_dump(tiny_settings | changed))
    training = configuration_of(tiny_preset, "dnn_fft", budget={"examples": 1234})
    weights = trained(tmp_path / "training", tiny_preset, budget={"examples": 1234})
    out = tmp_path / "deep" / "package"
    arguments = ["export", "--checkpoint", str(weights), "--preset", str(tiny_preset), "--out", str(out)]
    assert main(arguments) == 0
    assert "PyTorch and ONNX Runtime differ by" in capsys.readouterr().out
    model = load_model(out)
    assert model.widest_input_hz == 4000
    configuration = model.configuration
    assert configuration["preset"] == "tiny"
    assert configuration["data_digest"] == "abc"
    assert configuration["training"] == training
    assert configuration["training_digest"]
    assert configuration["settings"]["hidden"] == 16
    assert set(configuration["libraries"]) == {"torch", "onnx", "onnxscript", "onnxruntime", "numpy"}
    assert "1234 training examples" in (out / "card.md").read_text()
    assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=out, check=False).returncode == 0
    assert [path.name for path in out.parent.iterdir()] == ["package"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "received neither"),
        (["--checkpoint", "nothing.pt"], "no such checkpoint"),
        (["--preset", "demo"], "no champion overtone-demo is registered"),
        (["--preset", "unheard"], "Unknown preset"),
    ],
)
def test_mistakes_are_one_line(arguments, words, tmp_path, capsys):
    runs = ["--runs", str(tmp_path / "runs")]
    assert main(["export", "--out", str(tmp_path / "out"), *arguments, *runs]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_real_clips_are_of_test_speakers(tiny_corpus):
    clips = real_clips(load_corpus(tiny_corpus), 16000)
    assert {name.split("/")[0] for name in clips} == {"eve", "finn"}
    module, _, _ = exported("dnn_fft")
    assert parity_of(module, exported_model("dnn_fft"), clips, real=True).holds


def test_generated_clips_hold_silence_and_speech():
    for clip in generated_clips(16000).values():
        assert np.isfinite(clip).all()
        assert 0.05 < np.abs(clip).max() < 1


def scores():
    rows = [
        {"system": "dnn_fft", "file": f"{speaker}{condition}", "speaker": speaker, "condition": condition, "seed": 0.0}
        | {"cutoff_hz": 4000.0, "extended_ber": 0.3 + 0.01 * number, "lsd": 1.0, "visqol": 3.0, "not_applicable": ""}
        for condition in ("telephone", "gsm")
        for number, speaker in enumerate("abcd")
    ]
    return add_primary(pd.DataFrame(rows))


def test_the_card_states_scores_with_intervals_data_latency_and_limits(tiny_corpus, tmp_path):
    module, _, parity = exported("dnn_fft")
    corpus = load_corpus(tiny_corpus)
    manifest = pd.read_csv(tiny_corpus / "manifest.csv")
    manifest["licence"], manifest["attribution"] = "CC-BY-4.0", "by " + manifest["speaker"]
    manifest.to_csv(tmp_path / "manifest.csv", index=False)
    manifest["path"] = [str(tiny_corpus / path) for path in manifest["path"]]
    manifest.to_csv(tmp_path / "manifest.csv", index=False)
    data = training_data(corpus, tmp_path / "manifest.csv", corpus.digest)
    source = ModelSource(module, "overtone-tiny version 1", "tiny", {"budget": {"examples": 16}}, scores())
    write_card(tmp_path / "card.md", exported_model("dnn_fft"), source, parity, data=data)
    card = (tmp_path / "card.md").read_text()
    assert "| telephone | extended_ber | 0.315 | 0.3" in card
    assert "| speech | - | CC-BY-4.0 | 0.1 |" in card or "| speech | - | CC-BY-4.0 | 0.2 |" in card
    assert "- by ada\n- by ben\n" in card
    assert re.search(r"worst under `telephone`; worst for the speakers (\w+ \(\d\.\d\d\)(, )?)+; 0\.\d\d for", card)
    assert "512 samples at 16000 Hz, 32.0 ms" in card
    assert "2 speakers in training" in card
    assert all(heading in card for heading in ("## Intended use", "## Limits", "## Proof"))


def test_the_card_begins_with_scores_that_a_hub_reads(tmp_path):
    module, _, parity = exported("dnn_fft")
    source = ModelSource(module, "x", "tiny", {"data_digest": "4711"}, scores())
    write_card(tmp_path / "card.md", exported_model("dnn_fft"), source, parity)
    _, front, rest = re.split(r"^---\n", (tmp_path / "card.md").read_text(), maxsplit=2, flags=re.MULTILINE)
    assert rest.strip().startswith("# dnn_fft, 16000 Hz")
    card = yaml.safe_load(front)
    assert card["pipeline_tag"] == "audio-to-audio"
    (entry,) = card["model-index"]
    assert [result["dataset"]["config"] for result in entry["results"]] == ["telephone", "gsm"]
    for result in entry["results"]:  # what huggingface_hub asks of each: task, data set and metrics, with these keys
        assert result["task"]["type"] == "audio-to-audio"
        assert {"type", "name"} <= result["dataset"].keys()
        assert (result["dataset"]["split"], result["dataset"]["revision"]) == ("test", "4711")
        values = {metric["type"]: metric["value"] for metric in result["metrics"]}
        assert values == {"extended_ber": pytest.approx(0.315), "lsd": 1.0, "visqol": 3.0}
        assert all(metric["args"]["version"] == MEASURES[metric["type"]].version for metric in result["metrics"])
        args = result["metrics"][0]["args"]
        assert args["low_95"] < 0.315 < args["high_95"]


def test_a_card_without_scores_has_front_matter_without_an_index(tmp_path):
    module, _, parity = exported("dnn_fft")
    write_card(tmp_path / "card.md", exported_model("dnn_fft"), ModelSource(module, "x", None), parity)
    assert "model-index" not in yaml.safe_load((tmp_path / "card.md").read_text().split("---\n")[1])


def test_the_lines_of_the_card_enhance_with_the_package_that_it_lies_in():
    folder = exported("dnn_fft")[1]
    code = re.search(r"```python\n(.*?)```", (folder / "card.md").read_text(), re.DOTALL)[1]
    names = {"samples": np.zeros(1600, np.int16)}
    exec(code.replace("DIR", str(folder)), names)
    assert (names["enhanced"].shape, names["rate"]) == ((1600,), 16000)


def test_the_card_does_not_state_another_corpus(tiny_corpus, tmp_path):
    module, _, parity = exported("dnn_fft")
    data = training_data(load_corpus(tiny_corpus), tiny_corpus / "manifest.csv", "the digest of another")
    write_card(tmp_path / "card.md", exported_model("dnn_fft"), ModelSource(module, "x", None), parity, data=data)
    card = (tmp_path / "card.md").read_text()
    assert "not the one that the model was trained on" in card
    assert "Not scored" in card


def test_a_champion_is_exported_with_its_evidence(tmp_path, tiny_preset, tiny_settings, monkeypatch):
    from experiments.export import source as model_source
    from experiments.tracking.tracker import open_tracker

    runs, bundle = tmp_path / "runs", tmp_path / "bundle"
    tiny_preset.write_text(yaml.safe_dump(tiny_settings | {"models": {"wavegan": {}}}))
    trained(bundle, tiny_preset, "wavegan")
    scores().assign(system="wavegan").to_csv(bundle / "scores-test.csv", index=False)
    tracker = open_tracker("mlflow", runs)
    with tracker.run("tiny", "wavegan-seed0", {}, "key") as run:
        tracker.register("overtone-tiny", run, bundle, {"test_uses": "2"})
    source = model_source.champion_source(str(tiny_preset), runs)
    assert (source.module.name, source.origin, source.preset) == ("wavegan", "overtone-tiny version 1", "tiny")
    assert source.scores is not None
    assert source.evidence["test_uses"] == "2"
    assert source.training["data_digest"] == "abc"


def test_a_trainings_checkpoint_is_called_unfinished_until_the_training_is_finished(tiny_preset, tmp_path):
    checkpoint = trained(tmp_path / "dnn_fft-seed0", tiny_preset, file="checkpoints/last.ckpt")
    source = checkpoint_source(checkpoint, None)
    assert source.origin == "last.ckpt, an unfinished training"
    assert source.training == configuration_of(tiny_preset, "dnn_fft")
    (tmp_path / "dnn_fft-seed0" / "training.json").write_text("{}")
    assert checkpoint_source(checkpoint, None).origin == "last.ckpt"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sample_rate": 48000}, "it is at 16000 Hz, the preset at 48000 Hz"),
        ({"models": {"wavegan": {}}}, "it is a dnn_fft, the preset has wavegan"),
        ({"data": {"crop_seconds": 0.75}}, r"its configuration has other values of data\.crop_seconds"),
    ],
)
def test_a_preset_that_the_weights_were_not_trained_for_is_refused(
    tiny_preset, tiny_settings, tmp_path, changes, expected
):
    weights = trained(tmp_path / "training", tiny_preset)
    changes = {key: tiny_settings["data"] | value if key == "data" else value for key, value in changes.items()}
    tiny_preset.write_text(yaml.safe_dump(tiny_settings | changes))
    with pytest.raises(OvertoneError, match=f"not trained for preset tiny: {expected}"):
        checkpoint_source(weights, str(tiny_preset))


@pytest.mark.parametrize("text", ["", "model: [", "model: dnn_fft", "- 1", "data: {train_conditions: 3}"])
def test_a_damaged_configuration_beside_the_weights_is_named(tiny_preset, tmp_path, text):
    weights = trained(tmp_path, tiny_preset)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(OvertoneError, match=r"config\.yaml: damaged"):
        checkpoint_source(weights, None)


def test_a_configuration_of_another_model_is_refused(tiny_preset, tmp_path):
    weights = trained(tmp_path, tiny_preset, sample_rate=48000)
    with pytest.raises(OvertoneError, match=r"describes dnn_fft at 48000 Hz, but model\.pt is dnn_fft at 16000 Hz"):
        checkpoint_source(weights, None)


def test_states_are_zero_before_the_first_step_as_in_pytorch():
    module, folder, _ = exported("spectrogram_autoencoder")
    stated = json.loads((folder / "config.json").read_text())["states"]
    history = History()
    module.network.process(torch.zeros(1, module.network.hop_samples), history)
    kept = [tuple(tensor.shape) for tensor in history.next]
    assert all(tuple(state["shape"]) in kept for state in stated)
