"""What changes the key of a training or a score, and what does not."""

import shutil

import pytest

from experiments import keys
from experiments.keys import PACKAGES, scoring_code, statements_reached_from, training_code


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A copy of the sources that keys are made from."""
    copies = {}
    for package, folder in PACKAGES.items():
        copies[package] = tmp_path / package
        shutil.copytree(folder, copies[package], ignore=shutil.ignore_patterns("packed", "__pycache__", "static"))
    monkeypatch.setattr(keys, "PACKAGES", copies)
    statements_reached_from.cache_clear()
    yield tmp_path
    statements_reached_from.cache_clear()


def replaced(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    statements_reached_from.cache_clear()


def test_each_architecture_has_a_key_of_its_own():
    assert training_code("dnn_fft") != training_code("wavegan")


def test_words_about_the_sources_change_no_key(sources):
    before = training_code("dnn_fft"), scoring_code()
    replaced(sources / "models/dnn_fft/causal.py", '"""DNN on', '"""A DNN on')
    source = sources / "evaluation/harness.py"
    replaced(source, source.read_text(), source.read_text() + "\n# the end\n")
    replaced(sources / "evaluation/measures/declaration.py", '"""Computed only when', '"""Computed when')
    assert (training_code("dnn_fft"), scoring_code()) == before


def test_a_move_to_another_module_changes_no_key(sources):
    before = training_code("dnn_fft"), scoring_code()
    (sources / "datamodules/degradation/rooms.py").rename(sources / "datamodules/degradation/echoes.py")
    replaced(sources / "datamodules/degradation/steps.py", "codecs, filters, rooms", "codecs, echoes, filters")
    assert (training_code("dnn_fft"), scoring_code()) == before


def test_an_architecture_that_changes_retrains_only_itself(sources):
    before, other, scores = training_code("dnn_fft"), training_code("wavegan"), scoring_code()
    replaced(sources / "models/dnn_fft/causal.py", "hidden: int = 256", "hidden: int = 257")
    assert training_code("dnn_fft") != before
    assert (training_code("wavegan"), scoring_code()) == (other, scores)


@pytest.mark.parametrize("module", ["datamodules/degradation/noise.py", "overtone/short_time.py", "models/losses.py"])
def test_a_constant_that_a_training_reaches_changes_its_key(sources, module):
    before = training_code("dnn_fft")
    path = sources / module
    replaced(path, path.read_text(), path.read_text() + "\nNEW_CONSTANT = 1\n")
    assert (training_code("dnn_fft") != before) == (module != "overtone/short_time.py")


@pytest.mark.parametrize(
    "module", ["evaluation/measures/stft.py", "datamodules/degradation/noise.py", "models/baselines.py"]
)
def test_a_constant_in_a_sub_folder_that_scores_reach_changes_theirs(sources, module):
    before = scoring_code()
    path = sources / module
    replaced(path, path.read_text(), path.read_text() + "\nNEW_CONSTANT = 1\n")
    assert scoring_code() != before


def test_how_a_measure_is_shown_changes_no_key_but_its_function_does(sources):
    before = scoring_code()
    catalogue = sources / "evaluation/measures/catalogue.py"
    replaced(catalogue, 'weakness="as `lsd`, with another floor"', 'weakness="fooled by noise"')
    replaced(catalogue, 'name="ViSQOL"', 'name="V"')
    assert scoring_code() == before
    replaced(catalogue, "function=waveform.snr", "function=waveform.seam")
    assert scoring_code() != before


def test_what_nothing_imports_changes_no_key(sources):
    before = training_code("dnn_fft"), scoring_code()
    replaced(sources / "datamodules/fetching/archive.py", "import", "import")
    (sources / "datamodules/fetching/archive.py").write_text("X = 1\n")
    statements_reached_from.cache_clear()
    assert (training_code("dnn_fft"), scoring_code()) == before
