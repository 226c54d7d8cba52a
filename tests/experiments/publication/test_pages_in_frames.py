"""Pages as MLflow shows them: in a frame that allows scripts and nothing else, under an address that is no file's."""

import base64
import json

import numpy as np
import pytest
from axe import violations
from listening_browser import CHECK, EXECUTABLE, Browser, answer_headphone_check
from score_tables import GOOD, findings_of, score_table

from experiments.listening.page import write_listening_page
from experiments.listening.stimuli import ListeningTrial
from experiments.listening.votes import read_votes
from experiments.pages.embedding import spectrogram_webp
from experiments.pages.epochs import WatchedClip, epochs_page
from experiments.pages.samples import Sample
from experiments.ranking.findings import Provenance
from experiments.report.page import write_report

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed")
RATE = 16_000
WRAPPER = """<!doctype html><h2>MLflow</h2><iframe sandbox="allow-scripts" style="width: 100%; height: 700px"></iframe>
<script>
const bytes = Uint8Array.from(atob("PAGE"), letter => letter.charCodeAt(0));
document.querySelector('iframe').src = URL.createObjectURL(new Blob([bytes], { type: 'text/html' }));
</script>"""


@pytest.fixture(scope="module")
def browser():
    with Browser(1024, 800) as opened:
        yield opened


def show(browser, page, folder):
    """Open a page's HTML in a frame, as MLflow does."""
    wrapper = folder / "wrapper.html"
    wrapper.write_text(WRAPPER.replace("PAGE", base64.b64encode(page.encode()).decode()))
    browser.open(wrapper.as_uri())
    browser.wait("document.querySelector('iframe').src.startsWith('blob:')")
    browser.wait("location.protocol === 'blob:' && document.readyState === 'complete'", inside=True)


def press(browser, selector):
    browser.run(f"document.querySelector({json.dumps(selector)}).click()", inside=True)


def noise(seed, seconds=1.0):
    samples = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return samples.astype(np.float32) / 20


def test_axe_finds_nothing_on_report_epochs_and_listening_test(browser, tmp_path):
    report, epochs, test = (tmp_path / name for name in ("report.html", "epochs.html", "listening-test.html"))
    sample = Sample("Best: a.wav", "telephone", {"narrowband": noise(1), "target": noise(2)}, RATE, 4000.0)
    write_report(findings_of(score_table({"dnn_fft": GOOD, "wavegan": GOOD})), report, [sample])
    picture = spectrogram_webp(noise(1), RATE, 0.0)
    epochs.write_text(epochs_page("Epochs", [WatchedClip("telephone", picture, picture, {0: picture}, 8.0)]))
    trial = ListeningTrial(noise(1), {"unprocessed": noise(2)}, RATE, "telephone", "a.wav")
    write_listening_page(test, [trial], title="Test", comparison_key="abc", preset="tiny", seed=1)
    for page in (report, epochs, test):
        browser.open(page.as_uri())
        assert violations(browser) == [], page.name
    browser.run("document.querySelector('.rate').click()")
    browser.wait(CHECK)
    assert violations(browser) == []
    answer_headphone_check(browser)
    assert violations(browser) == []


def test_a_report_is_as_wide_as_a_telephone(tmp_path):
    path = tmp_path / "report.html"
    command = f"overtone compare demo --data {'/'.join(['folder'] * 20)} --seeds 3 --models dnn_fft,wavegan"
    scores = score_table({"dnn_fft": GOOD, "spectrogram_autoencoder_original": GOOD})
    write_report(findings_of(scores, provenance=Provenance((command,), data_digest="0123456789abcdef" * 4)), path)
    with Browser(390, 844) as telephone:
        telephone.open(path.as_uri())
        assert telephone.run("document.documentElement.scrollWidth") == 390


