"""Which bits hear the missing band: `extended_ber`'s definition beside the ones that it was chosen over.

    python benchmarks/fingerprint_definitions.py --data DIR [--speakers N] [--published DIR]

Per definition: its scores of the rows of "What fools what", the worst score of a single utterance by which silence,
noise or a misplaced band is rewarded, and per step from worse to better the effect size (mean over standard deviation
of the paired differences over speakers) and the share of speakers in whom the step is heard. With ``--published``, a
folder of folders ``8kto48k`` with ``wideband.wav`` and one wav per system (AP-BWE's repository has one in
``docs/samples/BWE_48k``): the share of pairs of systems that are ordered as `lsd_hf_band` orders them.
"""

import argparse
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.pages.cheats import NOTHING_GAINED, build_trials
from benchmarks.pages.cheats_table import tasks_for, utterances_of
from datamodules.corpora.corpus import load_corpus
from evaluation.measures.bandwidth import effective_band_hz
from evaluation.measures.fingerprints import extended_bit_error_rate
from evaluation.measures.missing_band import TINY, MissingBand
from evaluation.measures.spectral import log_spectral_distance_missing_band
from evaluation.measures.stft import NotApplicable
from experiments.pages.tables import markdown_table
from overtone.audio_files.recordings import read_audio

CHEATS = ("silence", "unprocessed_noise", "louder_noise", "average_noise", "misplaced_band")
STEPS = (
    ("unprocessed", "spectral_band_replication"),
    ("spectral_band_replication", "ridge_envelope"),
    ("ridge_envelope", "oracle_envelope_noise"),
    ("oracle_envelope_noise", "envelope_48_bands"),
    ("oracle_envelope_noise", "half_restored"),
    ("half_restored", "mostly_restored"),
    ("mostly_restored", "nearly_restored"),
)
LOCAL_FRAMES = 15  # each side: about a second

Array = NDArray[np.floating]


class Logs:
    """Log energies of the 9 bands of both waveforms in active frames ``(9, frames)``, the estimate level-aligned."""

    def __init__(self, preds: Array, target: Array, sample_rate: int, cutoff_hz: float, band_hz: float) -> None:
        band = MissingBand(preds, target, sample_rate, cutoff_hz, band_hz)
        if band.active.sum() < 8:
            raise NotApplicable("under 8 active frames")
        energies = band.band_energies(band.preds_power) * band.level_alignment(), band.band_energies(band.target_power)
        self.active = band.active
        self.whole = [np.log(np.maximum(energy, TINY)) for energy in energies]
        self.given, self.wanted = (log[:, band.active] for log in self.whole)
        self.arguments: dict[str, Any] = {
            "preds": preds,
            "target": target,
            "sample_rate": sample_rate,
            "cutoff_hz": cutoff_hz,
            "band_hz": band_hz,
        }


def plain(given: Array, wanted: Array, threshold: Array | float) -> float:
    """Share of bits above a threshold that differ."""
    return float(np.mean((given > threshold) != (wanted > threshold)))


def balanced(given: Array, wanted: Array, shares: tuple[float, ...]) -> float:
    """Share of wrong bits above quantiles of the target, missed and invented ones weighing the same."""
    errors = []
    for share in shares:
        threshold = np.quantile(wanted, share, axis=1, keepdims=True)
        ones = wanted > threshold
        got = given > threshold
        errors.append(0.5 * ((ones & ~got).sum(1) / ones.sum(1) + (~ones & got).sum(1) / (~ones).sum(1)))
    return float(np.mean(errors))


def colours(log: Array) -> Array:
    """Differences of neighbouring bands."""
    return np.diff(log, axis=0)


def median(log: Array) -> Array:
    """Each band's median over frames."""
    return np.median(log, axis=1, keepdims=True)


def local_median(logs: Logs) -> float:
    """Bits above the median of the second around."""
    frames = range(logs.wanted.shape[1])
    around = [logs.wanted[:, max(0, frame - LOCAL_FRAMES) : frame + LOCAL_FRAMES + 1] for frame in frames]
    return plain(logs.given, logs.wanted, np.stack([np.median(window, axis=1) for window in around], axis=1))


def weighted(logs: Logs) -> float:
    """Bits above the median, each counting by the target's distance from it, both kinds weighing the same."""
    distance = logs.wanted - median(logs.wanted)
    ones, got, weight = distance > 0, logs.given > median(logs.wanted), np.abs(distance)
    missed = (weight * (ones & ~got)).sum(1) / (weight * ones).sum(1)
    invented = (weight * (~ones & got)).sum(1) / np.maximum((weight * ~ones).sum(1), TINY)
    return float(np.mean(0.5 * (missed + invented)))


def over_time(logs: Logs, lag: int, *, of_colours: bool) -> float:
    """Signs of the change over ``lag`` frames, of the levels or of the colours."""
    both = logs.active[lag:] & logs.active[:-lag]
    given, wanted = ((log[:, lag:] - log[:, :-lag])[:, both] for log in logs.whole)
    return plain(colours(given), colours(wanted), 0.0) if of_colours else plain(given, wanted, 0.0)


