"""The harness: rows, states of a score, processes, and ViSQOL."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from evaluation import harness
from evaluation.contracts import Utterance
from evaluation.harness import MEASURES, Measure, score_pair, score_pairs
from evaluation.perceptual import visqol
from evaluation.stft import NotApplicable
from runtime.audio import resample
from runtime.errors import OvertoneError

RATE = 16_000
FAST = [key for key in MEASURES if key != "visqol"]


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
    wanted = "extended_ber lsd lsd_lf lsd_hf lsd_hf_band lsd_low content_ber seed_ber si_sdr snr visqol seam tonality"
    assert set(wanted.split()) | {"excess_above_band", "hallucination"} == set(MEASURES)
    assert all(measure.key == key and measure.description for key, measure in MEASURES.items())
    assert {key for key in MEASURES if MEASURES[key].higher_is_better} == {"si_sdr", "snr", "visqol"}


def test_perfect_estimate_scores_best_everywhere():
    row = score_pair(utterance(), utterance().wideband, FAST, block_samples=512)
    assert row["failures"] == ""
    zero = [key for key in FAST if key not in ("si_sdr", "snr", "hallucination", "tonality", "excess_above_band")]
    assert {key: row[key] for key in zero} == dict.fromkeys(zero, 0.0)
    assert (row["si_sdr"], row["snr"]) == (100.0, 100.0)


def test_row_carries_the_utterance_and_its_states():
    row = score_pair(utterance(3, cutoff_hz=None), utterance(3).narrowband, ["lsd", "lsd_hf", "seam"])
    assert list(row) == [*harness.IDENTITY_COLUMNS, "lsd", "lsd_hf", "seam", "failures", "not_applicable"]
    assert (row["file"], row["speaker"], row["condition"], row["clean"]) == ("file3", "speaker1", "telephone", True)
    assert np.isnan(row["cutoff_hz"]) and row["band_hz"] == 8000.0
    assert row["lsd"] > 0 and np.isnan(row["lsd_hf"]) and np.isnan(row["seam"])
    assert (row["failures"], row["not_applicable"]) == ("", "lsd_hf,seam")


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
    scores = score_pairs([(utterance(), estimate), (utterance(1), utterance(1).narrowband)], "broken", ["lsd", "snr"])
    assert scores[["lsd", "snr"]].isna().all(axis=1).tolist() == [True, False]
    assert scores["file"][0] == "file0"
    assert pd.Series([scores["failures"][0]]).str.contains(f"^lsd: .*{reason}.*; snr: .*{reason}").all()
    assert scores["failures"][1] == "" and scores["not_applicable"][0] == ""


def test_a_measure_that_breaks_costs_its_own_score_only(monkeypatch):
    def broken(*, preds: np.ndarray) -> float:
        raise ZeroDivisionError("by; zero\nhere")

    def infinite(*, target: np.ndarray, cutoff_hz: float) -> float:
        return float("inf")

    monkeypatch.setitem(harness.MEASURES, "broken", Measure("broken", False, "breaks", broken))
    monkeypatch.setitem(harness.MEASURES, "infinite", Measure("infinite", False, "is infinite", infinite))
    row = score_pair(utterance(), utterance().narrowband, ["broken", "lsd", "infinite"])
    assert np.isnan(row["broken"]) and np.isnan(row["infinite"]) and row["lsd"] > 0
    assert row["failures"] == "broken: ZeroDivisionError: by, zero here; infinite: gave inf"


def test_unknown_measure_is_named_with_the_known_ones():
    with pytest.raises(OvertoneError, match=r"Unknown measure pesk\. Known: extended_ber, lsd"):
        score_pairs([], "any", ["lsd", "pesk"])


def test_no_pairs_give_an_empty_table_with_its_columns():
    scores = score_pairs([], "none", ["lsd"])
    assert list(scores.columns) == ["system", *harness.IDENTITY_COLUMNS, "lsd", "failures", "not_applicable"]
    assert scores.empty


def test_short_utterances_have_no_failures():
    for samples in (1, 160, 4000):
        whole = utterance()
        short = Utterance(
            **{**vars(whole), "narrowband": whole.narrowband[:samples], "wideband": whole.wideband[:samples]}
        )
        assert score_pair(short, short.narrowband, block_samples=64)["failures"] == ""


def test_processes_give_the_same_table_and_hold_few_pairs():
    consumed = []
    done = []
    ahead = []

    def pairs():
        for index in range(9):
            consumed.append(index)
            ahead.append(len(consumed) - len(done))
            yield utterance(index, seconds=0.6), utterance(index, seconds=0.6).narrowband

    parallel = score_pairs(pairs(), "unprocessed", ["lsd", "extended_ber"], workers=2, progress=done.append)
    assert done == list(range(1, 10))
    assert max(ahead) <= 5
    alone = score_pairs(pairs(), "unprocessed", ["lsd", "extended_ber"])
    pd.testing.assert_frame_equal(parallel, alone)


def test_harness_needs_no_torch():
    imports = "import sys, evaluation.harness, evaluation.statistics"
    code = f"{imports}; sys.exit('torch' in sys.modules or 'visqol' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_visqol_orders_and_keeps_quiet(capfd):
    whole = utterance(seconds=2.0)
    noise = np.random.default_rng(0).standard_normal(len(whole.wideband))
    scores = [
        visqol(preds=whole.wideband + level * noise, target=whole.wideband, sample_rate=RATE)
        for level in (0.0, 0.02, 0.2)
    ]
    assert scores == sorted(scores, reverse=True)
    assert 3.5 < scores[0] <= 5.0 and scores[2] >= 1.0
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


@pytest.mark.parametrize("sample_rate", [24_000, 48_000])
def test_visqol_uses_audio_mode_above_16_khz(sample_rate):
    target = resample(utterance(seconds=1.2).wideband, RATE, sample_rate)
    assert visqol(preds=target, target=target, sample_rate=sample_rate) > 4.5


@pytest.mark.parametrize("target", [np.zeros(2 * RATE), np.ones(RATE // 2)])
def test_visqol_of_silent_or_short_targets_is_not_applicable(target):
    with pytest.raises(NotApplicable):
        visqol(preds=target, target=target, sample_rate=RATE)


def test_silent_estimate_fails_in_visqol_only():
    row = score_pair(utterance(seconds=2.0), 0 * utterance(seconds=2.0).wideband, ["lsd", "extended_ber", "visqol"])
    assert row["failures"] == "visqol: gave nan"
    assert row["extended_ber"] == pytest.approx(0.5, abs=0.03)
