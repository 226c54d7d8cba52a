"""The packed models on the test split of real speech, held to limits and beside the simplest controls.

``python -m benchmarks.default_models --data PREPARED`` scores what ``overtone enhance`` makes of each clip whose band
was cut off cleanly, with and without the input's own band preserved, over the band up to a common limit for all clips
and over each clip's own. A speaker is full-band when all recordings, at their own rate, have content up to 21 kHz: most
that went through a lossy encoder end lower. Under all of the preset's conditions it is held to the guards of the
winner rule, and its primary score to that of doing nothing.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from datamodules.corpora.corpus import Corpus, load_corpus
from evaluation.measures.catalogue import MEASURES
from evaluation.statistics.hypothesis_tests import signed_rank_test
from evaluation.statistics.intervals import speaker_differences, speaker_mean
from experiments.comparison.comparison import FIT_UTTERANCES_PER_SPEAKER
from experiments.comparison.sides import PackagedSystem
from experiments.export.package import measure_speed
from experiments.presets.preset import Preset, load_preset
from experiments.presets.winner_rule import UNPROCESSED
from experiments.ranking.guards import Measured, disqualifying
from experiments.ranking.primary import add_primary
from experiments.scoring.rows import score_pairs
from experiments.training.fit import make_datamodule
from models.baselines import build_controls
from overtone.packed_models import default_model
from overtone.worker_pool import WorkerPool

SHOWN = (
    "lsd",
    "lsd_hf",
    "lsd_hf_band",
    "extended_ber",
    "extended_ber_median",
    "visqol",
    "lsd_low",
    "crossover_db",
    "tonality",
)
OF_THE_BAND = ("lsd_hf_band", "extended_ber", "extended_ber_median")
OF_THE_RULE = (*OF_THE_BAND, "content_ber", "lsd_low", "crossover_db", "visqol", "tonality", "excess_above_band")
FULL_BAND_HZ = 21_000.0  # converters of 44.1 kHz recordings roll off from here
PACKED, DENOISED = "packed", "packed, denoise"
RIVALS = ("spectral_band_replication", "ridge_envelope")


@dataclass(frozen=True)
class Requirement:
    """A limit that a packed model is held to.

    Attributes:
        name: what is limited.
        limit: the largest value, or the smallest where ``least``.
        measured: the model's value.
        least: whether more is better.
    """

    name: str
    limit: float
    measured: float
    least: bool = False

    @property
    def reached(self) -> bool:
        """Whether the model keeps within the limit."""
        return self.measured >= self.limit if self.least else self.measured <= self.limit


@dataclass(frozen=True)
class Profile:
    """What a profile's model is scored on.

    Attributes:
        preset: that it was trained on.
        conditions: the clean ones of its preset; the first is that of the limits.
        limit_hz: end of the band that all clips are scored over.
        limits: of the model's mean under the first condition, by measure.
        least_gain: in ViSQOL over doing nothing, under every clean condition.
        damaged: conditions under which the primary score has to be better than that of doing nothing.
        latency_ms: at most.
    """

    preset: str
    conditions: tuple[str, ...]
    limit_hz: float
    limits: Mapping[str, float]
    least_gain: float
    damaged: tuple[str, ...]
    latency_ms: float = 40.0


FULL_BAND = Profile(
    preset="fullband",
    conditions=("resampled_8k", "resampled_16k"),
    limit_hz=16_000.0,
    limits={"lsd_hf_band": 1.15, "extended_ber_median": 0.29},
    least_gain=0.9,
    damaged=("mp3_32k", "gsm", "noise_15db"),
)
PROFILES = {
    "fullband": FULL_BAND,
    # Half the latency may cost a little of both.
    "live": replace(
        FULL_BAND, limits={"lsd_hf_band": 1.20, "extended_ber_median": 0.29}, least_gain=0.8, latency_ms=16.0
    ),
    "telephone": Profile(
        preset="telephone",
        conditions=("resampled", "chebyshev"),
        limit_hz=8_000.0,
        limits={"lsd": 0.80, "lsd_hf": 1.10, "extended_ber_median": 0.28},
        least_gain=0.0,
        damaged=("mulaw", "gsm", "noise_15db"),
    ),
}


@dataclass(frozen=True)
class Scores:
    """Score tables.

    Attributes:
        common: all systems on the clean conditions, over the common band.
        own: the same over each clip's own band; of the packed model and ``unprocessed`` under every condition, and
            by the measures of the winner rule.
        full_band: files of full-band speakers.
        cost: the packed model's ``latency_ms``, and its ``rtf`` on one core.
    """

    common: pd.DataFrame
    own: pd.DataFrame
    full_band: frozenset[str]
    cost: pd.Series

    def mean(self, system: str, key: str, condition: str, *, full_band: bool = False, own: bool = False) -> float:
        """Return the mean over speakers under a condition."""
        table = self.own if own else self.common
        rows = table[(table["system"] == system) & (table["condition"] == condition)]
        return speaker_mean(rows[rows["file"].isin(self.full_band)] if full_band else rows, key)

    def gain(self, key: str, condition: str, *, full_band: bool = False, own: bool = False) -> float:
        """Return by how much the packed model's mean is better than the unprocessed input's."""
        packed, unprocessed = (
            MEASURES[key].loss(self.mean(system, key, condition, full_band=full_band, own=own))
            for system in (PACKED, UNPROCESSED)
        )
        return unprocessed - packed

    def p_value(self, rival: str, *, full_band: bool) -> float:
        """Return the p value of ViSQOL above a control's, 1 where it lies below."""
        rows = self.common[self.common["file"].isin(self.full_band)] if full_band else self.common
        differences = speaker_differences(rows, PACKED, rival, "visqol")
        return signed_rank_test(differences).p_value if differences.mean() > 0 else 1.0

    def requirements(self, profile: Profile) -> Iterator[Requirement]:
        """Yield the requirements: on full-band and on all clips, under damage, and on cost."""
        first = profile.conditions[0]
        for full_band, clips in ((True, "full-band clips"), (False, "all clips")):
            for key, limit in profile.limits.items():
                yield Requirement(f"{key}, {clips}, {first}", limit, self.mean(PACKED, key, first, full_band=full_band))
            for name in profile.conditions:
                gain = self.gain("visqol", name, full_band=full_band)
                yield Requirement(f"ViSQOL above unprocessed, {clips}, {name}", profile.least_gain, gain, least=True)
            for rival in RIVALS:
                yield Requirement(f"p of ViSQOL above {rival}, {clips}", 0.01, self.p_value(rival, full_band=full_band))
        for name in profile.damaged:
            gain = self.gain("extended_ber", name, own=True)
            yield Requirement(f"extended BER below unprocessed, {name}", 0.0, gain, least=True)
        yield Requirement("latency, ms", profile.latency_ms, self.cost["latency_ms"])
        yield Requirement("real-time factor, one core", 0.05, self.cost["rtf"])


