"""Commands that score and show: evaluate, diff, listen, publish, ui."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from experiments.cli.options import add_options, command_parser, made, names, optional_path
from experiments.comparison.options import DiffOptions
from experiments.runs import Workspace, find_runs_folder
from overtone.cli.command import USAGE, Command, failed
from overtone.errors import OvertoneError, in_words
from overtone.worker_pool import available_cores


def _evaluate_parser() -> ArgumentParser:
    parser = command_parser(
        description="Score any systems' audio files, paired with the reference by their stem. The same command goes "
        "on where it was interrupted, and later scores only what is new."
    )
    parser.add_argument("--reference", required=True, metavar="DIR", help="folder of target files")
    parser.add_argument("--estimate", required=True, nargs="+", metavar="NAME=DIR", help="a system and its folder")
    parser.add_argument("--narrowband", metavar="DIR", help="folder of input files, for the controls")
    parser.add_argument("--cutoff-hz", type=float, metavar="HZ", help="where the input's own content ends")
    parser.add_argument("--out", required=True, metavar="TABLE", help="the table to write, .csv or .parquet")
    parser.add_argument("--measures", metavar="KEY,KEY", help="which to score (all)")
    parser.add_argument("--align", action="store_true", help="find and remove each system's constant delay")
    parser.add_argument(
        "--length-tolerance",
        type=float,
        default=50.0,
        metavar="MS",
        help="by how much lengths may differ; both are cut to the shorter (50)",
    )
    parser.add_argument(
        "--missing", choices=["refuse", "skip"], default="refuse", help="references without a counterpart (refuse)"
    )
    parser.add_argument(
        "--speaker-pattern", metavar="PATTERN", help="finds the speaker in a reference's path, as in data prepare"
    )
    parser.add_argument("--workers", type=int, default=available_cores(), help="processes (all cores)")
    parser.add_argument("--overwrite", action="store_true", help="replace a table that was not written here")
    return parser


def _diff_parser() -> ArgumentParser:
    parser = command_parser(
        description="Put two comparisons, trainings, score tables or exported models beside each other, with paired "
        "95 % intervals. Exit code 0: B is no worse than A in the primary score; 1: it is worse; 2: they cannot be "
        "compared."
    )
    add_options(parser, DiffOptions, without=["extra", "tracking"])
    return parser


def _listen_parser() -> ArgumentParser:
    parser = command_parser(description="Add the votes of a listening test to its comparison's leaderboard and runs.")
    parser.add_argument(
        "--import",
        dest="votes",
        required=True,
        nargs="+",
        metavar="FILE",
        help="votes, as the test's page exports them",
    )
    parser.add_argument("--comparison", metavar="DIR", help="folder of the comparison (the one that the votes name)")
    add_options(parser, Workspace, without=["data", "extra"])
    return parser


def _publish_parser() -> ArgumentParser:
    parser = command_parser(
        description="Bring to MLflow what it lacks of the runs in the folder for runs. Every command does so with what "
        "MLflow missed while it did not answer; this one compares everything, also with another server."
    )
    parser.add_argument("folders", nargs="*", default=[], metavar="DIR", help="folders of runs, or around them (all)")
    add_options(parser, Workspace, without=["data", "extra"])
    return parser


def _ui_parser() -> ArgumentParser:
    parser = command_parser(description="Open the MLflow page of the runs.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=5000, help="port to listen on (5000)")
    add_options(parser, Workspace, without=["data", "extra", "tracking"])
    return parser


def _run_evaluate(options: Namespace) -> None:
    from experiments.scoring.evaluate import EvaluateOptions, evaluate

    how = EvaluateOptions(
        narrowband=optional_path(options.narrowband),
        cutoff_hz=options.cutoff_hz,
        measures=names(options.measures) if options.measures else None,
        workers=options.workers,
        align=options.align,
        length_tolerance_ms=options.length_tolerance,
        missing=options.missing,
        speaker_pattern=options.speaker_pattern,
        overwrite=options.overwrite,
    )
    evaluate(Path(options.reference), options.estimate, Path(options.out), how)


def _run_diff(options: Namespace) -> None:
    from experiments.comparison.diff import diff

    try:
        worse = diff(made(DiffOptions, options))
    except (OvertoneError, OSError) as error:  # 1 says that B is worse, and nothing else does
        failed(in_words(error) if isinstance(error, OSError) else str(error))
        raise SystemExit(USAGE) from None
    if worse:
        raise OvertoneError(worse)


def _run_listen(options: Namespace) -> None:
    from experiments.listening.listen import import_command

    workspace = made(Workspace, options)
    votes = [Path(file) for file in options.votes]
    runs = find_runs_folder(workspace.runs)
    import_command(votes, runs, optional_path(options.comparison), workspace.tracking)


def _run_publish(options: Namespace) -> None:
    from experiments.tracking.publish import publish_command

    workspace = made(Workspace, options)
    folders = [Path(folder) for folder in options.folders or ()]
    publish_command(folders, find_runs_folder(workspace.runs), workspace.tracking)


def _run_ui(options: Namespace) -> None:
    from experiments.tracking.ui import serve_ui

    serve_ui(find_runs_folder(made(Workspace, options).runs), options.host, options.port)


COMMANDS = {
    "evaluate": Command(_evaluate_parser, _run_evaluate, resumable=True),
    "diff": Command(_diff_parser, _run_diff),
    "listen": Command(_listen_parser, _run_listen),
    "publish": Command(_publish_parser, _run_publish, resumable=True),
    "ui": Command(_ui_parser, _run_ui),
}
