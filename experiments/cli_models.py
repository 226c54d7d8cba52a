"""Commands that use models: enhance."""

from jsonargparse import ArgumentParser, Namespace

from experiments.cli_options import Command, optional_path


def _enhance_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Enhance audio files: low-quality speech in, 48 kHz speech out. What the input already holds stays "
        "as it is. Folders are searched, their structure is kept; the same command goes on where it was interrupted."
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="files, folders, patterns such as 'talks/**/*.mp3', or - for a pipe"
    )
    parser.add_argument("--out", required=True, metavar="FILE_OR_DIR", help="a file for one file, a folder, or -")
    parser.add_argument(
        "--profile",
        choices=["fullband", "telephone"],
        default="fullband",
        help="packed model: to 48 or 16 kHz (fullband)",
    )
    parser.add_argument("--model", metavar="DIR", help="an exported model instead of a packed one")
    parser.add_argument(
        "--denoise", action="store_true", help="let the model change what the input already holds as well"
    )
    parser.add_argument(
        "--stream", action="store_true", help="work in blocks of 10 ms, and say how late and fast it is"
    )
    parser.add_argument(
        "--format",
        metavar="NAME",
        help="wav, flac, aiff, caf, w64, au, ogg, opus or mp3 (the input's; FLAC for lossy ones)",
    )
    parser.add_argument("--rate", type=int, metavar="HZ", help="sample rate of the output (the model's)")
    parser.add_argument("--jobs", type=int, metavar="N", help="processes (one per core)")
    parser.add_argument("--overwrite", action="store_true", help="make outputs that exist again")
    parser.add_argument("--raw-rate", type=int, metavar="HZ", help="standard input is bare samples at this rate")
    parser.add_argument("--raw-channels", type=int, default=1, metavar="N", help="of bare samples (1)")
    parser.add_argument(
        "--raw-format", choices=["s16", "s24", "s32", "f32"], default="s16", help="of bare samples, little-endian (s16)"
    )
    return parser


def _run_enhance(options: Namespace) -> None:
    from experiments.enhance import EnhanceOptions, enhance
    from experiments.enhance_pipe import RawAudio

    raw = RawAudio(options.raw_rate, options.raw_channels, options.raw_format) if options.raw_rate else None
    how = EnhanceOptions(
        profile=options.profile,
        model=optional_path(options.model),
        denoise=options.denoise,
        stream=options.stream,
        format=options.format,
        rate=options.rate,
        jobs=options.jobs,
        overwrite=options.overwrite,
        raw=raw,
    )
    enhance(options.inputs, options.out, how)


COMMANDS = {
    "enhance": Command("enhance audio files", _enhance_parser, _run_enhance, resumable=True),
}
