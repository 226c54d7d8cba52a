"""Made-up score tables for the tests of selection and leaderboard."""

import numpy as np
import pandas as pd

from experiments.presets.winner_rule import WinnerRule
from experiments.ranking.findings import Findings
from experiments.ranking.primary import add_primary
from experiments.ranking.selection import choose

SPEAKERS = ("anna", "ben", "carla", "david")
FILES_PER_SPEAKER = 3
CONDITIONS = (("telephone", 4000.0, True), ("telephone_noise", 4000.0, False), ("mp3_32k", np.nan, False))
DOING_NOTHING = {
    "extended_ber": 0.5,
    "lsd": 2.0,
    "lsd_hf_band": 3.0,
    "lsd_low": 0.1,
    "crossover_db": -1.0,
    "content_ber": 0.05,
    "original_ber": 0.3,
    "si_sdr": 12.0,
    "visqol": 3.0,
    "tonality": 1.0,
    "hallucination": -60.0,
}
GOOD = DOING_NOTHING | {
    "extended_ber": 0.3,
    "lsd": 1.0,
    "lsd_hf_band": 1.0,
    "si_sdr": 14.0,
    "visqol": 3.6,
}
NEVER_APPLICABLE = ("seam", "excess_above_band")
ONLY_IN_A_MISSING_BAND = ("extended_ber", "lsd_hf_band", "lsd_low", "crossover_db", "tonality", "hallucination")


def score_rows(system, values, *, seeds=(None,), spread=0.0, random_seed=0):
    """Rows of one system; ``spread`` is the standard deviation of its own noise in ``extended_ber`` per utterance."""
    generator = np.random.default_rng(random_seed)
    rows = []
    for seed in seeds:
        for condition, cutoff_hz, clean in CONDITIONS:
            for speaker in SPEAKERS:
                for index in range(FILES_PER_SPEAKER):
                    row = {
                        "system": system,
                        "file": f"{speaker}/{index}.wav",
                        "speaker": speaker,
                        "condition": condition,
                        "cutoff_hz": cutoff_hz,
                        "band_hz": 8000.0,
                        "clean": clean,
                        "seed": np.nan if seed is None else seed,
                        "failures": "",
                    }
                    row |= values | dict.fromkeys(NEVER_APPLICABLE, np.nan)
                    row["extended_ber"] += spread * generator.standard_normal()
                    missing = list(NEVER_APPLICABLE)
                    if np.isnan(cutoff_hz):
                        missing += ONLY_IN_A_MISSING_BAND
                    row |= dict.fromkeys(missing, np.nan)
                    row["not_applicable"] = ",".join(missing)
                    rows.append(row)
    return pd.DataFrame(rows)


def score_table(candidates, controls=None, **options):
    """A table of candidates (name to values), of `unprocessed` and of further controls."""
    controls = {"unprocessed": DOING_NOTHING} | (controls or {})
    parts = [
        score_rows(name, values, seeds=(0, 1), random_seed=index, **options)
        for index, (name, values) in enumerate(candidates.items())
    ]
    parts += [score_rows(name, values) for name, values in controls.items()]
    return pd.concat(parts, ignore_index=True)


def cost_table(**macs):
    """Costs that pass every guard, with the given multiply-accumulates by system."""
    return pd.DataFrame({"latency_ms": 24.0, "rtf": 0.1, "macs": pd.Series(macs, dtype=float), "parameters": 10_000.0})


def chosen(scores, costs, rule=None):
    """The selection of a table without primary scores."""
    return choose(add_primary(scores), costs, rule or WinnerRule())


def findings_of(scores, costs=None, *, rule=None, selection=None, **values):
    """What a comparison with these scores found; by default they are those of `val` too."""
    if costs is None:
        names = sorted(scores.loc[scores["seed"].notna(), "system"].unique())
        costs = cost_table(**{name: (place + 1) * 1e7 for place, name in enumerate(names)})
    selection = selection or chosen(scores, costs, rule)
    return Findings("demo", add_primary(scores), selection, costs, **values)
