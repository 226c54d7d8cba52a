"""`make visqol DATA=PREPARED`: what ViSQOL asks of the octave above a telephone's, and where it prefers none at all.

The target's own envelope on noise is made worse step by step until ViSQOL rates it below the narrowband; beside it
stands the model that comes with the package, with players of the recordings on which ViSQOL likes it least.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from benchmarks.pages.page_command import run_page_command
from benchmarks.pages.page_parts import player, score_table, utterances_under
from datamodules.corpora.corpus import load_corpus
from datamodules.corpora.manifest import find_manifest, read_manifest
from evaluation.contracts import System, Utterance
from evaluation.measures.catalogue import MEASURES
from experiments.comparison.sides import PackagedSystem
from experiments.pages.tables import markdown_table
from experiments.presets.preset import load_preset
from experiments.presets.winner_rule import UNPROCESSED
from experiments.scoring.rows import score_pairs
from models.baselines import OracleEnvelopeNoise, Unprocessed
from overtone.errors import OvertoneError
from overtone.files import written_whole
from overtone.packed_models import default_model
from overtone.progress import board
from overtone.worker_pool import WorkerPool

PRESET, CONDITION = "telephone", "resampled"
SHOWN = ("visqol", "pesq_wb", "lsd_hf", "extended_ber_median")
HEARD = 3
MODEL = "the packed model"
TRUE = "true envelope on noise"
INTRODUCTION = """# What ViSQOL asks of a telephone's octave

The rule of `telephone` wants a champion whose ViSQOL is above that of doing nothing. No model has it: see
[the results](index.md). This page asks what the guard asks. The target's own envelope above 4 kHz, in 12 bands of a
third of a kilohertz every 8 ms, fills the octave with noise, and is made worse step by step. {speakers} speakers of the
test split, resampled to 8 kHz; means over speakers with 95 % intervals. `make visqol DATA=PREPARED` writes this page;
do not edit it."""
VERDICT = """## Which guard is wrong

`visqol` is, in this preset. It rates an absent octave no lower than the true envelope averaged over a quarter of a
second, than the true level of every frame, and than an envelope that is wrong by {bad} dB in each band and syllable;
PESQ prefers the absence by far. An octave that is right in level and tilt, and late or flat in detail, is worse to them
than none; only an envelope that is right within {good} dB or little more passes. The log-spectral distance and the
fingerprint, which hear nearness to the target, put all of these far ahead of an absent octave.

That instrumental measures fail here is known: WB-PESQ and POLQA do not rank extended speech as listeners do (Möller
et al. 2013, Pulakka et al. 2015, Abel et al. 2016). No listener was asked here either; `overtone listen` asks some.
Until votes say otherwise the guard stands as it was declared, and `telephone` has no champion: a guard that is changed
after the result chooses the result. Who declares a comparison anew switches it off by
`winner: {{visqol_above_unprocessed: false}}` in a copy of the preset."""
PLAYERS = """## Hear it

