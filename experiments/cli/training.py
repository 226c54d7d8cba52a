"""Commands that train: compare, select, sweep, train."""

from jsonargparse import ArgumentParser, Namespace

from experiments.cli.options import add_options, command_parser, made
from experiments.comparison.options import CompareOptions, SelectOptions
from experiments.sweep.options import SweepOptions
from experiments.training.requests import TrainRequest
from overtone.cli.command import Command

PRESET = "name of a preset, or a .yaml file"


def _compare_parser() -> ArgumentParser:
    parser = command_parser(description="Train a preset's models under one budget and choose by its declared rule.")
    parser.add_argument("preset", help=PRESET)
    add_options(parser, CompareOptions, without=["num_nodes"])
    return parser


def _select_parser() -> ArgumentParser:
    parser = command_parser(
        description="Train the best settings of each architecture's study with several seeds, choose by the declared "
        "rule, and register the champion. With nothing new, nothing changes."
    )
    parser.add_argument("preset", help=PRESET)
    add_options(parser, SelectOptions, without=["num_nodes"])
    parser.add_argument(
        "--rollback", action="store_true", help="train nothing; swap the champion with the previous one"
    )
    return parser


def _train_parser() -> ArgumentParser:
    parser = command_parser(description="Train one model of a preset, or continue where it was interrupted.")
    add_options(parser, TrainRequest)
    return parser


def _sweep_parser() -> ArgumentParser:
    parser = command_parser(
        description="Search an architecture's settings under the preset's budget for a trial. The same command, on "
        "this machine or another, joins or continues the study."
    )
    parser.add_argument("model", help="one of the preset's models, or all")
    parser.add_argument("preset", help=PRESET)
    add_options(parser, SweepOptions)
    return parser


def _run_sweep(options: Namespace) -> None:
    from experiments.sweep.sweep import sweep

    sweep(options.model, options.preset, made(SweepOptions, options))


def _run_compare(options: Namespace) -> None:
    from experiments.comparison.compare import compare

    compare(options.preset, made(CompareOptions, options))


def _run_select(options: Namespace) -> None:
    from experiments.comparison.select import roll_back, select

    changes = made(SelectOptions, options)
    if options.rollback:
        roll_back(options.preset, changes.comparison.workspace)
    else:
        select(options.preset, changes)


def _run_train(options: Namespace) -> None:
    from experiments.training.train import train_command

    train_command(made(TrainRequest, options))


COMMANDS = {
    "compare": Command(_compare_parser, _run_compare, resumable=True),
    "select": Command(_select_parser, _run_select, resumable=True),
    "sweep": Command(_sweep_parser, _run_sweep, resumable=True),
    "train": Command(_train_parser, _run_train, resumable=True),
}