DEFINITIONS: dict[str, Callable[[Logs], float]] = {
    "chosen: levels and colours at quartiles, balanced": lambda logs: extended_bit_error_rate(**logs.arguments),
    "levels at the median (the definition before)": lambda logs: plain(logs.given, logs.wanted, median(logs.wanted)),
    "levels at quartiles, balanced": lambda logs: balanced(logs.given, logs.wanted, (0.25, 0.5, 0.75)),
    "levels at octiles, balanced": lambda logs: balanced(logs.given, logs.wanted, tuple(np.arange(1, 8) / 8)),
    "levels at the median, weighted by distance": weighted,
    "levels at the median of the second around": local_median,
    "levels' change over 32 ms": lambda logs: over_time(logs, 1, of_colours=False),
    "levels' change over 128 ms": lambda logs: over_time(logs, 4, of_colours=False),
    "colours at 0 (neighbouring bands compared)": lambda logs: plain(colours(logs.given), colours(logs.wanted), 0.0),
    "colours at the median": lambda logs: plain(
        colours(logs.given), colours(logs.wanted), median(colours(logs.wanted))
    ),
    "colours at quartiles, balanced": lambda logs: balanced(
        colours(logs.given), colours(logs.wanted), (0.25, 0.5, 0.75)
    ),
    "colours' change over 32 ms (Haitsma-Kalker)": lambda logs: over_time(logs, 1, of_colours=True),
    "colours' change over 128 ms": lambda logs: over_time(logs, 4, of_colours=True),
    "levels and colours at the median": lambda logs: (
        0.5
        * (
            plain(logs.given, logs.wanted, median(logs.wanted))
            + plain(colours(logs.given), colours(logs.wanted), median(colours(logs.wanted)))
        )
    ),
}


def study(data: Path, speakers: int) -> None:
    """Print means and qualities of every definition in each task."""
    corpus = load_corpus(data)
    for task in tasks_for(corpus):
        utterances = utterances_of(corpus, task, "test", speakers)
        trials = build_trials(utterances_of(corpus, task, "train", None))
        rows = []
        for trial in trials:
            for one in utterances:
                try:
                    logs = Logs(trial.system(one), one.wideband, one.sample_rate, one.cutoff_hz or 0.0, one.band_hz)
                except NotApplicable:
                    continue
                scores = {name: definition(logs) for name, definition in DEFINITIONS.items()}
                rows.append({"system": trial.name, "group": trial.group, "speaker": one.speaker} | scores)
        table = pd.DataFrame(rows)
        print(f"\n## {task.title}, {table['speaker'].nunique()} speakers\n")
        print_means(table, [trial.name for trial in trials])
        print_qualities(table)


def print_means(table: pd.DataFrame, systems: list[str]) -> None:
    """Print each definition's mean of each row."""
    means = table.groupby("system")[list(DEFINITIONS)].mean().reindex(systems)
    header = [f"{number}" for number, _ in enumerate(DEFINITIONS, start=1)]
    print(
        markdown_table(["row", *header], [[name, *(f"{value:.3f}" for value in means.loc[name])] for name in systems]),
        end="\n\n",
    )


def print_qualities(table: pd.DataFrame) -> None:
    """Print by how much cheats gain and how well steps are heard."""
    cells = []
    for number, name in enumerate(DEFINITIONS, start=1):
        scores = table.pivot(index="speaker", columns="system", values=name)
        cheats = scores[list(CHEATS)]
        gained = table[table["group"] == NOTHING_GAINED].groupby("system")[name].mean().min()
        steps = []
        for worse, better in STEPS:
            gain = scores[worse] - scores[better]
            steps.append(f"{gain.mean() / max(gain.std(), 1e-9):.1f} ({(gain > 0).mean():.0%})")
        cells.append([str(number), name, f"{gained:.3f}", f"{cheats.min().min():.3f}", *steps])
    names = [f"{better}" for _, better in STEPS]
    print(
        markdown_table(["", "definition", "least mean of nothing gained", "least utterance of a cheat", *names], cells),
        end="\n\n",
    )


def published(folder: Path) -> None:
    """Print how published systems are ordered."""
    rows = []
    for task in sorted(path for path in folder.rglob("*kto*k") if path.is_dir()):
        target, sample_rate = read_audio(task / "wideband.wav")
        cutoff_hz = 500.0 * float(task.name.split("kto")[0])
        for path in sorted(task.glob("*.wav")):
            if path.stem == "wideband":
                continue
            preds = read_audio(path)[0]
            samples = min(len(preds), len(target))
            band_hz = effective_band_hz(target, sample_rate)
            logs = Logs(preds[:samples], target[:samples], sample_rate, cutoff_hz, band_hz)
            scores = {name: definition(logs) for name, definition in DEFINITIONS.items()}
            distance = log_spectral_distance_missing_band(**logs.arguments)
            rows.append({"task": task.name, "rate": sample_rate, "system": path.stem, "lsd_hf_band": distance} | scores)
    table = pd.DataFrame(rows)
    cells = []
    for number, name in enumerate(DEFINITIONS, start=1):
        agree = [
            (one[name] - other[name]) * (one["lsd_hf_band"] - other["lsd_hf_band"]) > 0
            for _, task in table[table["system"] != "sinc"].groupby("task")
            for one, other in combinations(task.to_dict("records"), 2)
        ]
        means = table[table["rate"] == 48_000].groupby("system")[name].mean()
        shown = ", ".join(f"{system} {value:.3f}" for system, value in means.items())
        cells.append([str(number), name, f"{sum(agree)} of {len(agree)}", shown])
    print(markdown_table(["", "definition", "pairs ordered as lsd_hf_band", "means at 48 kHz"], cells), end="\n\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder or manifest of real speech")
    parser.add_argument("--speakers", type=int, default=16, help="of the split test (default %(default)s)")
    parser.add_argument("--published", type=Path, help="outputs of published systems")
    options = parser.parse_args()
    if options.published:
        published(options.published)
    study(options.data, options.speakers)
