"""What `overtone data` does: prepare, fetch, inspect."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from experiments.cli.options import command_parser, optional_path
from overtone.cli.command import Command

KINDS = ("speech", "noise", "music", "impulse_response")


def _prepare_parser() -> ArgumentParser:
    parser = command_parser(
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
    parser.add_argument("--overwrite", action="store_true", help="replace a manifest that was not prepared here")
    return parser


def _fetch_parser() -> ArgumentParser:
    parser = command_parser(description="Download a public corpus, or continue where it was interrupted.")
    parser.add_argument("name", metavar="NAME", help="name of a corpus; 'list' shows them")
    parser.add_argument("--out", default=".", metavar="DIR", help="folder for corpora (this one)")
    parser.add_argument("--dry-run", action="store_true", help="show files, sizes and licence, download nothing")
    parser.add_argument("--keep-archives", action="store_true", help="keep what was downloaded after unpacking it")
    parser.add_argument("--mirror", metavar="NAME_OR_URL", help="where to download from first")
    return parser


def _inspect_parser() -> ArgumentParser:
    parser = command_parser(description="Print what a corpus holds; draw it as corpus.png and one clip as clip.png.")
    parser.add_argument("source", metavar="DIR_OR_MANIFEST", help="folder, or manifest (.csv, .parquet)")
    parser.add_argument("--clip", metavar="FILE", help="the clip to draw (a typical one)")
    parser.add_argument("--condition-preset", metavar="NAME", help="draw this preset's test conditions")
    parser.add_argument("--out", metavar="DIR", help="folder for the pictures (the manifest's)")
    return parser


def _run_prepare(options: Namespace) -> None:
    from experiments.data.prepare import prepare_command

    prepare_command(
        Path(options.source),
        Path(options.out),
        options.speaker_pattern,
        options.licence,
        options.kind,
        options.jobs,
        overwrite=options.overwrite,
    )


def _run_fetch(options: Namespace) -> None:
    from experiments.data.fetch import fetch_command

    fetch_command(options.name, Path(options.out), options.dry_run, options.keep_archives, options.mirror)


def _run_inspect(options: Namespace) -> None:
    from experiments.data.inspect import inspect_command

    inspect_command(
        Path(options.source), optional_path(options.clip), options.condition_preset, optional_path(options.out)
    )


def _parser() -> ArgumentParser:
    parser = command_parser(prog="overtone data", description="Fetch, prepare and inspect corpora.")
    actions = parser.add_subcommands(required=True, dest="action", title="actions")
    for name, (text, action_parser, _) in ACTIONS.items():
        actions.add_subcommand(name, action_parser(), help=text)
    return parser


def _run(options: Namespace) -> None:
    ACTIONS[options.action][2](options[options.action])


ACTIONS = {
    "prepare": ("measure a folder or manifest of audio, once", _prepare_parser, _run_prepare),
    "fetch": ("download a public corpus", _fetch_parser, _run_fetch),
    "inspect": ("show what a corpus holds", _inspect_parser, _run_inspect),
}
COMMANDS = {"data": Command(_parser, _run, resumable=True)}
