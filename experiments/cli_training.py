"""Commands that train: compare, train."""

from jsonargparse import ArgumentParser, Namespace

from experiments.cli_options import Command, add_shared, names, optional_path


def _compare_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Train a preset's models under one budget and choose by its declared rule.")
    parser.add_argument("preset", help="name of a preset, or a .yaml file")
    parser.add_argument("--models", help="some of the preset's models: NAME,NAME")
    parser.add_argument("--seeds", type=int, help="trainings of each model (the preset's number)")
    parser.add_argument("--jobs", type=int, help="trainings side by side (as many as the cores allow)")
    add_shared(parser)
    return parser


def _train_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Train one model of a preset, or continue where it was interrupted.")
    parser.add_argument("model", help="a registered model")
    parser.add_argument("preset", help="name of a preset, or a .yaml file")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order of examples (0)")
    add_shared(parser)
    return parser


def _run_compare(options: Namespace) -> None:
    from experiments.compare import CompareOptions, compare

    changes = CompareOptions(
        models=names(options.models) or None,
        seeds=options.seeds,
        data=options.data,
        runs=optional_path(options.runs),
        tracking=options.tracking,
        jobs=options.jobs,
        extra=names(options.extra),
    )
    compare(options.preset, changes)


def _run_train(options: Namespace) -> None:
    from experiments.train import train_command

    train_command(
        options.model,
        options.preset,
        options.seed,
        options.data,
        optional_path(options.runs),
        options.tracking,
        extra=names(options.extra),
    )


COMMANDS = {
    "compare": Command(
        "train, evaluate, choose and register a champion", _compare_parser, _run_compare, resumable=True
    ),
    "train": Command("train one model of a preset", _train_parser, _run_train, resumable=True),
}
