"""The report: every system is on it, nothing is loaded from anywhere, and no name can break it."""

import base64
import hashlib
import io
import math
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import soundfile
from listening_browser import EXECUTABLE, Browser
from score_tables import GOOD, cost_table, findings_of, score_table

from evaluation.contracts import Utterance
from experiments.pages.samples import Sample
from experiments.presets.winner_rule import WinnerRule
from experiments.ranking.conditions import ConditionFactors
from experiments.ranking.findings import Provenance, TrainingCurve
from experiments.ranking.leaderboard import pareto_frontier
from experiments.report.figures import curves_picture
from experiments.report.markdown import overview_markdown
from experiments.report.page import write_report
from experiments.report.utterances import choose_utterances, heard_systems, report_samples, shortened_to_fit
from experiments.report.words import notes
from overtone.errors import OvertoneError

RATE = 16_000
CANDIDATES = {
    "autoencoder": GOOD | {"extended_ber": 0.25},
    "dnn_fft": GOOD | {"extended_ber": 0.28},
    "wavegan_original": GOOD | {"extended_ber": 0.47, "lsd_low": 0.5},
}
CONTROLS = {
    "oracle_envelope_noise": GOOD | {"extended_ber": 0.1},
    "ridge_envelope": GOOD | {"extended_ber": 0.44},
}
TRAININGS = pd.DataFrame(
    [
        {
            "system": name,
            "seed": seed,
            "processes": 2,
            "seconds": 60.0,
            "cpu_seconds": 90.0 / (1 + index),
            "peak_mb": 1300.0,
            "gpu_peak_mb": 0.0,
            "examples": 20_000,
            "examples_per_second": 333.0,
            "over_budget": seed == 1,
            "val_loss": 0.5,
        }
        for index, name in enumerate(CANDIDATES)
        for seed in (0, 1)
    ]
)
VOID = {"meta", "img", "br", "hr", "path", "line", "circle", "wbr"}


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that tags are balanced."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


