"""Full-band models on recordings made at 48 kHz: to 24 kHz, at the cutoff, and how much too quiet or loud in each band.

``make benchmark-top_octave DATA=PREPARED`` scores the packed models to 48 kHz, and packages that ``--model NAME=DIR``
names, beside doing nothing and `ridge_envelope`, on the test speakers all of whose recordings reach 23 kHz. Each
condition takes the band away in another way: the resampler of ``overtone``, a soft one, and each family of filters.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from benchmarks.default_models import Packed, full_band_speakers
from datamodules.corpora.corpus import load_corpus
from evaluation.contracts import System, Utterance
from evaluation.measures.catalogue import MEASURES
from evaluation.statistics.intervals import speaker_mean
from experiments.presets.preset import load_preset
from experiments.presets.winner_rule import UNPROCESSED
from experiments.ranking.band_levels import band_level_rows
from experiments.ranking.columns import band_heading, level, rows_of
from experiments.scoring.rows import score_pairs
from experiments.training.fit import make_datamodule
from models.baselines import build_controls
from overtone.packed_models import default_model
from overtone.worker_pool import WorkerPool

FIT_UTTERANCES = 330  # of the control that is fitted: each of 30 speakers under every condition
MADE_AT_48_KHZ = 23_000.0
SHOWN = ("lsd", "lsd_hf_band", "extended_ber_median", "visqol", "lsd_low", "crossover_db", "tonality")
WITHOUT_VISQOL = tuple(key for key in SHOWN if key != "visqol")  # it takes longer than all others together
RESAMPLED = {f"resampled_{rate // 1000}k": [{"resample": {"rate": rate}}] for rate in (8000, 16000, 24000)}
SOFT = {f"soft_{rate // 1000}k": [{"resample": {"rate": rate, "quality": "LQ"}}] for rate in (8000, 12000, 24000)}
FILTERED = {
    f"{family}_{order}": [{"lowpass": {"family": family, "order": order, "cutoff_hz": 6000}}]
    for family, order in (("brickwall", 8), ("chebyshev1", 8), ("butterworth", 6), ("bessel", 4), ("elliptic", 8))
}
CONDITIONS = {name: {"steps": steps} for name, steps in (RESAMPLED | SOFT | FILTERED).items()}


def scored(systems: Sequence[System], utterances: Sequence[Utterance], workers: int) -> pd.DataFrame:
    """Return the score table of all systems."""
    tables: list[pd.DataFrame] = []
    with WorkerPool(workers) as pool:
        for system in systems:
            print(system.name, flush=True)
            pairs = [(one, system(one)) for one in utterances]
            for keys, conditions in ((SHOWN, RESAMPLED), (WITHOUT_VISQOL, SOFT | FILTERED)):
                some = [pair for pair in pairs if pair[0].condition in conditions]
                tables.append(score_pairs(some, system.name, keys, pool=pool))
    return pd.concat(tables)


def print_tables(scores: pd.DataFrame) -> None:
    """Print means over speakers, and bias and spread in each band."""
    console = Console(width=250)
    levels = band_level_rows(scores)
    bands = sorted(set(zip(levels["low_hz"], levels["high_hz"], strict=True)))
    table = Table(
        "condition",
        "system",
        *(MEASURES[key].heading for key in SHOWN),
        *(f"{band_heading(*band)} kHz, dB" for band in bands),
    )
    errors = {
        (row["condition"], row["system"], row["low_hz"]): level(row["bias_db"], row["spread_db"])
        for row in rows_of(levels)
    }
    for condition in scores["condition"].unique():
        for system in scores["system"].unique():
            rows = scores[(scores["condition"] == condition) & (scores["system"] == system)]
            means = ["" if rows[key].isna().all() else f"{speaker_mean(rows, key):.3f}" for key in SHOWN]
            table.add_row(condition, system, *means, *(errors.get((condition, system, low), "") for low, _ in bands))
    console.print(table)
    console.print("In each band: mean level error of loud frames ± its standard deviation over frames, in dB.")


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a prepared corpus")
    parser.add_argument("--model", metavar="NAME=DIR", action="append", default=[], help="an exported package beside")
    parser.add_argument("--gain-db", type=float, default=0.0, help="of what goes in, and of the target (0)")
    parser.add_argument("--workers", type=int, default=2, help="processes to score in (2)")
    options = parser.parse_args()
    preset, corpus = load_preset("fullband"), load_corpus(options.data)
    preset = replace(preset, data=replace(preset.data, test_conditions=CONDITIONS))
    clips = make_datamodule(preset, corpus, seed=0)
    wanted, gain = full_band_speakers(corpus, MADE_AT_48_KHZ), np.float32(10 ** (options.gain_db / 20))
    utterances = [
        replace(one, narrowband=gain * one.narrowband, wideband=gain * one.wideband)
        for one in clips.utterances("test")
        if one.speaker in wanted
    ]
    controls = build_controls(islice(clips.utterances("train", per_speaker=1), FIT_UTTERANCES))
    packages = {profile: default_model(profile) for profile in ("fullband", "live")} | {
        name: Path(folder) for name, _, folder in (one.partition("=") for one in options.model)
    }
    systems = [
        *(Packed(folder, denoise=False, name=name) for name, folder in packages.items()),
        *(control for control in controls if control.name in (UNPROCESSED, "ridge_envelope")),
    ]
    print_tables(scored(systems, utterances, options.workers))


if __name__ == "__main__":
    main()
