"""MLflow as a reviewer walks through it: a finished comparison, `overtone ui`, Chromium; clicks are counted."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from listening_browser import EXECUTABLE, answer_headphone_check
from listening_votes import header
from mlflow_reviewer import Reviewer
from ports import free_port
from processes import PATIENCE

from experiments.cli.main import main
from experiments.scoring.splits import read_scores

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed"),
]
# Seconds of training qualify nobody: without guards on scores there is a champion, and what cannot stream is out.
OFF = ("content_ber_margin", "lsd_low_clean", "lsd_low_margin", "tonality", "excess_above_band_db", "rtf")
OFF += ("gain_over_unprocessed",)
UNFOLD = '[data-component-id="mlflow.experiment.metadata_editor.expand_button"]'
RUN, OTHER = "dnn_fft-seed0", "wavegan_original-seed0"
TABLE = ("a", RUN)


class Served(NamedTuple):
    """What `overtone ui` serves, and the address that it printed."""

    runs: Path
    address: str

    @property
    def server(self) -> str:
        return self.address.partition("/#")[0]


@pytest.fixture(scope="module")
def served(tiny_settings, tiny_corpus, tmp_path_factory):
    """A comparison whose folder for runs was moved after it had ended."""
    folder = tmp_path_factory.mktemp("walk")
    preset, made, runs = folder / "tiny.yaml", folder / "made", folder / "moved"
    data = tiny_settings["data"]
    data = data | {"test_conditions": {"telephone": data["test_conditions"]["telephone"]}}
    winner = dict.fromkeys(OFF, float("inf")) | {"visqol_above_unprocessed": False}
    preset.write_text(yaml.safe_dump(tiny_settings | {"data": data, "winner": winner}))
    assert main(["compare", str(preset), "--data", str(tiny_corpus), "--runs", str(made)]) == 0
    shutil.move(made, runs)
    command = [sys.executable, "-m", "overtone.cli.main", "ui", "--runs", str(runs), "--port", str(free_port())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            printed = []  # that the folder was moved, and the address
            while not (printed and printed[-1].startswith("MLflow: ")):
                printed.append(process.stdout.readline())
                assert printed[-1], printed
            yield Served(runs, printed[-1].split()[1])
        finally:
            process.terminate()
            process.wait(PATIENCE)


@pytest.fixture(scope="module")
def chromium():
    with Reviewer() as opened:
        yield opened


@pytest.fixture
def reviewer(chromium, served):
    chromium.errors.clear()
    chromium.visit(served.address, TABLE)
    yield chromium
    assert chromium.errors == []


def test_the_winner_is_seen_at_once_and_the_reasons_at_a_click(reviewer):
    reviewer.wait_for("strong", "dnn_fft is the champion")
    assert reviewer.is_in_sight("strong", "dnn_fft is the champion")
    for name in ("rank", "test/primary", "test/visqol"):
        reviewer.wait_for("[role=columnheader]", name)
        assert reviewer.is_in_sight("[role=columnheader]", name), name
    names = reviewer.run(
        "[...document.querySelectorAll('a[href*=\"/runs/\"]')].map(one => [one.getBoundingClientRect().y,"
        " one.innerText.trim()]).sort((one, other) => one[0] - other[0]).map(one => one[1])"
    )
    expected = ["comparison", RUN, OTHER, "unprocessed"]
    assert [name for name in names if name in expected] == expected
    assert reviewer.clicks == 0
    reviewer.press(UNFOLD)
    reviewer.wait(
        "[...document.querySelectorAll('li')].some(one => one.checkVisibility() && one.innerText.match("
        "/^wavegan_original \\([\\d.]+\\): whole-file, cannot stream: the limit is 40 ms\\.$/))"
    )
    assert reviewer.clicks == 1
    assert reviewer.run("document.querySelector('table').rows[0].cells.length") <= 7


def test_input_output_and_target_are_heard_after_two_clicks(reviewer):
    reviewer.follow("a", "samples")
    reviewer.wait_in_frame("document.querySelectorAll('.switch button').length >= 3")
    assert reviewer.clicks == 1
    button, sound = "document.querySelectorAll('.switch button')[%d]", "document.querySelectorAll('.sample audio')[%d]"
    for number, name in enumerate(("narrowband", "enhanced", "target")):
        assert reviewer.run(f"{button % number}.innerText", inside=True) == name
        assert reviewer.run(f"{button % number}.getBoundingClientRect().bottom <= innerHeight", inside=True)
        reviewer.wait(f"{sound % number}.duration > 0.4", inside=True)
        reviewer.run(f"{button % number}.click()", inside=True)  # the second click, whichever of the three it is
        reviewer.wait(f"{sound % number}.currentTime > 0", inside=True)


def test_sections_of_the_report_are_reached_in_mlflow_s_frame(reviewer):
    reviewer.follow("a", "Report")
    reviewer.wait_in_frame("!!document.querySelector('.switch button')")
    names = reviewer.run("document.querySelector('.switch').innerText", inside=True)
    assert all(name in names for name in ("narrowband", "dnn_fft", "target")), names
    reviewer.press_inside("nav a[href='#how-to-reproduce']")
    reviewer.wait("document.activeElement.id === 'how-to-reproduce'", inside=True)


def test_what_was_trained_is_seen_after_a_click(reviewer):
    reviewer.press("a", RUN)
    reviewer.wait("['learning_rate', 'About this run'].every(words => document.body.innerText.includes(words))")
    assert reviewer.clicks <= 2
    words = reviewer.text()
    for name, value in {"learning_rate": "0.002", "hidden": "16", "layers": "1", "examples": "16"}.items():
        assert re.search(rf"\b{name}\s+{value}\b", words), name
    parameters = words[words.index("Parameters (") : words.index("About this run")]
    assert "null" not in parameters and "settings" not in parameters


def test_all_models_stand_side_by_side_after_two_clicks(reviewer):
    reviewer.press("[role=columnheader] input[type=checkbox]")
    reviewer.press("button", "Compare")
    reviewer.wait("/Comparing 10 Runs/.test(document.body.innerText)")
    assert reviewer.clicks == 2
    shown = [RUN, OTHER, "unprocessed", "learning_rate", "test/lsd"]  # MLflow makes rows further down when scrolled to
    reviewer.wait(f"{shown}.every(one => document.body.innerText.includes(one))")


def test_spectrograms_of_every_epoch_are_turned_in_mlflow_s_frame(reviewer):
    reviewer.press("a", RUN)
    reviewer.press("[role=tab], a", "Artifacts")
    reviewer.press("li", "epochs.html")
    reviewer.wait_in_frame("!!document.querySelector('#epoch')")
    reviewer.run("document.querySelector('#epoch').value = 0", inside=True)
    reviewer.run("document.querySelector('#epoch').dispatchEvent(new Event('input')); true", inside=True)
    visible = "[...document.querySelectorAll('[data-epoch]')].filter(one => !one.hidden).map(one => one.dataset.epoch)"
    assert set(reviewer.run(visible, inside=True)) == {"0"}


def test_a_listening_test_in_mlflow_s_frame_ends_in_votes_to_copy(reviewer):
    reviewer.follow("a", "listening test")
    reviewer.wait_in_frame("!!document.querySelector('.rate')")
    assert "download this page" in reviewer.run("document.querySelector('.warning').innerText", inside=True)
    reviewer.press_inside(".rate")
    answer_headphone_check(reviewer, inside=True)
    heading = "document.querySelector('h2').textContent"
    while (before := reviewer.run(heading, inside=True)).startswith(("Exercise", "Recording")):
        reviewer.run("document.querySelectorAll('.sound').forEach(one => one.click())", inside=True)
        moved = "one => one.dispatchEvent(new Event('input'))"
        reviewer.run(f"document.querySelectorAll('.row input').forEach({moved})", inside=True)
        reviewer.press_inside(".next")
        reviewer.wait(f"{heading} !== {json.dumps(before)}", inside=True)
    reviewer.wait("!!document.querySelector('textarea.votes')", inside=True)
    assert '"ratings"' in reviewer.run("document.querySelector('textarea.votes').value", inside=True)


def test_the_bare_address_leads_to_the_table_without_the_assistant(reviewer, served):
    reviewer.visit(f"{served.server}/", TABLE)
    assert reviewer.run("location.hash").startswith("#/experiments/1/runs")
    assert reviewer.is_in_sight("[role=columnheader]", "Run Name")
    assert reviewer.run("[...document.querySelectorAll('textarea')].filter(one => one.checkVisibility()).length") == 0


def test_the_registry_says_why_and_how(reviewer, served):
    reviewer.visit(f"{served.server}/#/models/overtone-tiny", ("a", "Version 1"))
    reviewer.wait("document.body.textContent.includes('Champions of preset tiny')")
    reviewer.visit(f"{served.server}/#/models/overtone-tiny/versions/1", ("a", "its package"))
    words = reviewer.run("document.body.textContent")
    assert "dnn_fft is the champion" in words and "models:/overtone-tiny@champion" in words
    assert "The run that trained it" in words
    reviewer.follow("a", "the comparison's report")
    reviewer.wait_in_frame("document.querySelector('h1').innerText.includes('tiny')")


def test_metrics_open_with_scores_and_end_with_costs(reviewer):
    reviewer.press("a", RUN)
    reviewer.press("[role=tab], a", "Model metrics")
    reviewer.wait("/^work$/m.test(document.body.innerText)")
    words = reviewer.text()
    assert re.findall(r"^(test|test_bands|val|val_bands|work)$", words, re.MULTILINE) == [
        *("test", "test_bands", "val", "val_bands", "work")
    ]
    assert "content_ber" in words and "band_bias" not in words


def test_utterances_and_conditions_are_read_in_whole(reviewer):
    reviewer.press("a", RUN)
    reviewer.press("[role=tab], a", "Artifacts")
    reviewer.press("li", "tables")
    reviewer.press("li", "per_utterance.json")
    reviewer.wait("document.body.innerText.includes('telephone')")
    cut = reviewer.run(
        "[...document.querySelectorAll('[role=cell] *')].filter(one => /eve|finn|telephone/.test(one.textContent))"
        ".filter(one => one.scrollWidth > one.clientWidth).map(one => one.textContent)"
    )
    assert cut == [] and "eve0 · telephone" in reviewer.text()


def test_imported_votes_stand_beside_the_scores(reviewer, served):
    (folder,) = (served.runs / "comparisons").iterdir()
    utterance = read_scores(folder / "scores-test.csv").iloc[0]
    ratings = {"reference": 100, "dnn_fft": 71, "unprocessed": 20}
    trial = {"file": utterance["file"], "condition": utterance["condition"], "seconds": 30.5}
    trial |= {"order": list(ratings), "ratings": ratings, "plays": {}}
    votes = header(1) | {"preset": "tiny", "comparison": folder.name.removeprefix("tiny-"), "trials": [trial]}
    path = served.runs / "votes.json"
    path.write_text(json.dumps(votes))
    assert main(["listen", "--import", str(path), "--runs", str(served.runs)]) == 0
    reviewer.visit(served.address, TABLE)
    reviewer.wait_for("[role=columnheader]", "test/mushra")
    assert "71.0" in reviewer.run("document.querySelector('table').innerText")
