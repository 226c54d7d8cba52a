"""Commands that train: compare, select, sweep, train."""

from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from experiments.cli.options import add_distribution, add_shared, distribution_of, names, optional_path
from overtone.cli.command import Command

if TYPE_CHECKING:
    from experiments.comparison.compare import CompareOptions


def _compare_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Train a preset's models under one budget and choose by its declared rule.")
    _add_comparison(parser, seeds="the preset's number")
    return parser


def _select_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Train the best settings of each architecture's study with several seeds, choose by the declared "
        "rule, and register the champion. With nothing new, nothing changes."
    )
    _add_comparison(parser, seeds="the preset's number, at least 3")
    parser.add_argument("--storage", metavar="URL", help="database of the studies (optuna.db in the folder for runs)")
    parser.add_argument(
        "--study", nargs="+", default=[], metavar="MODEL=STUDY", help="a study of another name than sweep gives it"
    )
    parser.add_argument(
        "--allow-unequal", action="store_true", help="compare although the studies' budgets differ, and say so"
    )
    parser.add_argument(
        "--rollback", action="store_true", help="train nothing; swap the champion with the previous one"
    )
    return parser


def _add_comparison(parser: ArgumentParser, seeds: str) -> None:
    parser.add_argument("preset", help="name of a preset, or a .yaml file")
    parser.add_argument("--models", help="some of the preset's models: NAME,NAME")
    parser.add_argument("--seeds", type=int, help=f"trainings of each model ({seeds})")
    parser.add_argument("--jobs", type=int, help="trainings side by side (as many as the cores allow)")
    add_distribution(parser, nodes=False)
    add_shared(parser)


def _train_parser() -> ArgumentParser:
    parser = ArgumentParser(description="Train one model of a preset, or continue where it was interrupted.")
    parser.add_argument("model", help="a registered model")
    parser.add_argument("preset", help="name of a preset, or a .yaml file")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order of examples (0)")
    add_distribution(parser)
    add_shared(parser)
    return parser


def _sweep_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Search an architecture's settings under the preset's budget for a trial. The same command, on "
        "this machine or another, joins or continues the study."
    )
    parser.add_argument("model", help="one of the preset's models, or all")
    parser.add_argument("preset", help="name of a preset, or a .yaml file")
    parser.add_argument("--trials", type=int, help="of the study in all; more later continue it (the preset's number)")
    parser.add_argument("--workers", type=int, default=1, help="trials at the same time on this machine (1)")
    parser.add_argument("--storage", metavar="URL", help="database of the studies (optuna.db in the folder for runs)")
    parser.add_argument("--study", metavar="NAME", help="another name of the study")
    parser.add_argument("--side-by-side", action="store_true", help="with all: all studies at the same time")
    parser.add_argument("--launcher", choices=["local", "ray"], default="local", help="where workers run (local)")
    parser.add_argument(
        "--gpus-per-worker", type=float, default=0.0, help="what each worker asks a Ray cluster for (0)"
    )
    add_shared(parser)
    return parser


def _run_sweep(options: Namespace) -> None:
    from experiments.sweep.sweep import SweepOptions, sweep

    changes = SweepOptions(
        trials=options.trials,
        workers=options.workers,
        storage=options.storage,
        study=options.study,
        data=options.data,
        runs=optional_path(options.runs),
        tracking=options.tracking,
        extra=names(options.extra),
        side_by_side=options.side_by_side,
        launcher=options.launcher,
        gpus_per_worker=options.gpus_per_worker,
    )
    sweep(options.model, options.preset, changes)


def _run_compare(options: Namespace) -> None:
    from experiments.comparison.compare import compare

    compare(options.preset, _comparison_options(options))


def _run_select(options: Namespace) -> None:
    from experiments.comparison.select import SelectOptions, roll_back, select

    if options.rollback:
        roll_back(options.preset, optional_path(options.runs), options.tracking)
        return
    changes = SelectOptions(
        comparison=_comparison_options(options),
        storage=options.storage,
        studies=options.study,
        allow_unequal=options.allow_unequal,
    )
    select(options.preset, changes)


def _comparison_options(options: Namespace) -> "CompareOptions":
    from experiments.comparison.compare import CompareOptions

    return CompareOptions(
        models=names(options.models) or None,
        seeds=options.seeds,
        data=options.data,
        runs=optional_path(options.runs),
        tracking=options.tracking,
        jobs=options.jobs,
        extra=names(options.extra),
        distribution=distribution_of(options),
    )


def _run_train(options: Namespace) -> None:
    from experiments.training.requests import TrainRequest
    from experiments.training.train import train_command

    request = TrainRequest(
        model=options.model,
        preset=options.preset,
        seed=options.seed,
        data=options.data,
        runs="",
        tracking=options.tracking,
        extra=names(options.extra),
        distribution=distribution_of(options),
    )
    train_command(request, optional_path(options.runs))


COMMANDS = {
    "compare": Command(_compare_parser, _run_compare, resumable=True),
    "select": Command(_select_parser, _run_select, resumable=True),
    "sweep": Command(_sweep_parser, _run_sweep, resumable=True),
    "train": Command(_train_parser, _run_train, resumable=True),
}