class Packed(PackagedSystem):
    """A packed model as a system."""

    def __init__(self, folder: Path, *, denoise: bool, name: str = "") -> None:
        super().__init__(folder, denoise=denoise, name=name or (DENOISED if denoise else PACKED))

    def cost(self) -> pd.Series:
        """Return ``latency_ms`` at the model's own rate, and ``rtf`` of whole files on one core."""
        model = self.enhancer.model
        stream = self.enhancer.stream(model.sample_rate)
        return pd.Series({"latency_ms": 1000 * stream.latency_seconds, "rtf": measure_speed(model).whole_file})


def scored(name: str, model: Path, data: Path, workers: int) -> Scores:
    """Score the packed model and the controls on a profile's clean conditions, and by the winner rule on all."""
    profile, preset = PROFILES[name], load_preset(PROFILES[name].preset)
    corpus = load_corpus(data)
    clips = make_datamodule(preset, corpus, seed=0)
    fit = clips.utterances("train", per_speaker=FIT_UTTERANCES_PER_SPEAKER)
    controls = [control for control in build_controls(fit) if control.name in (*RIVALS, UNPROCESSED)]
    packed = Packed(model, denoise=False)
    systems = (packed, Packed(model, denoise=True), *controls)
    every = list(clips.utterances("test"))
    clean = [one for one in every if one.condition in profile.conditions]
    common, own = [], []
    with WorkerPool(workers) as pool:
        for system in systems:
            print(f"{name}: {system.name}", flush=True)
            ruled = system.name in (PACKED, UNPROCESSED)
            pairs = [(one, system(one)) for one in (every if ruled else clean)]
            limited = [
                (replace(one, band_hz=min(one.band_hz, profile.limit_hz)), estimate)
                for one, estimate in pairs
                if one.condition in profile.conditions
            ]
            common.append(score_pairs(limited, system.name, SHOWN, pool=pool))
            own.append(score_pairs(pairs, system.name, OF_THE_RULE if ruled else OF_THE_BAND, pool=pool))
    wide = full_band_speakers(corpus)
    files = frozenset(one.file for one in clean if one.speaker in wide)
    return Scores(pd.concat(common), pd.concat(own), files, packed.cost())


