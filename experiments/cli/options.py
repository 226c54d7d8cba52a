"""Options that many commands have."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import restricted_string_type

from experiments.training.distribution import Distribution

TrackingOption = restricted_string_type(
    "TrackingOption", r"^(mlflow|none|https?://\S+)$", docstring="mlflow, none, or the address of an MLflow server"
)


def add_shared(parser: ArgumentParser) -> None:
    """Add what all commands that train share: corpus, tracking, folder."""
    parser.add_argument("--data", help="corpus: folder or manifest of audio (the preset's own)")
    parser.add_argument("--extra", help="further splits of the manifest that join train: NAME,NAME")
    add_tracking(parser)


def add_tracking(parser: ArgumentParser) -> None:
    """Add where runs are kept and the folder for them."""
    parser.add_argument(
        "--tracking",
        type=TrackingOption,
        default="mlflow",
        metavar="{mlflow,none,URL}",
        help="where runs are kept: mlflow in the folder for runs, none, or the http://HOST:PORT of an MLflow server "
        "(MLFLOW_TRACKING_URI is not read) (mlflow)",
    )
    add_runs(parser)


def add_distribution(parser: ArgumentParser, nodes: bool = True) -> None:
    """Add over how many processes a training is spread, and on which machines."""
    parser.add_argument("--devices", type=int, default=1, help="processes of a training on each machine (1)")
    if nodes:
        parser.add_argument("--num-nodes", type=int, default=1, help="machines of a training (1)")
    parser.add_argument(
        "--strategy", default="auto", help="auto, ddp, ddp_find_unused_parameters_true or _false (auto)"
    )
    parser.add_argument("--accelerator", default="auto", help="auto, cpu, gpu, cuda or mps (auto)")


def distribution_of(options: Namespace) -> Distribution:
    """Return what the options of `add_distribution` say."""
    nodes = options.num_nodes if "num_nodes" in options else 1
    return Distribution(options.devices, nodes, options.strategy, options.accelerator)


def add_runs(parser: ArgumentParser) -> None:
    """Add the folder for runs."""
    parser.add_argument("--runs", help="folder for runs (mlruns beside the nearest pyproject.toml, else here)")


def optional_path(value: str | None) -> Path | None:
    """Return an option that names a file or folder as a path."""
    return None if value is None else Path(value)


def names(value: str | None) -> tuple[str, ...]:
    """Return the parts of NAME,NAME."""
    return () if value is None else tuple(name.strip() for name in value.split(","))
