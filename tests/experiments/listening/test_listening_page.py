"""The listening test's page: level-matched, blind, and its votes are about the sounds that were heard."""

import base64
import io
import json
import re

import numpy as np
import pytest
import soundfile
from listening_browser import CHECK, EXECUTABLE, Browser, answer_headphone_check
from scipy.signal import sosfilt

from datamodules.corpora.loudness import k_weighting
from evaluation.contracts import Utterance
from experiments.listening.page import write_listening_page
from experiments.listening.stimuli import ANCHORS, ListeningTrial, chosen_utterances, listening_trials, matched
from experiments.listening.votes import check_votes, read_votes, vote_rows
from experiments.pages.samples import Sample, sample_html

RATE = 16_000
TONES = {"reference": 400, "unprocessed": 700, "wavegan": 1000, "dnn_fft": 1300}
RATINGS = {"reference": 100, "unprocessed": 15, "wavegan": 80, "dnn_fft": 55}
NAMES = ("wavegan", "dnn_fft", "unprocessed")

needs_browser = pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed")


def tone(frequency, amplitude=0.1, seconds=1.2):
    time = np.arange(int(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def trials(count=2, amplitude=0.1):
    return [
        ListeningTrial(
            tone(TONES["reference"], amplitude),
            {name: tone(TONES[name], amplitude) for name in NAMES},
            RATE,
            "telephone",
            f"eve/{i}.wav",
        )
        for i in range(count)
    ]


def write(path, *, count=2, **options):
    given = {"title": "Which sounds best?", "comparison_key": "abc123", "preset": "tiny", "seed": 7} | options
    write_listening_page(path, trials(count), **given)
    return path


def data_of(page):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)[1])


def sound(data, index):
    return soundfile.read(io.BytesIO(base64.b64decode(data["audio"][index])), dtype="float32")[0]


def frequency(waveform):
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(spectrum.argmax() * RATE / len(waveform))


