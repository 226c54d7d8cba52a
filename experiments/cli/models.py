"""The command that makes models usable without torch: export."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from experiments.cli.options import add_options, command_parser, made, optional_path
from experiments.runs import Workspace
from overtone.cli.command import Command


def _export_parser() -> ArgumentParser:
    parser = command_parser(
        description="Write a model as a folder that runs without torch: ONNX graph, configuration, card, checksums, "
        "and the proof that it is the same model. The training corpus, where it is named, gives real speech for the "
        "proof and licences for the card."
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


COMMANDS = {"export": Command(_export_parser, _run_export)}
