"""A finished comparison's whole table as a page of the documentation: `make results`."""

import argparse
import shutil
import sys
from collections.abc import Sequence

from benchmarks.pages.page_command import comparison_page_parser, run_page_command
from experiments.comparison.compare import restricted
from experiments.comparison.comparison import Comparison
from experiments.comparison.options import CompareOptions
from experiments.data.opening import open_corpus
from experiments.presets.preset import load_preset
from experiments.ranking.findings import load_findings
from experiments.report.markdown import leaderboard_markdown
from experiments.runs import Workspace, find_runs_folder
from experiments.scoring.splits import read_scores
from overtone.errors import OvertoneError
from overtone.files import written_whole
from overtone.progress import board

SCORES, PICTURE = "scores-test.csv", "spectrograms.png"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page from the command line; a user's mistake is one line and status 2."""
    parser = comparison_page_parser("results_page", __doc__, out="docs/results")
    parser.add_argument("--seeds", type=int, help="as it was given to `overtone compare`")
    return run_page_command(make_page, parser.parse_args(arguments))


def make_page(options: argparse.Namespace) -> None:
    """Write PRESET.md and its picture.

    Raises:
        OvertoneError: the comparison is not finished.
    """
    how = CompareOptions(seeds=options.seeds, workspace=Workspace(data=options.data))
    preset, runs = restricted(load_preset(options.preset), how), find_runs_folder(options.runs)
    with board() as progress:
        corpus = open_corpus(preset, Workspace(runs, options.data), progress)
        comparison = Comparison(preset, corpus, runs, progress)
    if not (comparison.folder / SCORES).is_file():
        command = how.command("compare", options.preset)
        raise OvertoneError(f"{comparison.folder}: no finished comparison there. Run `{command}` first.")
    page, picture = options.out / f"{preset.name}.md", options.out / f"{preset.name}.png"
    with written_whole(picture) as temporary:
        shutil.copyfile(comparison.folder / PICTURE, temporary)
    remarks = {
        "What it looks like": f"![Narrowband, enhanced by each model, target]({picture.name})",
        "What it cost": cost_words(comparison),
    }
    findings = load_findings(comparison.folder, read_scores(comparison.folder / SCORES), remarks=remarks)
    with written_whole(page) as temporary:
        temporary.write_text(leaderboard_markdown(findings), encoding="utf-8")
    print(f"Page: {page}")


def cost_words(comparison: Comparison) -> str:
    """Return a sentence on the cost of the comparison's trainings."""
    trainings = comparison.trainings()
    hours = trainings["cpu_seconds"].sum() / 3600
    return (
        f"The {len(trainings)} trainings took {hours:.1f} hours of one core, "
        f"{trainings['examples'].max():.0f} examples of {comparison.preset.data.crop_seconds:g} s each."
    )


if __name__ == "__main__":
    sys.exit(main())