def speech_like(seed, gain):
    rng = np.random.default_rng(seed)
    envelope = np.repeat(rng.uniform(0, 1, 12), RATE // 4)
    return (gain * envelope * rng.standard_normal(len(envelope))).astype(np.float32)


def loudness(waveform):
    """BS.1770-4 once more, in its simplest form: whole-file filtering, a loop over blocks."""
    weighted = sosfilt(k_weighting(RATE), waveform.astype(float))
    starts = range(0, len(weighted) - int(0.4 * RATE) + 1, int(0.1 * RATE))
    blocks = np.array([np.mean(weighted[i : i + int(0.4 * RATE)] ** 2) for i in starts])
    heard = blocks[-0.691 + 10 * np.log10(blocks + 1e-20) > -70]
    return -0.691 + 10 * np.log10(heard[heard > heard.mean() / 10].mean())


# ---- levels


def test_all_sounds_of_a_trial_are_equally_loud_to_a_tenth_of_a_decibel():
    gains = {"unprocessed": 0.01, "wavegan": 0.3, "dnn_fft": 0.05}
    stimuli = {name: speech_like(number, gain) for number, (name, gain) in enumerate(gains.items())}
    trial = ListeningTrial(speech_like(9, 0.1), stimuli, RATE, "c", "f")
    levels = [loudness(waveform) for waveform in matched(trial).values()]
    assert len(levels) == 4
    assert max(levels) - min(levels) < 0.1


def test_the_same_sound_at_another_level_becomes_the_same_sound():
    trial = ListeningTrial(speech_like(1, 0.02), {"unprocessed": speech_like(1, 0.2)}, RATE, "c", "f")
    sounds = matched(trial)
    np.testing.assert_allclose(sounds["unprocessed"], sounds["reference"], rtol=1e-3, atol=1e-6)


def test_levels_are_minus_23_lufs_unless_that_would_clip():
    assert loudness(matched(trials()[0])["wavegan"]) == pytest.approx(-23, abs=0.1)
    spiky = speech_like(1, 0.01)
    spiky[1000] = 1.0
    sounds = matched(ListeningTrial(speech_like(2, 0.3), {"unprocessed": spiky}, RATE, "c", "f"))
    assert max(float(np.abs(waveform).max()) for waveform in sounds.values()) == pytest.approx(
        10 ** (-1 / 20), rel=1e-5
    )
    assert loudness(sounds["reference"]) == pytest.approx(loudness(sounds["unprocessed"]), abs=0.1)


def test_a_system_without_a_usable_output_is_heard_as_silence(tmp_path):
    outputs = {"good": tone(700), "silent": np.zeros_like(tone(500)), "faint": 1e-5 * tone(500)}
    outputs |= {"broken": np.full_like(tone(500), np.nan), "endless": np.full_like(tone(500), np.inf)}
    utterance = Utterance("eve/1.wav", "eve", "telephone", RATE, tone(300), tone(400), 4000.0, 8000.0, True)
    (trial,) = listening_trials([utterance], list(outputs), lambda name, _: outputs[name])
    sounds = matched(trial)
    assert loudness(sounds["reference"]) == pytest.approx(loudness(sounds["good"]), abs=0.1)
    assert not any(sounds[name].any() for name in ("silent", "broken", "endless")) and sounds["faint"].any()
    write_listening_page(tmp_path / "p.html", [trial], title="t", comparison_key="k", preset="p", seed=0)
    html = sample_html(Sample("eve", "", outputs, RATE))
    assert html.count("<audio") == len(outputs)


# ---- which speech


def test_utterances_are_spread_over_conditions_and_speakers():
    names = [(f"s{i // 3}", f"s{i // 3}/{i % 3}", c) for c in ("telephone", "mp3", "noise") for i in range(12)]
    chosen = chosen_utterances(names, 4)
    assert [condition for _, condition in chosen] == ["telephone", "mp3", "noise", "telephone"]
    assert len({file.split("/")[0] for file, _ in chosen}) == 4
    assert chosen == chosen_utterances(names, 4)
    assert len(chosen_utterances(names[:2], 9)) == 2


def test_a_trial_is_the_busiest_excerpt_from_every_system():
    wideband = np.concatenate([np.zeros(2 * RATE, np.float32), tone(300, seconds=1), np.zeros(RATE, np.float32)])
    utterance = Utterance("f", "s", "telephone", RATE, wideband / 2, wideband, 4000.0, 8000.0, True)
    (trial,) = listening_trials([utterance], ["wavegan"], lambda name, one: one.narrowband * 3, seconds=1.0)
    assert list(trial.stimuli) == ["unprocessed", *ANCHORS, "wavegan"]
    assert {len(trial.reference), *map(len, trial.stimuli.values())} == {RATE}
    middle = slice(RATE // 4, -RATE // 4)
    np.testing.assert_allclose(trial.reference[middle], wideband[2 * RATE : 3 * RATE][middle])
    np.testing.assert_allclose(trial.stimuli["wavegan"], trial.reference * 1.5, rtol=1e-5)
    assert trial.reference[0] == 0


def test_anchors_are_the_low_passes_of_the_standard():
    """ITU-R BS.1534-3: 0.1 dB to 3.5 (7) kHz, 25 dB down from 4 (8) kHz on, 50 dB down from 4.5 (9) kHz on."""
    rate = 48_000
    click = np.zeros(rate, np.float32)
    click[rate // 2] = 1.0
    utterance = Utterance("f", "s", "telephone", rate, click, click, 4000.0, 24_000.0, True)
    (trial,) = listening_trials([utterance], [], lambda name, one: one.narrowband, seconds=1.0)
    for name, cutoff in {"low_anchor": 3500, "mid_anchor": 7000}.items():
        levels = 20 * np.log10(np.abs(np.fft.rfft(trial.stimuli[name])) + 1e-9)  # a bin a Hz
        assert np.abs(levels[: cutoff + 1]).max() < 0.1
        assert levels[round(cutoff * 8 / 7) :].max() < -25
        assert levels[round(cutoff * 9 / 7) :].max() < -50


def test_an_anchor_that_would_be_the_reference_is_left_out():
    speech = tone(300)
    utterance = Utterance("f", "s", "telephone", 12_000, speech, speech, 3000.0, 6000.0, True)
    (trial,) = listening_trials([utterance], [], lambda name, one: one.narrowband)
    assert list(trial.stimuli) == ["unprocessed", "low_anchor"]


# ---- the file


def test_the_page_is_whole_and_names_no_system(tmp_path):
    page = write(tmp_path / "listening.html").read_text()
    for name in NAMES:
        assert name not in page
    assert "eve/0.wav" not in page and "telephone" not in page
    assert not re.search(r"https?://|url\(|@import|fetch\(|<link|<img", page)
    assert not re.search(r'(?:src|href)="', page)
    assert "$" not in re.sub(r"\$\{", "", re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))


def test_the_plan_says_which_sound_is_whose(tmp_path):
    data = data_of(write(tmp_path / "p.html").read_text())
    plan = json.loads(base64.b64decode(data["plan"]))
    for number, trial in enumerate(plan["trials"]):
        assert trial["file"] == f"eve/{number}.wav"
        for system, index in trial["sounds"].items():
            assert frequency(sound(data, index)) == pytest.approx(TONES[system], abs=1)
    indices = [index for trial in plan["trials"] for index in trial["sounds"].values()]
    assert sorted(indices) == list(range(8)) and indices != sorted(indices)


def test_what_is_practised_on_is_not_rated(tmp_path):
    *rated, practice = trials(3)
    given = {"title": "t", "comparison_key": "k", "preset": "p", "seed": 7}
    write_listening_page(tmp_path / "p.html", rated, practice=practice, **given)
    plan = json.loads(base64.b64decode(data_of((tmp_path / "p.html").read_text())["plan"]))
    assert [one["file"] for one in plan["trials"]] == ["eve/0.wav", "eve/1.wav"]
    assert plan["practice"]["file"] == "eve/2.wav"


def test_the_same_seed_gives_the_same_page_and_hostile_titles_stay_text(tmp_path):
    attack = "</script><script>alert(1)</script>"
    first = write(tmp_path / "a.html", title=attack).read_text()
    assert first == write(tmp_path / "b.html", title=attack).read_text()
    assert first.count("<script>") == 1 and "&lt;script&gt;alert" in first
    assert first != write(tmp_path / "c.html", title=attack, seed=8).read_text()


# ---- in a browser

SPY = """
URL.createObjectURL = blob => { window.saved = blob; return 'blob:none'; };
HTMLAnchorElement.prototype.click = function () { window.savedName = this.download; };
window.started = [];
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (...given) {
  window.started.push(this.buffer);
  start.apply(this, given);
};
window.heardHertz = () => {
  // Zero crossings of the middle second, of all sounds that were started last together.
  const count = document.querySelectorAll('.sound').length;
  return window.started.slice(-count).map(buffer => {
    const samples = buffer.getChannelData(0).subarray(1600, buffer.length - 1600);
    let crossings = 0;
    for (let i = 1; i < samples.length; i++) if (samples[i - 1] < 0 !== samples[i] < 0) crossings++;
    return crossings / 2 / samples.length * buffer.sampleRate;
  });
};
"""


TONES_HEARD = "[0, 1].flatMap(side => [...window.started.at(-1).getChannelData(side)])"


def system_at(hertz):
    return min(TONES, key=lambda name: abs(TONES[name] - hertz))


def click(browser, selector):
    browser.run(f"document.querySelector({json.dumps(selector)}).click()")


def rate_recording(browser):
    """Listen to everything, then rate each sound by what it really is."""
    browser.run("document.querySelectorAll('.sound').forEach(button => button.click())")
    reference, *heard = [system_at(hertz) for hertz in browser.run("heardHertz()")]
    assert reference == "reference"
    for row, system in enumerate(heard):
        browser.run(
            f"(() => {{ const slider = document.querySelectorAll('.row input')[{row}];"
            f" slider.value = {RATINGS[system]}; slider.dispatchEvent(new Event('input')); }})()"
        )
    return heard


def saved_votes(browser, folder):
    browser.run("document.querySelector('.save').click()")
    path = folder / browser.run("window.savedName")
    path.write_text(browser.run("window.saved.text()"))
    return read_votes(path), path


def take_mushra(browser, page, seed, count, name):
    browser.open(f"{page.as_uri()}#seed={seed}", SPY)
    browser.run(f"document.querySelector('.name').value = {json.dumps(name)}")
    click(browser, ".rate")
    answer_headphone_check(browser)
    click(browser, ".next")
    orders = []
    for number in range(1, count + 1):
        browser.wait(f"document.querySelector('h2').textContent === 'Recording {number} of {count}'")
        assert browser.run("document.querySelector('.next').disabled")
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        orders.append(rate_recording(browser))
        assert not any(name in browser.run("document.documentElement.outerHTML") for name in NAMES)
        click(browser, ".next")
    browser.wait("!!document.querySelector('.save')")
    return orders


@needs_browser
def test_a_whole_rating_decodes_to_the_systems_that_were_heard(tmp_path):
    count = 3
    page = write(tmp_path / "listening.html", count=count)
    with Browser(390, 844) as browser:
        orders = take_mushra(browser, page, 11, count, "Ada")
        votes, path = saved_votes(browser, tmp_path)
        assert not any(name in browser.run("document.documentElement.outerHTML") for name in NAMES)
        other_orders = take_mushra(browser, page, 12, count, "Ben")
        other, _ = saved_votes(browser, tmp_path)
        assert browser.errors == []
    check_votes(votes, path, NAMES, {(f"eve/{i}.wav", "telephone") for i in range(count)})
    rows = vote_rows(votes)
    assert {(row["system"], row["rating"]) for row in rows} == set(RATINGS.items())
    assert len(rows) == 4 * count and len({row["file"] for row in rows}) == count
    assert [trial.order for trial in votes.trials] == orders
    assert orders != other_orders
    assert votes.seed == 11 and other.seed == 12
    assert votes.session != other.session and votes.listener != other.listener


@needs_browser
def test_headphones_are_checked_and_a_loop_is_dragged(tmp_path):
    page = write(tmp_path / "listening.html")
    with Browser() as browser:
        browser.open(f"{page.as_uri()}#seed=3", SPY)
        click(browser, ".rate")
        browser.wait(CHECK)
        for number in range(3):
            assert browser.run("document.querySelector('.answer').disabled")
            click(browser, ".tones")
            tones = np.array(browser.run(TONES_HEARD)).reshape(2, 3, -1)
            alone = np.abs(tones[0]).max(axis=1)  # as headphones give it to one ear
            together = np.abs(tones.mean(axis=0)).max(axis=1)  # as loudspeakers give it to both
            assert sorted(alone) == pytest.approx([0.075, 0.15, 0.15], rel=1e-3)
            assert sorted(together) == pytest.approx([0, 0.075, 0.15], abs=1e-3)
            softest = int(np.argmin(alone))
            assert int(np.argmin(together)) != softest
            wrong = int(np.argmin(together)) if number == 0 else softest
            browser.run(f"document.querySelectorAll('.answer')[{wrong}].click()")
        assert "Right in 2 of 3 rounds" in browser.run("document.querySelector('.missing').textContent")
        click(browser, ".next")
        browser.wait("document.querySelector('h2').textContent === 'Exercise'")
        left, top, width = browser.run(
            "(() => { const box = document.querySelector('canvas').getBoundingClientRect();"
            " return [box.left, box.top + box.height / 2, box.width]; })()"
        )
        steps = [("mousePressed", 0.25), ("mouseMoved", 0.5), ("mouseMoved", 0.75), ("mouseReleased", 0.75)]
        for kind, share in steps:
            browser._call(
                "Input.dispatchMouseEvent", type=kind, x=left + share * width, y=top, button="left", clickCount=1
            )
        bounds = browser.run("['.begin', '.finish'].map(one => Number(document.querySelector(one).value))")
        assert bounds == pytest.approx([0.3, 0.9], abs=0.05)
        assert browser.errors == []


@needs_browser
def test_switching_keeps_the_position_and_a_loop_stays_inside(tmp_path):
    page = write(tmp_path / "listening.html")
    watch = """
    const Context = window.AudioContext;
    window.gains = [];
    const create = Context.prototype.createGain;
    Context.prototype.createGain = function () { const g = create.call(this); window.gains.push(g); return g; };
    """
    with Browser() as browser:
        browser.open(f"{page.as_uri()}#seed=3", SPY + watch)
        click(browser, ".rate")
        answer_headphone_check(browser)
        browser.run("window.started.length = 0")
        browser.key("r")
        assert browser.run("window.started.length") == 5
        browser.key("2")
        assert browser.run("window.started.length") == 5, "switching must not start anything again"
        browser.wait("window.gains[2].gain.value === 1 && window.gains[0].gain.value === 0")
        assert browser.run("document.activeElement.getAttribute('aria-label')") == "Rating of sound 2"
        before = int(browser.run("document.activeElement.value"))
        browser.key("ArrowRight")
        assert int(browser.run("document.activeElement.value")) == before + 1
        browser.run(
            "(() => { const begin = document.querySelector('.begin'); begin.value = 0.5;"
            " begin.dispatchEvent(new Event('input')); })()"
        )
        length = browser.run("window.started[window.started.length - 1].duration")
        assert length == pytest.approx(0.7, abs=0.01)
        edges = browser.run(
            "(() => { const s = window.started[window.started.length - 1].getChannelData(0);"
            " return [s[0], s[s.length - 1]]; })()"
        )
        assert np.abs(edges).max() < 1e-3
        browser.key(" ")
        assert browser.run("document.querySelector('.toggle').textContent") == "Play"
        assert browser.errors == []


@needs_browser
def test_an_interrupted_session_goes_on_where_it_was(tmp_path):
    page = write(tmp_path / "listening.html")
    with Browser() as browser:
        browser.open(f"{page.as_uri()}#seed=3", SPY)
        click(browser, ".rate")
        answer_headphone_check(browser)
        click(browser, ".next")
        browser.wait("document.querySelector('h2').textContent === 'Recording 1 of 2'")
        first = rate_recording(browser)
        click(browser, ".next")
        browser.wait("document.querySelector('h2').textContent === 'Recording 2 of 2'")
        browser.open(page.as_uri())
        click(browser, ".resume")
        browser.wait("document.querySelector('h2').textContent === 'Recording 2 of 2'")
        rate_recording(browser)
        click(browser, ".next")
        browser.wait("!!document.querySelector('.save')")
        browser.open(page.as_uri())  # closed before the votes were saved: they are still there
        click(browser, ".resume")
        browser.wait("!!document.querySelector('.save')")
        votes, _ = saved_votes(browser, tmp_path)
    assert votes.seed == 3 and len(vote_rows(votes)) == 8
    assert votes.trials[0].order == first


@needs_browser
def test_a_browser_without_storage_works_in_memory(tmp_path):
    page = write(tmp_path / "listening.html")
    refuse = (
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError'); } });"
    )
    with Browser() as browser:
        browser.open(page.as_uri(), refuse)
        click(browser, ".rate")
        answer_headphone_check(browser)
        assert browser.errors == []
