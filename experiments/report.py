"""One self-contained page per comparison that people read: `write_report`, and what goes into it."""

from pathlib import Path

from experiments.report_contents import ReportContents, TrainingCurve, library_versions
from experiments.report_page import page
from experiments.report_utterances import ChosenUtterance, choose_utterances, heard_systems, report_samples
from runtime.files import written_whole

__all__ = [
    "ChosenUtterance",
    "ReportContents",
    "TrainingCurve",
    "choose_utterances",
    "heard_systems",
    "library_versions",
    "report_samples",
    "write_report",
]


def write_report(path: Path, contents: ReportContents) -> None:
    """Write the page, whole or not at all.

    Args:
        path: the HTML file.
        contents: what it tells.

    Raises:
        OvertoneError: a sample has no clips, or a clip has no samples.
    """
    text = page(contents)
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