def full_band_speakers(corpus: Corpus, lowest_hz: float = FULL_BAND_HZ) -> set[str]:
    """Return the speakers of the test split none of whose recordings ends below a frequency."""
    clips = corpus.split("test")
    return {clip.speaker for clip in clips} - {clip.speaker for clip in clips if (clip.band_hz or 0) < lowest_hz}


def print_scores(console: Console, name: str, scores: Scores) -> None:
    """Print a table of means over speakers, one of what is required, and the guards."""
    band = f"up to {PROFILES[name].limit_hz / 1000:g} kHz"
    clips = scores.common["file"].nunique()
    groups = {
        f"{band}, {clips} clips": {},
        f"own band, {clips} clips": {"own": True},
        f"{band}, {len(scores.full_band)} full-band": {"full_band": True},
    }
    table = Table("condition", "scored over", "system", *SHOWN, title=f"Packed model of {name}, test split")
    for condition in PROFILES[name].conditions:
        for group, options in groups.items():
            for system in scores.common["system"].unique():
                keys = OF_THE_BAND if options.get("own") else SHOWN
                cells = [
                    f"{scores.mean(system, key, condition, **options):.3f}" if key in keys else "" for key in SHOWN
                ]
                table.add_row(condition, group, system, *cells)
    console.print(table)
    requirements = Table("", "required", "measured", "", title="The packed model, as `overtone enhance` runs it")
    for one in scores.requirements(PROFILES[name]):
        limit = f"{'≥' if one.least else '≤'} {one.limit:g}"
        requirements.add_row(one.name, limit, f"{one.measured:.3g}", "" if one.reached else "missed")
    console.print(requirements)
    print_guards(console, load_preset(PROFILES[name].preset), scores)


def print_guards(console: Console, preset: Preset, scores: Scores) -> None:
    """Print which guards of the preset's winner rule the packed model fails, over all conditions."""
    own = add_primary(scores.own)
    packed, unprocessed = (own[own["system"] == system] for system in (PACKED, UNPROCESSED))
    reasons = list(disqualifying(Measured(packed, unprocessed, scores.cost, pd.DataFrame()), preset.winner))
    for reason in reasons:
        console.print(f"Guard missed: {reason}", highlight=False)
    if not reasons:
        console.print(f"Every guard passed, {', '.join(preset.data.test_conditions)}.", highlight=False)


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a prepared corpus")
    parser.add_argument("--profile", choices=sorted(PROFILES), action="append", help="one of them (all)")
    parser.add_argument("--model", type=Path, help="an exported package in place of a profile's")
    parser.add_argument("--workers", type=int, default=2, help="processes to score in (2)")
    options = parser.parse_args()
    if options.model and len(options.profile or ()) != 1:
        parser.error("--model: expected one --profile beside it, whose limits the package is held to.")
    console = Console(width=170)
    for name in options.profile or PROFILES:
        model = options.model or default_model(name)
        print_scores(console, name, scored(name, model, options.data, options.workers))


if __name__ == "__main__":
    main()
