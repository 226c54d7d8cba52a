"""The command that makes models usable without torch: export."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from experiments.cli.options import add_runs, names, optional_path
from overtone.cli.command import Command


def _export_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Write a model as a folder that runs without torch: ONNX graph, configuration, card, checksums, "
        "and the proof that it is the same model."
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder; replaced when it is an exported model")
    parser.add_argument("--preset", help="whose champion; with --checkpoint, what that was trained for")
    parser.add_argument("--checkpoint", metavar="FILE", help="a file of weights instead of a champion")
    parser.add_argument("--data", help="training corpus: real speech for the proof, licences for the card")
    parser.add_argument("--extra", help="further splits of the manifest that had joined train: NAME,NAME")
    add_runs(parser)
    return parser


def _run_export(options: Namespace) -> None:
    from experiments.export.export import export_command

    export_command(
        Path(options.out),
        options.preset,
        optional_path(options.checkpoint),
        optional_path(options.runs),
        options.data,
        names(options.extra),
    )


COMMANDS = {"export": Command(_export_parser, _run_export)}
