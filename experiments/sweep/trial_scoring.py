"""What a trial is worth: its objective on val, and which guards it fails."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from datamodules.corpora.corpus import Corpus
from evaluation.contracts import System, Utterance
from evaluation.harness import score_pair
from evaluation.measures.catalogue import MEASURES
from evaluation.statistics.intervals import speaker_mean
from experiments.presets.preset import Preset
from experiments.presets.winner_rule import UNPROCESSED, WinnerRule
from experiments.ranking.guards import failure_reasons, guard_reasons
from experiments.ranking.primary import PRIMARY, add_primary, failed_scores
from experiments.scoring.splits import read_scores, write_scores
from experiments.sweep.study import VAL_LOSS
from experiments.training.fit import TrainingRecord, make_datamodule
from experiments.training.places import TrainingPlace
from experiments.training.trained_system import TrainedSystem, cost_of
from models.baselines import Unprocessed

KEPT_BYTES = 512 * 2**20
PRIMARY_MEASURES = ("extended_ber", "lsd", "si_sdr")
FAILED_SCORES = "failed scores"


@dataclass(frozen=True)
class TrialScores:
    """What a trial scored.

    Attributes:
        value: the objective; NaN where it could not be scored.
        scores: all that was measured, means over speakers and conditions, and the cost at run time.
        guards: for each guard whether it is failed.
        reasons: in words, why.
    """

    value: float
    scores: dict[str, float]
    guards: dict[str, bool]
    reasons: list[str]


class TrialScoring:
    """Scores the trials of one study; in memory it keeps val, if that is small, and the control's scores.

    Args:
        preset: declares objective, guards and val.
        corpus: the clips.
        folder: where the control's scores are kept.
    """

    def __init__(self, preset: Preset, corpus: Corpus, folder: Path) -> None:
        self._preset, self._folder = preset, folder
        self._data = make_datamodule(preset, corpus, seed=0)
        self._kept: list[Utterance] | None = None

    def score(self, place: TrainingPlace, record: TrainingRecord) -> TrialScores:
        """Score a finished training."""
        sweep = self._preset.sweep
        cost = cost_of(place)
        own_costs = {"rtf": cost.rtf, "latency_ms": cost.latency_ms, "macs": cost.macs}
        scores = {VAL_LOSS: record.val_loss} | own_costs
        if not self._measures:
            return TrialScores(record.val_loss, _finite(scores), {}, [])
        rows = self._rows(TrainedSystem.load(place)).assign(seed=0.0)
        table = add_primary(pd.concat([rows, self._unprocessed], ignore_index=True))
        trained, control = table[table["seed"].notna()], table[table["seed"].isna()]
        scores |= {key: speaker_mean(trained, key) for key in (PRIMARY, *self._measures)}
        rule = self._rule
        reasons = [*failure_reasons(failed_scores(trained))]
        if sweep.guards:
            reasons += guard_reasons(trained, control, pd.Series(asdict(cost)), rule)
        if math.isnan(cost.latency_ms):  # no setting would change that, and every trial would fail
            reasons = [reason for reason in reasons if reason.guard != "latency_ms"]
        failed = {reason.guard for reason in reasons}
        guards = {guard: guard in failed for guard in (FAILED_SCORES, *_guards(rule if sweep.guards else None))}
        return TrialScores(scores[sweep.objective], _finite(scores), guards, [str(reason) for reason in reasons])

    @property
    def _rule(self) -> WinnerRule:
        rule = self._preset.winner
        return replace(rule, visqol_above_unprocessed=rule.visqol_above_unprocessed and self._preset.sweep.visqol)

    @property
    def _measures(self) -> list[str]:
        """The measures that objective and guards need; none where the objective is a loss without guards."""
        sweep = self._preset.sweep
        if not sweep.guards and sweep.objective == VAL_LOSS:
            return []
        wanted = {*PRIMARY_MEASURES, sweep.objective}
        if sweep.guards:
            wanted |= set(_guards(self._rule))
        return [key for key in MEASURES if key in wanted]

    @cached_property
    def _unprocessed(self) -> pd.DataFrame:
        path = self._folder / f"{UNPROCESSED}.csv"
        if not path.is_file():
            write_scores(self._rows(Unprocessed()), path)
        return read_scores(path).assign(seed=math.nan)

    def _rows(self, system: System) -> pd.DataFrame:
        rows = [
            {"system": system.name}
            | score_pair(utterance, system(utterance), self._measures, getattr(system, "block_samples", None))
            for utterance in self._utterances()
        ]
        return pd.DataFrame(rows)

    def _utterances(self) -> Iterable[Utterance]:
        return self._remembered() if self._kept is None else self._kept

    def _remembered(self) -> Iterator[Utterance]:
        """Yield val, and keep it for the next trial if it is small: making it can take longer than scoring it."""
        kept: list[Utterance] = []
        size = 0
        for utterance in self._data.utterances("val"):
            size += utterance.narrowband.nbytes + utterance.wideband.nbytes
            if size <= KEPT_BYTES:
                kept.append(utterance)
            else:
                kept.clear()
            yield utterance
        if size <= KEPT_BYTES:
            self._kept = kept


def _guards(rule: WinnerRule | None) -> list[str]:
    """Return the names of a rule's guards that are on."""
    if rule is None:
        return []
    limits = {
        "content_ber": rule.content_ber_margin,
        "lsd_low": min(rule.lsd_low_clean, rule.lsd_low_margin),
        "tonality": rule.tonality,
        "excess_above_band": rule.excess_above_band_db,
        "latency_ms": rule.latency_ms,
        "rtf": rule.rtf,
        "visqol": 0.0 if rule.visqol_above_unprocessed else math.inf,
    }
    return [guard for guard, limit in limits.items() if not math.isinf(limit)]


def _finite(scores: dict[str, float]) -> dict[str, float]:
    return {key: float(value) for key, value in scores.items() if math.isfinite(value)}
