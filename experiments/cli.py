"""The command line: torch and MLflow are imported by the command that needs them, so that help answers at once."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from runtime.errors import OvertoneError, in_words

INTERRUPTED = 130
RESUMABLE = ("compare", "train", "evaluate", "data prepare")
KINDS = ("speech", "noise", "music", "impulse_response")


def build_parser() -> ArgumentParser:
    """Return the parser of all commands."""
    parser = ArgumentParser(prog="overtone", description="Compare speech super-resolution architectures honestly.")
    commands = parser.add_subcommands(required=True, dest="command", title="commands")
    commands.add_subcommand("compare", _compare_parser(), help="train, evaluate, choose and register a champion")
    commands.add_subcommand("train", _train_parser(), help="train one model of a preset")
    commands.add_subcommand("evaluate", _evaluate_parser(), help="score folders of audio against a reference")
    commands.add_subcommand("listen", _listen_parser(), help="take in the votes of a listening test")
    data = ArgumentParser(description="Fetch, prepare and inspect corpora.")
    commands.add_subcommand("data", data, help="fetch, prepare and inspect corpora")
    commands.add_subcommand("ui", _ui_parser(), help="browse runs in MLflow")
    # Inner subcommands come last: jsonargparse wants a level complete before the next one starts.
    actions = data.add_subcommands(required=True, dest="action", title="actions")
    actions.add_subcommand("prepare", _prepare_parser(), help="measure a folder or manifest of audio, once")
    actions.add_subcommand("fetch", _fetch_parser(), help="download a public corpus")
    actions.add_subcommand("inspect", _inspect_parser(), help="show what a corpus holds")
    return parser


def _compare_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Train a preset's models under one budget and choose by its declared rule.")
    parser.add_argument("preset", help="name of a preset, or a .yaml file")
    parser.add_argument("--models", help="some of the preset's models: NAME,NAME")
    parser.add_argument("--seeds", type=int, help="trainings of each model (the preset's number)")
    parser.add_argument("--jobs", type=int, help="trainings side by side (as many as the cores allow)")
    _add_shared(parser)
    return parser


def _train_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Train one model of a preset, or continue where it was interrupted.")
    parser.add_argument("model", help="a registered model")
    parser.add_argument("preset", help="name of a preset, or a .yaml file")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order of examples (0)")
    _add_shared(parser)
    return parser


def _add_shared(parser: ArgumentParser) -> None:
    parser.add_argument("--data", help="corpus: folder or manifest of audio (the preset's own)")
    parser.add_argument("--extra", help="further splits of the manifest that join train: NAME,NAME")
    parser.add_argument("--tracking", choices=["mlflow", "none"], default="mlflow", help="where runs are kept (mlflow)")
    _add_runs(parser)


def _add_runs(parser: ArgumentParser) -> None:
    parser.add_argument("--runs", help="folder for runs (mlruns beside the nearest pyproject.toml, else here)")


def _evaluate_parser() -> ArgumentParser:
    parser = ArgumentParser(
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
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (all cores)")
    return parser


def _listen_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Add the votes of a listening test to its comparison's leaderboard and runs.")
    parser.add_argument(
        "--import",
        dest="votes",
        required=True,
        nargs="+",
        metavar="FILE",
        help="votes, as the test's page exports them",
    )
    parser.add_argument("--comparison", metavar="DIR", help="folder of the comparison (the one that the votes name)")
    parser.add_argument("--tracking", choices=["mlflow", "none"], default="mlflow", help="where runs are kept (mlflow)")
    _add_runs(parser)
    return parser


def _prepare_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Measure each audio file once and write manifest.csv and rejected.csv. The same command goes on "
        "where it was interrupted, and later measures only what is new."
    )
    parser.add_argument("source", metavar="DIR_OR_MANIFEST", help="folder, or manifest (.csv, .parquet)")
    parser.add_argument("--out", required=True, metavar="DIR", help="where the manifest goes; audio is not copied")
    parser.add_argument(
        "--speaker-pattern",
        metavar="PATTERN",
        help="finds the speaker in a path: a regular expression with (?P<speaker>...), or a template such as "
        "{corpus}/{speaker}/*.wav (the manifest's column, else the name of the folder)",
    )
    parser.add_argument("--licence", metavar="TEXT", help="of files for which the manifest says none")
    parser.add_argument("--kind", choices=KINDS, default="speech", help="of files for which it says none (speech)")
    parser.add_argument("--jobs", type=int, help="processes (all cores)")
    return parser


def _fetch_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Download a public corpus, or continue where it was interrupted.")
    parser.add_argument("name", metavar="NAME", help="name of a corpus; 'list' shows them")
    parser.add_argument("--out", default=".", metavar="DIR", help="folder for corpora (this one)")
    parser.add_argument("--dry-run", action="store_true", help="show files, sizes and licence, download nothing")
    parser.add_argument("--keep-archives", action="store_true", help="keep what was downloaded after unpacking it")
    parser.add_argument("--mirror", metavar="NAME_OR_URL", help="where to download from first")
    return parser


def _inspect_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Print what a corpus holds; draw it as corpus.png and one clip as clip.png.")
    parser.add_argument("source", metavar="DIR_OR_MANIFEST", help="folder, or manifest (.csv, .parquet)")
    parser.add_argument("--clip", metavar="FILE", help="the clip to draw (a typical one)")
    parser.add_argument("--condition-preset", metavar="NAME", help="draw this preset's test conditions")
    parser.add_argument("--out", metavar="DIR", help="folder for the pictures (the manifest's)")
    return parser


def _ui_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Open the MLflow page of the runs.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=5000, help="port to listen on (5000)")
    _add_runs(parser)
    return parser


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value)


def _names(value: str | None) -> tuple[str, ...]:
    return () if value is None else tuple(name.strip() for name in value.split(","))


def _run_compare(options: Namespace) -> None:
    from experiments.compare import CompareOptions, compare

    changes = CompareOptions(
        models=_names(options.models) or None,
        seeds=options.seeds,
        data=options.data,
        runs=_path(options.runs),
        tracking=options.tracking,
        jobs=options.jobs,
        extra=_names(options.extra),
    )
    compare(options.preset, changes)


def _run_train(options: Namespace) -> None:
    from experiments.train import train_command

    train_command(
        options.model,
        options.preset,
        options.seed,
        options.data,
        _path(options.runs),
        options.tracking,
        extra=_names(options.extra),
    )


def _run_evaluate(options: Namespace) -> None:
    from experiments.evaluate import EvaluateOptions, evaluate

    how = EvaluateOptions(
        narrowband=_path(options.narrowband),
        cutoff_hz=options.cutoff_hz,
        measures=_names(options.measures) or None,
        workers=options.workers,
        align=options.align,
        length_tolerance_ms=options.length_tolerance,
        missing=options.missing,
        speaker_pattern=options.speaker_pattern,
    )
    evaluate(Path(options.reference), options.estimate, Path(options.out), how)


def _run_listen(options: Namespace) -> None:
    from experiments.listening import import_command
    from experiments.runs import find_runs_folder

    votes = [Path(file) for file in options.votes]
    import_command(votes, find_runs_folder(_path(options.runs)), _path(options.comparison), options.tracking)


def _run_data(options: Namespace) -> None:
    DATA_ACTIONS[options.action](options[options.action])


def _run_prepare(options: Namespace) -> None:
    from experiments.data_preparation import prepare_command

    prepare_command(
        Path(options.source), Path(options.out), options.speaker_pattern, options.licence, options.kind, options.jobs
    )


def _run_fetch(options: Namespace) -> None:
    from experiments.data_fetch import fetch_command

    fetch_command(options.name, Path(options.out), options.dry_run, options.keep_archives, options.mirror)


def _run_inspect(options: Namespace) -> None:
    from experiments.data_inspection import inspect_command

    inspect_command(Path(options.source), _path(options.clip), options.condition_preset, _path(options.out))


def _run_ui(options: Namespace) -> None:
    from experiments.runs import find_runs_folder
    from experiments.ui import serve_ui

    serve_ui(find_runs_folder(_path(options.runs)), options.host, options.port)


COMMANDS: dict[str, Any] = {
    "compare": _run_compare,
    "train": _run_train,
    "evaluate": _run_evaluate,
    "listen": _run_listen,
    "data": _run_data,
    "ui": _run_ui,
}
DATA_ACTIONS: dict[str, Any] = {"prepare": _run_prepare, "fetch": _run_fetch, "inspect": _run_inspect}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, 1 after a user's mistake, 130 after Ctrl-C."""
    options = build_parser().parse_args(arguments)
    try:
        COMMANDS[options.command](options[options.command])
    except OvertoneError as error:
        print(f"overtone: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        action = options[options.command].get("action")
        resumable = " ".join(filter(None, (options.command, action))) in RESUMABLE
        print(f"\novertone: stopped.{' The same command continues where it was.' * resumable}", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        print(f"overtone: {in_words(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
