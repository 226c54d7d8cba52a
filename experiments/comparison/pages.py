"""The pages of a whole comparison: the report, and the listening test."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.contracts import Utterance
from experiments.listening.page import write_listening_page
from experiments.listening.stimuli import chosen_utterances, listening_trials
from experiments.presets.winner_rule import UNPROCESSED
from experiments.publication.overview import LISTENING_TEST, REPORT
from experiments.ranking.findings import Findings
from experiments.report.page import write_report
from experiments.report.utterances import (
    ChosenUtterance,
    UtteranceName,
    choose_utterances,
    heard_systems,
    report_samples,
)
from overtone.audio import Waveform

LISTENING_TRIALS = 6

Enhance = Callable[[str, Utterance], Waveform]


@dataclass(frozen=True)
class Heard:
    """What can be heard of a comparison, chosen by its scores.

    Attributes:
        chosen: the utterances of the report.
        trials: the utterances of the listening test, by file and condition.
        systems: the candidates and the best control that reads no target.
    """

    chosen: Sequence[ChosenUtterance]
    trials: Sequence[UtteranceName]
    systems: Sequence[str]

    @classmethod
    def of(cls, findings: Findings) -> "Heard":
        """Choose what is worth hearing."""
        rows = findings.scores[["speaker", "file", "condition"]].drop_duplicates()
        names = list(rows.itertuples(index=False, name=None))
        return cls(choose_utterances(findings), chosen_utterances(names, LISTENING_TRIALS), heard_systems(findings))

    @property
    def names(self) -> set[UtteranceName]:
        """File and condition of every utterance on the pages."""
        return {*(one.name for one in self.chosen), *self.trials}


def write_pages(
    findings: Findings,
    folder: Path,
    heard: Heard,
    utterances: Mapping[UtteranceName, Utterance],
    enhance: Enhance,
    comparison_key: str,
) -> list[Path]:
    """Write the report and the listening test.

    Args:
        findings: of the comparison.
        folder: where to.
        heard: what can be heard.
        utterances: those of ``heard.names`` at least.
        enhance: given a system's name and an utterance, returns its output ``(samples,)``.
        comparison_key: of the comparison that votes are about.

    Returns:
        The paths of both.
    """
    report, listening_test = folder / REPORT, folder / LISTENING_TEST
    samples = report_samples(heard.chosen, utterances, heard.systems, enhance, findings.scores)
    write_report(findings, report, samples, {"Listening test": LISTENING_TEST})
    systems = [name for name in heard.systems if name != UNPROCESSED]
    write_listening_page(
        listening_test,
        listening_trials([utterances[name] for name in heard.trials], systems, enhance),
        title=f"Listening test: {findings.preset}",
        comparison_key=comparison_key,
        preset=findings.preset,
        seed=0,
    )
    return [report, listening_test]
