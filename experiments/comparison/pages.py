"""The pages of a whole comparison: the report, and the listening test."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from evaluation.contracts import Utterance
from experiments.listening.page import AbxPair, write_listening_page
from experiments.listening.stimuli import chosen_utterances, listening_trials
from experiments.presets.winner_rule import UNPROCESSED
from experiments.ranking.selection import Selection
from experiments.report.contents import ReportContents
from experiments.report.page import write_report
from experiments.report.utterances import (
    ChosenUtterance,
    UtteranceName,
    choose_utterances,
    heard_systems,
    report_samples,
)
from overtone.audio import Waveform

REPORT, LISTENING_TEST = "report.html", "listening-test.html"
LISTENING_TRIALS = 6

Enhance = Callable[[str, Utterance], Waveform]


@dataclass(frozen=True)
class ComparisonPages:
    """What can be heard of a comparison, chosen by its scores.

    Attributes:
        chosen: the utterances of the report.
        trials: the utterances of the listening test, by file and condition.
        systems: whom to hear: the candidates and the best control that reads no target.
    """

    chosen: Sequence[ChosenUtterance]
    trials: Sequence[UtteranceName]
    systems: Sequence[str]

    @staticmethod
    def choose(test: pd.DataFrame, leaderboard: pd.DataFrame, selection: Selection) -> "ComparisonPages":
        """Choose from the score table of `test` what is worth hearing."""
        rows = test[["speaker", "file", "condition"]].drop_duplicates()
        names = list(rows.itertuples(index=False, name=None))
        return ComparisonPages(
            chosen=choose_utterances(test, selection),
            trials=chosen_utterances(names, LISTENING_TRIALS),
            systems=heard_systems(leaderboard),
        )

    @property
    def names(self) -> set[UtteranceName]:
        """File and condition of every utterance on the pages."""
        return {*(one.name for one in self.chosen), *self.trials}

    def report(
        self,
        path: Path,
        contents: Callable[..., ReportContents],
        utterances: Mapping[UtteranceName, Utterance],
        enhance: Enhance,
        scores: pd.DataFrame,
    ) -> Path:
        """Write the report; ``contents`` is called with the samples and the links."""
        samples = report_samples(self.chosen, utterances, self.systems, enhance, scores)
        write_report(path, contents(samples=samples, links={"Listening test": LISTENING_TEST}))
        return path

    def listening_test(
        self,
        path: Path,
        utterances: Mapping[UtteranceName, Utterance],
        enhance: Enhance,
        *,
        preset: str,
        comparison_key: str,
    ) -> Path:
        """Write the listening test; the first two systems are also told apart as A/B/X."""
        systems = [name for name in self.systems if name != UNPROCESSED]
        trials = listening_trials([utterances[name] for name in self.trials], systems, enhance)
        write_listening_page(
            path,
            trials,
            title=f"Listening test: {preset}",
            comparison_key=comparison_key,
            preset=preset,
            seed=0,
            abx=AbxPair(systems[0], systems[1]) if len(systems) > 1 else None,
        )
        return path
