"""The score of a trial: its objective on val, and which guards it fails."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from datamodules.corpora.corpus import Corpus
from evaluation.contracts import System, Utterance
from evaluation.measures.catalogue import MEASURES
from evaluation.statistics.intervals import speaker_mean
from experiments.presets.preset import Preset
from experiments.presets.winner_rule import UNPROCESSED
from experiments.ranking.guards import FAILED_SCORES, GUARDS, Measured, Reason, disqualifying, guard_names
from experiments.ranking.primary import PRIMARY, PRIMARY_MEASURES, add_primary, failed_scores
from experiments.scoring.rows import score_pairs
from experiments.scoring.splits import read_scores, write_scores
from experiments.sweep.study import VAL_LOSS
from experiments.training.fit import TrainingRecord, make_datamodule
from experiments.training.places import TrainingPlace
from experiments.training.trained_system import TrainedSystem, cost_of
from models.baselines import Unprocessed

KEPT_BYTES = 512 * 2**20


@dataclass(frozen=True)
class TrialScores:
    """The scores of a trial.

    Attributes:
        value: the objective; NaN where it could not be scored.
        scores: all that was measured, means over speakers and conditions, and the cost at run time.
        reasons: the guards that it fails.
    """

    value: float
    scores: dict[str, float]
    reasons: Sequence[Reason]


class TrialScoring:
    """Scores the trials of one study; a small val split is kept in memory from one trial to the next.

    Args:
        preset: declares objective, guards and val.
        corpus: the clips.
        folder: where the control's scores are kept.
    """

    def __init__(self, preset: Preset, corpus: Corpus, folder: Path) -> None:
        sweep, rule = preset.sweep, preset.winner
        self._sweep = sweep
        visqol = rule.visqol_above_unprocessed and sweep.visqol
        # The objective already leads away from doing nothing; whether the best setting beats it, `select` decides.
        self._rule = replace(rule, visqol_above_unprocessed=visqol, gain_over_unprocessed=math.inf)
        wanted = {*PRIMARY_MEASURES, sweep.objective, *(guard_names(self._rule) if sweep.guards else ())}
        self._measures = [key for key in MEASURES if key in wanted]
        self._control = folder / f"{UNPROCESSED}.csv"
        self._data = make_datamodule(preset, corpus, seed=0)
        self._kept: list[Utterance] | None = None

    def score(self, place: TrainingPlace, record: TrainingRecord) -> TrialScores:
        """Score a finished training.

        Args:
            place: of the training.
            record: its losses.
        """
        sweep, cost = self._sweep, cost_of(place)
        scores = {VAL_LOSS: record.val_loss, "rtf": cost.rtf, "latency_ms": cost.latency_ms, "macs": cost.macs}
        reasons: list[Reason] = []
        if sweep.guards or sweep.objective != VAL_LOSS:
            if not self._control.is_file():
                write_scores(self._rows(Unprocessed()), self._control)
            tables = [self._rows(TrainedSystem.load(place)).assign(seed=0.0), read_scores(self._control)]
            table = add_primary(pd.concat(tables, ignore_index=True))
            trained, control = table[table["seed"].notna()], table[table["seed"].isna()]
            scores |= {key: speaker_mean(trained, key) for key in (PRIMARY, *self._measures)}
            measured = Measured(trained, control, pd.Series(cost.numbers), failed_scores(trained))
            guards = GUARDS if sweep.guards else [FAILED_SCORES]
            if math.isnan(cost.latency_ms):  # no setting would change that, and every trial would fail
                guards = [guard for guard in guards if guard.key != "latency_ms"]
            reasons = list(disqualifying(measured, self._rule, guards))
        finite = {key: float(value) for key, value in scores.items() if math.isfinite(value)}
        return TrialScores(scores[sweep.objective], finite, reasons)

    def _rows(self, system: System) -> pd.DataFrame:
        pairs = ((utterance, system(utterance)) for utterance in self._utterances())
        return score_pairs(pairs, system.name, self._measures, getattr(system, "block_samples", None))

    def _utterances(self) -> Iterable[Utterance]:
        """Yield val; kept, if it is small, because making it can take longer than scoring it."""
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[Utterance] = []
        size = 0
        for utterance in self._data.utterances("val"):
            size += utterance.narrowband.nbytes + utterance.wideband.nbytes
            kept = [*kept, utterance] if size <= KEPT_BYTES else []
            yield utterance
        self._kept = kept or None