def read(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


def tone(frequency, seconds=0.5, amplitude=0.3):
    return (amplitude * np.sin(2 * np.pi * frequency / RATE * np.arange(int(seconds * RATE)))).astype(np.float32)


def utterance(file, condition="telephone", seconds=0.5):
    return Utterance(file, "anna", condition, RATE, tone(300, seconds), tone(3000, seconds), 4000.0, 8000.0, True)


def made(candidates, controls=None, rule=None, **values):
    costs = cost_table(**{name: 10.0 ** (7 + index) for index, name in enumerate(candidates)})
    trainings = TRAININGS[TRAININGS["system"].isin(list(candidates))]
    return findings_of(score_table(candidates, controls, spread=0.03), costs, rule=rule, trainings=trainings, **values)


@pytest.fixture(scope="module")
def sample():
    return Sample("Best: a.wav", "telephone", {"narrowband": tone(300, 8), "dnn_fft": tone(500, 8)}, RATE, 4000.0)


@pytest.fixture(scope="module")
def findings():
    return made(
        CANDIDATES,
        CONTROLS,
        curves=tuple(TrainingCurve("dnn_fft", seed, ((8, 2.0), (16, 1.0 + seed), (24, math.nan))) for seed in (0, 1)),
        factors={"telephone": ConditionFactors(cutoff_hz=4000.0), "mp3_32k": ConditionFactors("mp3 32 kbit/s")},
        provenance=Provenance(
            ("overtone compare demo",), "abc1234+", "0123456789abcdef", datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
        ),
        test_uses=2,
    )


@pytest.fixture(scope="module")
def report(findings, sample, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(findings, path, [sample], {"Listening test": "listening.html"})
    return path


def test_the_notes_say_why_a_system_from_outside_has_no_scores():
    table = score_table({"dnn_fft": GOOD}, {"peer": GOOD, "ridge_envelope": GOOD})
    broken = (table["system"] == "peer") & (table["file"] == table["file"].iloc[0])
    table.loc[broken, "failures"] = "extended_ber: it ended with code 3, it said: no weights; lsd: the same"
    found = findings_of(table)
    found = replace(found, selection=replace(found.selection, externals=("peer",)))
    utterances = len(table[["file", "condition"]].drop_duplicates())
    line = f"`peer` has failed scores for {int(broken.sum())} of {utterances} utterances: it ended with code 3, it said"
    assert [one for one in notes(found) if one.startswith(line)]
    assert not [one for one in notes(findings_of(table)) if "failed scores" in one]


def test_everything_that_was_given_is_told(report, findings):
    page = read(report)
    text = " ".join(page.text.split())
    for system in findings.systems:
        assert system in text
    for told in (
        "autoencoder is the champion",
        "abc1234+",
        "0123456789abcdef",
        "2026-01-02",
        "overtone compare demo",
        "has been used 2 times",
        "stopped by the safety limit",
        "mp3 32 kbit/s",
        "lsd_low is 0.500",
        "what fools it",
    ):
        assert told in text, told
    assert ("a", "href", "listening.html") in page.attributes
    row = findings.row("dnn_fft")
    for number in ("primary", "primary_low", "visqol"):
        assert f"{row[number]:.{2 if number == 'visqol' else 3}f}" in text


def test_every_section_can_be_reached(report):
    page = read(report)
    identifiers = {value for tag, name, value in page.attributes if (tag, name) == ("section", "id")}
    targets = {value[1:] for _, name, value in page.attributes if name == "href" and value.startswith("#")}
    assert targets == identifiers
    assert {
        "leaderboard",
        "listen",
        "how-the-winner-was-chosen",
        "by-condition",
        "failed-scores",
        "how-to-reproduce",
    } <= identifiers


def test_nothing_is_loaded_from_anywhere(report):
    page, text = read(report), report.read_text(encoding="utf-8")
    assert not {"link", "iframe", "object", "embed", "base"} & set(page.tags)
    loaded = [value for _, name, value in page.attributes if name in ("src", "srcset", "poster", "data", "xlink:href")]
    assert loaded and all(value.startswith("data:") for value in loaded)
    assert not re.search(r"https?://|url\(|@import|fetch\(|XMLHttpRequest", text)


def test_the_policy_allows_the_page_s_own_script_only(report):
    page = read(report)
    (policy,) = [value for _, name, value in page.attributes if name == "content" and "default-src" in value]
    (script,) = re.findall(r"<script>(.*?)</script>", report.read_text(encoding="utf-8"), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy and policy.startswith("default-src 'none'")


def test_controls_are_dimmed_and_flagged_where_they_outrank(report):
    text = re.sub("<wbr>", "", report.read_text(encoding="utf-8"))
    board = text[text.index('id="leaderboard"') : text.index('id="listen"')]
    kinds = {name: kind for kind, name in re.findall(r'<tr class="(\w+)">.*?class="name"[^>]*>(\w+)', board)}
    assert kinds["unprocessed"] == kinds["ridge_envelope"] == "control" and kinds["wavegan_original"] == "disqualified"
    flagged = re.findall(r'class="name"[^>]*>(\w+) <span class="flag"', board)
    assert flagged == ["ridge_envelope"]


def test_hostile_names_stay_text(tmp_path):
    attack = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    scores = score_table({attack: GOOD, "other": GOOD | {"extended_ber": 0.4, "lsd_low": 0.9}})
    scores["condition"] += attack
    scores.loc[scores.index[0], "visqol"] = np.nan
    scores["failures"] = scores["failures"].astype(object)
    scores.loc[scores.index[0], "failures"] = f"visqol: {attack}"
    hostile = findings_of(
        scores,
        trainings=pd.DataFrame([{"system": attack, "seed": 0, "examples": 1, "over_budget": True}]),
        curves=(TrainingCurve(attack, 0, ((1, 1.0), (2, 0.5))),),
        factors={scores["condition"].iloc[0]: ConditionFactors(codec=attack)},
        provenance=Provenance((attack,), attack, attack, versions={attack: attack}),
        remarks={attack: attack},
    )
    path = tmp_path / "report.html"
    sample = Sample(attack, attack, {attack: tone(300)}, RATE, remarks={attack: attack})
    write_report(replace(hostile, preset=attack), path, [sample], {attack: attack})
    page = read(path)
    assert page.tags.count("script") == 1
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "alert(1)" in page.text


def test_failed_scores_are_listed_and_missing_measures_left_out(tmp_path):
    broken = score_table({"dnn_fft": GOOD}).drop(columns="original_ber")
    broken.loc[broken["system"] == "dnn_fft", "visqol"] = np.nan
    broken.loc[broken["system"] == "dnn_fft", "failures"] = "visqol: ValueError: too short"
    path = tmp_path / "report.html"
    write_report(findings_of(broken), path)
    page = read(path)
    assert "too short" in page.text and "original BER" not in page.text
    assert any(tag == "td" and name == "class" and "failed" in value for tag, name, value in page.attributes)


@pytest.mark.parametrize("gone", ["visqol", "lsd_hf_band"])
def test_a_measure_that_was_not_computed_is_no_error(tmp_path, findings, gone):
    write_report(replace(findings, scores=findings.scores.drop(columns=gone)), tmp_path / "report.html")
    assert "autoencoder" in read(tmp_path / "report.html").text


def test_one_candidate_and_no_champion(tmp_path):
    path = tmp_path / "report.html"
    write_report(made({"dnn_fft": GOOD}), path)
    assert "dnn_fft is the champion" in read(path).text
    write_report(made({"dnn_fft": GOOD}, rule=WinnerRule(rtf=0.01)), path)
    page = read(path)
    assert "No champion" in page.text and "real-time factor" in page.text


def test_more_failures_than_fit_are_counted(tmp_path, findings):
    broken = findings.scores.assign(si_sdr=np.nan, failures="si_sdr: ValueError: broken")
    write_report(replace(findings, scores=broken), tmp_path / "report.html")
    assert re.search(r"And \d+ more", read(tmp_path / "report.html").text)


def test_the_best_median_and_worst_utterances_are_those_of_the_paired_gain(findings):
    scores = findings.scores.copy()
    telephone = (scores["condition"] == "telephone") & (scores["system"] == "autoencoder")
    scores.loc[telephone & (scores["file"] == "ben/1.wav"), "primary"] = 0.01
    scores.loc[telephone & (scores["file"] == "carla/2.wav"), "primary"] = 0.9
    scores.loc[telephone & (scores["file"] == "david/0.wav"), "primary"] = np.nan
    best, median, worst = choose_utterances(replace(findings, scores=scores))
    assert (best.role, best.file, best.condition) == ("best", "ben/1.wav", "telephone")
    assert best.gain == pytest.approx(0.49)
    assert (worst.role, worst.file) == ("worst", "carla/2.wav") and worst.gain == pytest.approx(-0.4)
    assert worst.gain < median.gain < best.gain
    assert choose_utterances(replace(findings, scores=scores[scores["system"] != "unprocessed"])) == []
    only = scores[(scores["file"] == "ben/1.wav") & (scores["condition"] == "telephone")]
    assert [one.role for one in choose_utterances(replace(findings, scores=only))] == ["best"]


def test_samples_hold_excerpts_of_every_usable_output(findings, monkeypatch):
    monkeypatch.setattr("experiments.report.utterances.SECONDS", 1.0)
    chosen = choose_utterances(findings)
    found = {one.name: utterance(one.file, one.condition, 3.0) for one in chosen}

    def enhance(system, given):
        return given.wideband[:-1] if system == "wavegan_original" else given.narrowband * 2

    systems = heard_systems(findings)
    assert systems == ["autoencoder", "dnn_fft", "wavegan_original", "ridge_envelope"]
    samples = report_samples(chosen, found, systems, enhance, findings.scores)
    for sample, one in zip(samples, chosen, strict=True):
        assert list(sample.clips) == ["narrowband", "autoencoder", "dnn_fft", "ridge_envelope", "target"]
        assert {len(waveform) for waveform in sample.clips.values()} == {RATE}
        assert "No usable output: wavegan_original" in sample.note
        rows = findings.scores.set_index(["system", "file", "condition"]).sort_index()
        own = rows.loc[("dnn_fft", one.file, one.condition), "primary"].mean()
        assert sample.remarks["dnn_fft"] == f"{own:.3f}"
    assert report_samples(chosen, {}, systems, enhance, findings.scores) == []


def test_the_excerpt_is_where_the_target_is_loudest(findings, monkeypatch):
    monkeypatch.setattr("experiments.report.utterances.SECONDS", 1.0)
    loud = np.concatenate([tone(300, 1, 0.01), tone(300, 1, 0.5), tone(300, 1, 0.01)])
    given = replace(utterance("a.wav"), wideband=loud, narrowband=loud)
    (one, *_) = choose_utterances(findings)
    (sample,) = report_samples([one], {one.name: given}, [], lambda *_: loud, findings.scores)
    np.testing.assert_array_equal(sample.clips["target"], tone(300, 1, 0.5))


def test_a_report_of_long_noisy_clips_stays_under_15_megabytes(tmp_path, findings):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 6 * 48_000).astype(np.float32)
    names = ["narrowband", *(f"system{number}" for number in range(8)), "target"]
    samples = [Sample(f"{number}", "", dict.fromkeys(names, noise), 48_000) for number in range(3)]
    fitting = shortened_to_fit(samples)
    lengths = {len(waveform) for sample in fitting for waveform in sample.clips.values()}
    assert len(lengths) == 1 and 1.5 * 48_000 < lengths.pop() < 6 * 48_000
    assert shortened_to_fit(fitting) == fitting
    one = replace(samples[0], clips=dict.fromkeys(names[:5], noise))
    write_report(findings, tmp_path / "report.html", [one])
    assert (tmp_path / "report.html").stat().st_size < 15e6


def test_clips_are_heard_as_they_were_given(report, sample):
    encoded = re.findall(r"data:audio/flac;base64,([A-Za-z0-9+/=]+)", report.read_text(encoding="utf-8"))
    heard = [soundfile.read(io.BytesIO(base64.b64decode(text)), dtype="float32") for text in encoded]
    for (waveform, rate), given in zip(heard, sample.clips.values(), strict=True):
        assert rate == RATE
        np.testing.assert_allclose(waveform, given, atol=1 / 32768)


def test_quality_for_compute_is_drawn_and_said(report):
    page = read(report)
    text = " ".join(page.text.split())
    assert "By CPU-hours of one training: dnn_fft (0.0125 h;" in text
    assert "then" not in text[text.index("By CPU-hours") : text.index("By condition", text.index("By CPU-hours"))]
    drawn = [value for tag, name, value in page.attributes if tag == "img" and name == "alt"]
    assert any("CPU-hours of one training" in words for words in drawn)
    assert any("real-time factor on one core" in words for words in drawn)
    assert "examples a second" in text and "peak MiB, GPU" not in text


def test_training_curves_are_inside_their_panels(findings):
    lines = [(panel, line) for panel in curves_picture(findings).draw().axes for line in panel.lines]
    assert len(lines) == 2
    for panel, line in lines:
        (left, right), seen = panel.get_xlim(), line.get_xdata()[np.isfinite(line.get_ydata())]
        assert left <= min(seen) and max(seen) <= right <= 2 * max(seen)


def test_the_frontier_holds_what_nothing_beats_in_both():
    rows = [
        {"system": name, "macs": cost, "primary": score}
        for name, cost, score in (("a", 1, 0.5), ("b", 2, 0.6), ("c", 3, 0.3), ("d", 3, 0.4), ("e", 9, 0.3))
    ]
    assert [row["system"] for row in pareto_frontier(rows, "macs")] == ["a", "c"]
    assert pareto_frontier([], "macs") == []


def test_a_report_is_written_whole_or_not_at_all(tmp_path, findings):
    empty = Sample("broken.wav", "", {"target": np.zeros(0, np.float32)}, RATE)
    with pytest.raises(OvertoneError, match=r"broken\.wav"):
        write_report(findings, tmp_path / "report.html", [empty])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(EXECUTABLE is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_it_without_sideways_scrolling_and_switches_at_the_same_position(report, width):
    with Browser(width) as browser:
        browser.open(report.as_uri())
        browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert browser.run("document.documentElement.scrollWidth") == width
        assert browser.run("document.querySelector('.leaderboard').getBoundingClientRect().width") > 0
        audio = "document.querySelectorAll('.sample audio')"
        browser.wait(f"[...{audio}].every(one => one.duration > 0.4)")
        browser.run("document.querySelector('.switch button').focus()")
        browser.key(" ")
        browser.wait(f"{audio}[0].currentTime > 0.1")
        second = "document.querySelectorAll('.switch button')[1]"
        browser.run(f"{second}.click()")
        browser.wait(f"{audio}[0].paused && !{audio}[1].paused && {audio}[1].currentTime > 0.1")
        assert browser.run(f"{second}.getAttribute('aria-pressed')") == "true"
        browser.run(f"{second}.click()")
        browser.wait(f"{audio}[1].paused && Math.abs({audio}[0].currentTime - {audio}[1].currentTime) < 0.05")
        assert not browser.errors


def test_the_overview_names_candidates_before_controls_in_seven_columns_and_says_why_others_are_out():
    scores = score_table({"wavegan": GOOD, "dnn_fft": GOOD | {"visqol": 1.0}})
    text = overview_markdown(findings_of(scores), {"Report": "run:abc/artifacts/report.html"})
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[0].count("|") - 1 <= 7
    systems = [line.split("|")[2].strip().split("\u00a0")[0] for line in lines[2:]]
    assert set(systems[:2]) == {"wavegan", "dnn_fft"} and "unprocessed" in systems[2:]
    assert "- `dnn_fft` (" in text and "visqol is 1.00" in text
    assert "**[Report](run:abc/artifacts/report.html)**" in text
