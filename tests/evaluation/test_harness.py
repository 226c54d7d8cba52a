"""The harness: rows, states of a score, processes, and ViSQOL."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from evaluation import harness
from evaluation.contracts import Utterance
from evaluation.harness import check_measures, failed_row, score_pair, settled
from evaluation.measures.catalogue import MEASURES
from evaluation.measures.declaration import Measure
from overtone.audio import resample
from overtone.errors import OvertoneError

RATE = 16_000
FAST = [key for key in check_measures(None) if key != "visqol" and MEASURES[key].over_pairs is None]
OWN_SCALE = ("si_sdr", "snr", "stoi", "pesq_wb", "hallucination", "tonality", "excess_above_band")  # 0 is not perfect
ON_REQUEST = {
    *("lsd_ssr_eval", "lsd_kuleshov", "mr_stft", "chromaprint_ber", "estoi", "dnsmos", "fwsnrseg"),
    *("f0_error", "f0_correlation"),
}


def utterance(index: int = 0, *, seconds: float = 1.5, cutoff_hz: float | None = 4000.0) -> Utterance:
    generator = np.random.default_rng(index)
    time = np.arange(int(seconds * RATE)) / RATE
    rough = generator.standard_normal(len(time)) * (1.1 + np.sin(2 * np.pi * 3 * time + index))
    wideband = (0.05 * rough + 0.1 * np.sin(2 * np.pi * 200 * time)).astype(np.float32)
    narrowband = wideband if cutoff_hz is None else resample(resample(wideband, RATE, 8000), 8000, RATE)
    return Utterance(
        file=f"file{index}",
        speaker=f"speaker{index % 2}",
        condition="telephone",
        sample_rate=RATE,
        narrowband=narrowband[: len(wideband)],
        wideband=wideband,
        cutoff_hz=cutoff_hz,
        band_hz=8000.0,
        clean=True,
    )


def test_every_measure_of_the_design_is_there():
    spectral = (
        "lsd lsd_lf lsd_hf lsd_hf_band lsd_low crossover_db tonality excess_above_band hallucination separability"
    )
    heard = "extended_ber extended_ber_median content_ber original_ber seam si_sdr snr visqol stoi pesq_wb mcd"
    assert set(check_measures(None)) == set(f"{spectral} {heard}".split())
    assert set(MEASURES) - set(check_measures(None)) == ON_REQUEST
    assert all(measure.key == key and measure.description for key, measure in MEASURES.items())
    higher = "si_sdr snr visqol stoi pesq_wb estoi dnsmos fwsnrseg f0_correlation"
    assert {key for key in MEASURES if MEASURES[key].higher_is_better} == set(higher.split())


def test_measures_that_are_not_in_every_table_come_on_request():
    row = score_pair(utterance(), utterance().narrowband, ["mr_stft", "lsd_kuleshov", "lsd_ssr_eval"])
    asked = list(row)[len(harness.IDENTITY_COLUMNS) :][:3]
    assert asked == ["mr_stft", "lsd_kuleshov", "lsd_ssr_eval"]
    assert row["failures"] == "" and 0 < row["lsd_kuleshov"] <= 10


def test_perfect_estimate_scores_best_everywhere():
    row = score_pair(utterance(), utterance().wideband, FAST, block_samples=512)
    assert row["failures"] == ""
    zero = [key for key in FAST if key not in OWN_SCALE]
    assert {key: row[key] for key in zero} == dict.fromkeys(zero, 0.0)
    assert (row["si_sdr"], row["snr"]) == (100.0, 100.0)
    assert row["stoi"] == pytest.approx(1.0, abs=1e-9) and row["pesq_wb"] == pytest.approx(4.64, abs=0.01)


def test_row_carries_the_utterance_and_its_states():
    row = score_pair(utterance(3, cutoff_hz=None), utterance(3).narrowband, ["lsd", "lsd_hf", "seam"])
    assert list(row) == [*harness.IDENTITY_COLUMNS, "lsd", "lsd_hf", "seam", "failures", "not_applicable"]
    assert (row["file"], row["speaker"], row["condition"], row["clean"]) == ("file3", "speaker1", "telephone", True)
    assert np.isnan(row["cutoff_hz"]) and row["band_hz"] == 8000.0
    assert row["lsd"] > 0 and np.isnan(row["lsd_hf"]) and np.isnan(row["seam"])
    assert (row["failures"], row["not_applicable"]) == ("", "lsd_hf,seam")


def test_row_has_the_levels_of_the_missing_band():
    one = utterance(4)
    row = score_pair(one, 2 * one.wideband, ["snr"])
    assert list(row)[-6:] == [
        *(f"band_bias_db_{band}" for band in ("4000_5040", "5040_6350", "6350_7840")),
        *(f"band_spread_db_{band}" for band in ("4000_5040", "5040_6350", "6350_7840")),
    ]
    assert list(row.values())[-6:] == pytest.approx([20 * np.log10(2)] * 3 + [0.0] * 3, abs=1e-3)
    assert row["not_applicable"] == ""


@pytest.mark.parametrize(
    ("estimate", "reason"),
    [
        (np.zeros(10, np.float32), r"shape \(10,\), expected \(24000,\)"),
        (np.full(24_000, np.nan, np.float32), "NaN"),
        (np.full(24_000, np.inf, np.float32), "infinite"),
        (np.zeros((1, 24_000), np.float32), r"shape \(1, 24000\)"),
    ],
)
def test_an_unusable_estimate_fails_every_score_of_its_row(estimate, reason):
    row = score_pair(utterance(), estimate, ["lsd", "snr"])
    assert np.isnan(row["lsd"]) and np.isnan(row["snr"]) and row["file"] == "file0"
    assert re.search(f"^lsd: .*{reason}.*; snr: .*{reason}", row["failures"])
    assert row["not_applicable"] == ""


def test_a_measure_that_breaks_costs_its_own_score_only(monkeypatch):
    def broken(*, preds: np.ndarray) -> float:
        raise ZeroDivisionError("by; zero\nhere")

    def infinite(*, target: np.ndarray, cutoff_hz: float) -> float:
        return float("inf")

    monkeypatch.setitem(MEASURES, "broken", Measure("broken", False, "breaks", broken))
    monkeypatch.setitem(MEASURES, "infinite", Measure("infinite", False, "is infinite", infinite))
    row = score_pair(utterance(), utterance().narrowband, ["broken", "lsd", "infinite"])
    assert np.isnan(row["broken"]) and np.isnan(row["infinite"]) and row["lsd"] > 0
    assert row["failures"] == "broken: ZeroDivisionError: by, zero here; infinite: gave inf"


def rows_of(seconds=1.5, **fields):
    """Rows of two utterances of two speakers each, whose estimates are 20 dB too quiet above the cutoff."""
    for index in range(4):
        one = replace(utterance(index, seconds=seconds), **fields)
        low = one.narrowband
        yield score_pair(one, low + 0.1 * (one.wideband - low), ["separability", "snr"])


def test_a_measure_over_all_pairs_is_settled_by_condition_when_they_are_there():
    rows = json.loads(json.dumps([*rows_of(), *rows_of(condition="other")]))
    assert all(isinstance(row["separability"], str) and len(row["separability"]) < 500 for row in rows)
    kept = [row["separability"] for row in rows]
    done = settled(rows, ["separability", "snr"])
    assert [row["separability"] for row in rows] == kept
    shares = [row["separability"] for row in done]
    assert shares[:4] == shares[4:] and np.mean(shares[:4]) == 1.0
    assert all(row["failures"] == row["not_applicable"] == "" for row in done)
    assert [row["snr"] for row in done] == [row["snr"] for row in rows]


def test_a_measure_over_all_pairs_does_not_apply_to_one_speaker_or_to_short_files():
    (first, _, other, _) = rows_of()
    failed = first | failed_row(["separability", "snr"], "no file")
    for rows in ([first, other], list(rows_of(0.5)), list(rows_of(cutoff_hz=None))):
        done = settled([*rows, failed], ["snr", "separability"])
        assert all(np.isnan(row["separability"]) for row in done)
        assert [row["not_applicable"] for row in done] == ["separability"] * len(rows) + [""]
        assert "separability: no file" in done[-1]["failures"]


def test_a_measure_over_all_pairs_that_breaks_costs_its_own_scores_only(monkeypatch):
    def breaks(kept, speakers):
        raise ZeroDivisionError("by; zero")

    monkeypatch.setitem(MEASURES, "separability", replace(MEASURES["separability"], over_pairs=breaks))
    done = settled(rows_of(), ["separability", "snr"])
    assert {row["failures"] for row in done} == {"separability: ZeroDivisionError: by, zero"}
    assert all(np.isnan(row["separability"]) and row["snr"] > 0 for row in done)


def test_unknown_measure_is_named_with_the_known_ones():
    with pytest.raises(OvertoneError, match=r"Unknown measure pesk\. Known: extended_ber, extended_ber_median, lsd"):
        score_pair(utterance(), utterance().narrowband, ["lsd", "pesk"])
    with pytest.raises(OvertoneError, match=r"The original project's fingerprint is original_ber now\."):
        score_pair(utterance(), utterance().narrowband, ["seed_ber"])


def test_short_utterances_have_no_failures():
    for samples in (1, 160, 4000):
        whole = utterance()
        short = Utterance(
            **{**vars(whole), "narrowband": whole.narrowband[:samples], "wideband": whole.wideband[:samples]}
        )
        assert score_pair(short, short.narrowband, block_samples=64)["failures"] == ""


def test_harness_needs_no_torch():
    unwanted = {"torch", "visqol", "numba", "pesq", "pystoi", "sklearn"}
    code = "import sys, evaluation.harness, evaluation.statistics.intervals; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not unwanted & set(done.stdout.split())
