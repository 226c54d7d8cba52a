"""The laboratory's commands, which the entry points of the group `overtone.commands` lead to."""

import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from experiments.cli.options import add_options, command_parser, made, optional_path, options_parser
from experiments.comparison.options import CompareOptions, DiffOptions, SelectOptions
from experiments.data.options import FetchOptions, InspectOptions, PrepareOptions
from experiments.runs import Workspace, find_runs_folder
from experiments.scoring.options import EvaluateOptions
from experiments.sweep.options import SweepOptions
from experiments.training.distribution import TrainRequest
from overtone.cli.command import USAGE, Command, failed
from overtone.cli.main import main as run_command
from overtone.errors import OvertoneError, in_words

PRESET = "name of a preset, or a .yaml file"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `overtone` with this checkout's laboratory, whatever is installed.

    Args:
        arguments: what follows `overtone`; the process's own where it is None.
    """
    return run_command(arguments, COMMANDS)


def _compare_parser() -> ArgumentParser:
    return options_parser(
        CompareOptions,
        "Train a preset's models under one budget and choose by its declared rule.",
        without=["num_nodes"],
        preset=PRESET,
    )


def _run_compare(options: Namespace) -> None:
    from experiments.comparison.compare import compare

    compare(options.preset, made(CompareOptions, options))


def _select_parser() -> ArgumentParser:
    parser = options_parser(
        SelectOptions,
        "Train the best settings of each architecture's study with several seeds, choose by the declared rule, and "
        "register the champion. With nothing new, nothing changes.",
        without=["num_nodes"],
        preset=PRESET,
    )
    parser.add_argument(
        "--rollback", action="store_true", help="train nothing; swap the champion with the previous one"
    )
    return parser


def _run_select(options: Namespace) -> None:
    from experiments.comparison.select import roll_back, select

    changes = made(SelectOptions, options)
    if options.rollback:
        roll_back(options.preset, changes.comparison.workspace)
    else:
        select(options.preset, changes)


def _sweep_parser() -> ArgumentParser:
    return options_parser(
        SweepOptions,
        "Search an architecture's settings under the preset's budget for a trial. The same command, on this machine "
        "or another, joins or continues the study.",
        model="one of the preset's models, or all",
        preset=PRESET,
    )


def _run_sweep(options: Namespace) -> None:
    from experiments.sweep.sweep import sweep

    sweep(options.model, options.preset, made(SweepOptions, options))


def _train_parser() -> ArgumentParser:
    return options_parser(TrainRequest, "Train one model of a preset, or continue where it was interrupted.")


def _run_train(options: Namespace) -> None:
    from experiments.training.train import train_command

    train_command(made(TrainRequest, options))


def _evaluate_parser() -> ArgumentParser:
    return options_parser(
        EvaluateOptions,
        "Score any systems' audio files, paired with the reference by their stem. The same command goes on where it "
        "was interrupted, and later scores only what is new.",
    )


def _run_evaluate(options: Namespace) -> None:
    from experiments.scoring.evaluate import evaluate

    evaluate(made(EvaluateOptions, options))


def _diff_parser() -> ArgumentParser:
    return options_parser(
        DiffOptions,
        "Put two comparisons, trainings, score tables or exported models beside each other, with paired 95 % "
        "intervals. Exit code 0: B is no worse than A in the primary score; 1: it is worse; 2: they cannot be "
        "compared.",
        without=["extra", "tracking"],
    )


def _run_diff(options: Namespace) -> None:
    from experiments.comparison.diff import diff

    try:
        worse = diff(made(DiffOptions, options))
    except (OvertoneError, OSError) as error:  # 1 says that B is worse, and nothing else does
        failed(in_words(error) if isinstance(error, OSError) else str(error))
        raise SystemExit(USAGE) from None
    if worse:
        raise OvertoneError(worse)


def _export_parser() -> ArgumentParser:
    parser = command_parser(
        "Write a model as a folder that runs without torch: ONNX graph, configuration, card, checksums, and the proof "
        "that it is the same model. The training corpus, where it is named, gives real speech for the proof and "
        "licences for the card."
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder; replaced when it is an exported model")
    parser.add_argument("--preset", help="whose champion; with --checkpoint, what that was trained for")
    parser.add_argument("--checkpoint", metavar="FILE", help="a file of weights instead of a champion")
    add_options(parser, Workspace, without=["tracking"])
    return parser


def _run_export(options: Namespace) -> None:
    from experiments.export.export import export_command

    checkpoint = optional_path(options.checkpoint)
    export_command(Path(options.out), made(Workspace, options), options.preset, checkpoint)


def _listen_parser() -> ArgumentParser:
    parser = command_parser("Add the votes of a listening test to its comparison's leaderboard and runs.")
    votes = "votes, as the test's page exports them"
    parser.add_argument("--import", dest="votes", required=True, nargs="+", metavar="FILE", help=votes)
    parser.add_argument("--comparison", metavar="DIR", help="folder of the comparison (the one that the votes name)")
    add_options(parser, Workspace, without=["data", "extra"])
    return parser


def _run_listen(options: Namespace) -> None:
    from experiments.listening.listen import import_command

    workspace = made(Workspace, options)
    votes = [Path(file) for file in options.votes]
    runs = find_runs_folder(workspace.runs)
    import_command(votes, runs, optional_path(options.comparison), workspace.tracking)


def _publish_parser() -> ArgumentParser:
    parser = command_parser(
        "Bring to MLflow what it lacks of the runs in the folder for runs. Every command does so with what MLflow "
        "missed while it did not answer; this one compares everything, also with another server."
    )
    parser.add_argument("folders", nargs="*", default=[], metavar="DIR", help="folders of runs, or around them (all)")
    add_options(parser, Workspace, without=["data", "extra"])
    return parser


def _run_publish(options: Namespace) -> None:
    from experiments.tracking.publish import publish_command

    workspace = made(Workspace, options)
    folders = [Path(folder) for folder in options.folders or ()]
    publish_command(folders, find_runs_folder(workspace.runs), workspace.tracking)


def _ui_parser() -> ArgumentParser:
    parser = command_parser("Open the MLflow page of the runs.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=5000, help="port to listen on (5000)")
    add_options(parser, Workspace, without=["data", "extra", "tracking"])
    return parser


def _run_ui(options: Namespace) -> None:
    from experiments.tracking.ui import serve_ui

    serve_ui(find_runs_folder(made(Workspace, options).runs), options.host, options.port)


def _prepare_parser() -> ArgumentParser:
    return options_parser(
        PrepareOptions,
        "Measure each audio file once and write manifest.csv and rejected.csv. The same command goes on where it was "
        "interrupted, and later measures only what is new.",
    )


def _run_prepare(options: Namespace) -> None:
    from experiments.data.prepare import prepare_command

    prepare_command(made(PrepareOptions, options))


def _fetch_parser() -> ArgumentParser:
    return options_parser(FetchOptions, "Download a public corpus, or continue where it was interrupted.")


def _run_fetch(options: Namespace) -> None:
    from experiments.data.fetch import fetch_command

    fetch_command(made(FetchOptions, options))


def _inspect_parser() -> ArgumentParser:
    return options_parser(InspectOptions, "Print what a corpus holds; draw it as corpus.png and one clip as clip.png.")


def _run_inspect(options: Namespace) -> None:
    from experiments.data.inspect import inspect_command

    inspect_command(made(InspectOptions, options))


def _data_parser() -> ArgumentParser:
    parser = command_parser("Fetch, prepare and inspect corpora.", "overtone data")
    actions = parser.add_subcommands(required=True, dest="action", title="actions")
    for name, (text, action_parser, _) in DATA_ACTIONS.items():
        actions.add_subcommand(name, action_parser(), help=text)
    return parser


def _run_data(options: Namespace) -> None:
    DATA_ACTIONS[options.action][2](options[options.action])


DATA_ACTIONS = {
    "prepare": ("measure a folder or manifest of audio, once", _prepare_parser, _run_prepare),
    "fetch": ("download a public corpus", _fetch_parser, _run_fetch),
    "inspect": ("show what a corpus holds", _inspect_parser, _run_inspect),
}
COMMANDS = {
    "compare": Command(_compare_parser, _run_compare, resumable=True),
    "select": Command(_select_parser, _run_select, resumable=True),
    "sweep": Command(_sweep_parser, _run_sweep, resumable=True),
    "train": Command(_train_parser, _run_train, resumable=True),
    "evaluate": Command(_evaluate_parser, _run_evaluate, resumable=True),
    "diff": Command(_diff_parser, _run_diff),
    "listen": Command(_listen_parser, _run_listen),
    "publish": Command(_publish_parser, _run_publish, resumable=True),
    "ui": Command(_ui_parser, _run_ui),
    "export": Command(_export_parser, _run_export),
    "data": Command(_data_parser, _run_data, resumable=True),
}


if __name__ == "__main__":
    sys.exit(main())