The {count} recordings on which ViSQOL puts the model farthest below doing nothing, the worst first, of those whose
licence lets this site play them."""
ERRORS_DB = (3, 6, 9)
PLAYED = ("CC", "MIT", "Apache")
CREDIT = ("attribution", "licence", "speaker")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page from the command line; a user's mistake is one line and status 2."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages.visqol_page", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a prepared corpus")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="folder (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes to score in (%(default)s)")
    return run_page_command(make_page, parser.parse_args(arguments))


def make_page(options: argparse.Namespace) -> None:
    """Score, choose what is heard, and write ``visqol.md`` with its sounds.

    Raises:
        OvertoneError: the corpus cannot be read, or its manifest does not say who spoke.
    """
    credits = credits_of(options.data)
    utterances = utterances_under(CONDITION, load_preset(PRESET), load_corpus(options.data))
    scores = scored(systems(), utterances, options.workers)
    options.out.mkdir(parents=True, exist_ok=True)
    introduction = INTRODUCTION.format(speakers=scores["speaker"].nunique())
    good, bad = passing_error(scores)
    verdict = VERDICT.format(good=good, bad=bad)
    heard = farthest_below(scores, [one for one in utterances if one.speaker in credits])
    parts = [introduction, score_table(SHOWN, scores), verdict, PLAYERS.format(count=len(heard))]
    parts += players(heard, scores, credits, options.out)
    with written_whole(options.out / "visqol.md") as temporary:
        temporary.write_text("\n\n".join(parts) + "\n")
    print(f"Page: {options.out / 'visqol.md'}")


def systems() -> Iterator[System]:
    """Yield doing nothing, the packed model, and the true envelope, ever worse."""
    yield Unprocessed()
    yield PackagedSystem(default_model(PRESET), denoise=False, name=MODEL)
    yield OracleEnvelopeNoise(TRUE)
    for milliseconds in (80, 250):
        yield OracleEnvelopeNoise(f"{TRUE}, averaged over {milliseconds} ms", smoothing_seconds=milliseconds / 1000)
    for decibels in ERRORS_DB:
        yield OracleEnvelopeNoise(erring(decibels), error_db=decibels)
    yield OracleEnvelopeNoise("true level of each frame, flat", bands=1)


def erring(decibels: int) -> str:
    """Return the name of the true envelope with an error of so many decibels."""
    return f"{TRUE}, wrong by {decibels} dB"


def scored(all_systems: Iterator[System], utterances: Sequence[Utterance], workers: int) -> pd.DataFrame:
    """Return the score table of all systems.

    Args:
        all_systems: what is scored.
        utterances: what they enhance.
        workers: processes.
    """
    tables = []
    with WorkerPool(workers) as pool, board() as progress:
        for system in all_systems:
            pairs = [(one, system(one)) for one in utterances]
            tables.append(score_pairs(pairs, system.name, SHOWN, pool=pool))
            progress.say(f"scored: {system.name}")
    return pd.concat(tables, ignore_index=True)


def passing_error(scores: pd.DataFrame) -> tuple[int, int]:
    """Return the largest error of the envelope, in dB, that ViSQOL rates above doing nothing, and the next one.

    Raises:
        OvertoneError: it rates all of them so, or none.
    """
    means = scores.groupby("system")["visqol"].mean()
    passing = [error for error in ERRORS_DB if means[erring(error)] > means[UNPROCESSED]]
    failing = [error for error in ERRORS_DB if error not in passing]
    if not passing or not failing:
        raise OvertoneError(
            f"Expected ViSQOL to rate some of the errors of {', '.join(map(str, ERRORS_DB))} dB above doing nothing "
            f"and some below; above are {', '.join(map(str, passing)) or 'none'}. Choose other ones."
        )
    return max(passing), min(failing)


def farthest_below(scores: pd.DataFrame, utterances: Sequence[Utterance]) -> list[Utterance]:
    """Return the utterances on which ViSQOL puts the model farthest below doing nothing, the worst first."""
    table = scores.pivot(index="file", columns="system", values="visqol")
    gain = (table[MODEL] - table[UNPROCESSED]).to_dict()
    return sorted(utterances, key=lambda one: gain[one.file])[:HEARD]


def credits_of(data: Path) -> dict[str, str]:
    """Return who may be played here and under which licence, by speaker.

    Args:
        data: a prepared corpus, or its manifest.

    Raises:
        OvertoneError: the manifest has no such columns.
    """
    manifest = find_manifest(data)
    rows = [listed.row for listed in read_manifest(manifest)] if manifest else []
    if missing := [name for name in CREDIT if not rows or name not in rows[0]]:
        raise OvertoneError(
            f"{manifest or data}: expected the columns {', '.join(missing)}: a page that plays recordings names who "
            "speaks and the licence. Add them."
        )
    return {
        row["speaker"]: f"{row['attribution']}, {row['licence']}" for row in rows if row["licence"].startswith(PLAYED)
    }


def players(heard: Sequence[Utterance], scores: pd.DataFrame, credits: dict[str, str], folder: Path) -> Iterator[str]:
    """Yield for each utterance its scores and players of input, output and target.

    Args:
        heard: the utterances.
        scores: of all systems.
        credits: by speaker.
        folder: of the page.
    """
    model = PackagedSystem(default_model(PRESET), denoise=False)
    for number, utterance in enumerate(heard, start=1):
        own = scores[scores["file"] == utterance.file].set_index("system")[list(SHOWN)].to_dict("index")
        rows = [[name, *(f"{own[name][key]:.2f}" for key in SHOWN)] for name in (UNPROCESSED, MODEL)]
        sounds = {"input": utterance.narrowband, "output": model(utterance), "target": utterance.wideband}
        yield markdown_table(["", *(f"`{key}` {MEASURES[key].arrow}" for key in SHOWN)], rows)
        yield "\n".join(
            player(label, waveform, utterance.sample_rate, folder, f"visqol-{number}-{label}")
            for label, waveform in sounds.items()
        )
        yield f"*{credits[utterance.speaker]}*"


if __name__ == "__main__":
    sys.exit(main())