def test_a_printed_report_keeps_every_column(browser, tmp_path):
    path = tmp_path / "report.html"
    write_report(findings_of(score_table({"dnn_fft": GOOD, "spectrogram_autoencoder_original": GOOD})), path)
    browser.open(path.as_uri())
    try:
        browser._call("Emulation.setEmulatedMedia", media="print")
        browser.run("dispatchEvent(new Event('beforeprint'))")
        edges = browser.run(
            "[...document.querySelectorAll('th, td')].map(one => one.getBoundingClientRect())"
            ".filter(one => one.width).map(one => one.right)"
        )
        assert len(edges) > 200 and max(edges) <= 1024
        assert browser.run("[...document.querySelectorAll('details')].every(one => one.open)")
        browser.run("dispatchEvent(new Event('afterprint'))")
        assert not browser.run("[...document.querySelectorAll('details')].every(one => one.open)")
    finally:
        browser._call("Emulation.setEmulatedMedia", media="")


def test_a_report_s_sections_are_reached_and_its_neighbour_is_named(browser, tmp_path):
    path = tmp_path / "report.html"
    write_report(findings_of(score_table({"dnn_fft": GOOD})), path, links={"Listening test": "listening-test.html"})
    show(browser, path.read_text(), tmp_path)
    press(browser, 'nav a[href="#how-to-reproduce"]')
    place = "document.querySelector('#how-to-reproduce').getBoundingClientRect()"
    browser.wait(f"{place}.top < innerHeight && {place}.bottom > 0", inside=True)
    assert browser.run("document.activeElement.id", inside=True) == "how-to-reproduce"
    words = browser.run("document.querySelector('.link').innerText", inside=True)
    assert words == "Listening test: choose listening-test.html in the list of files beside this page."
    browser.open(path.as_uri())  # by itself it is an ordinary link
    assert browser.run("document.querySelector('a.link').getAttribute('href')") == "listening-test.html"


def test_a_finished_listening_test_shows_its_votes(browser, tmp_path):
    trial = ListeningTrial(noise(0), {"unprocessed": noise(1), "dnn_fft": noise(2)}, RATE, "telephone", "a.wav")
    path = tmp_path / "listening-test.html"
    write_listening_page(path, [trial], title="Test", comparison_key="abc", preset="tiny", seed=1)
    show(browser, path.read_text(), tmp_path)
    assert "download this page" in browser.run("document.querySelector('.warning').innerText", inside=True)
    press(browser, ".rate")
    answer_headphone_check(browser, inside=True)
    press(browser, ".next")
    browser.wait("document.querySelector('h2').textContent === 'Recording 1 of 1'", inside=True)
    press_all = "document.querySelectorAll('.sound').forEach(one => one.click())"
    rate_all = "document.querySelectorAll('.row input').forEach(one => one.dispatchEvent(new Event('input')))"
    browser.run(f"{press_all}; {rate_all}", inside=True)
    press(browser, ".next")
    browser.wait("!!document.querySelector('textarea.votes')", inside=True)
    assert not browser.run("!!document.querySelector('.save')", inside=True)
    assert browser.run("document.querySelector('textarea.votes').checkVisibility()", inside=True)
    votes = tmp_path / "votes.json"
    votes.write_text(browser.run("document.querySelector('textarea.votes').value", inside=True))
    assert set(read_votes(votes).trials[0].ratings) == {"reference", "unprocessed", "dnn_fft"}


def test_epochs_are_turned_by_the_slider(browser, tmp_path):
    clip = WatchedClip("telephone", b"input", b"target", {0: b"a", 1: b"b", 4: b"c"}, 8.0)
    show(browser, epochs_page("Epoch by epoch", [clip]), tmp_path)
    visible = "[...document.querySelectorAll('[data-epoch]')].filter(one => !one.hidden).map(one => one.dataset.epoch)"
    assert browser.run(visible, inside=True) == ["4"]
    browser.run("document.querySelector('#epoch').value = 0", inside=True)
    browser.run("document.querySelector('#epoch').dispatchEvent(new Event('input'))", inside=True)
    assert browser.run(visible, inside=True) == ["0"]
    assert browser.run("document.querySelector('output').textContent", inside=True) == "0"
    assert browser.errors == []
