"""Commands that need nothing but this distribution: enhance, serve, live."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from overtone.cli.command import Command
from overtone.packed_models import PROFILES


def _add_model(parser: ArgumentParser, profile: str = "fullband") -> None:
    parser.add_argument(
        "--profile",
        choices=list(PROFILES),
        default=profile,
        help="packed model: fullband or live to 48 kHz, 32 or 16 ms late, or telephone from 8 to 16 kHz (%(default)s)",
    )
    parser.add_argument("--model", metavar="DIR", type=Path, help="an exported model instead of a packed one")


def _add_denoise(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--denoise", action="store_true", help="let the model change what the input already holds as well"
    )


def _enhance_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Enhance audio files: low-quality speech in, 48 kHz speech out. What the input already holds stays "
        "as it is. Folders are searched, their structure is kept; the same command goes on where it was interrupted."
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="files, folders, patterns such as 'talks/**/*.mp3', or - for a pipe"
    )
    parser.add_argument("--out", required=True, metavar="FILE_OR_DIR", help="a file for one file, a folder, or -")
    _add_model(parser)
    _add_denoise(parser)
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
        "--raw-format",
        choices=["s16", "s24", "s32", "f32", "u8", "mulaw", "alaw"],
        default="s16",
        help="of bare samples, little-endian (s16); what has 8 bits comes out as s16",
    )
    return parser


def _run_enhance(options: Namespace) -> None:
    from overtone.enhance.enhance import EnhanceOptions, enhance
    from overtone.enhance.pipe import RawAudio

    raw = RawAudio(options.raw_rate, options.raw_channels, options.raw_format) if options.raw_rate else None
    how = EnhanceOptions(
        profile=options.profile,
        model=options.model,
        denoise=options.denoise,
        stream=options.stream,
        format=options.format,
        rate=options.rate,
        jobs=options.jobs,
        overwrite=options.overwrite,
        raw=raw,
    )
    enhance(options.inputs, options.out, how)


def _serve_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Serve a page on which one records or drops speech and hears it enhanced, and an HTTP and "
        "WebSocket interface for programs. There is no login: other machines are served only with --host."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on, 0 for any free one (8000)")
    parser.add_argument(
        "--public-url", default="", metavar="URL", help="of a reverse proxy before it, such as https://speech.example"
    )
    _add_model(parser)
    return parser


def _run_serve(options: Namespace) -> None:
    from overtone.packed_models import default_model
    from overtone.serve.serve import serve

    serve(options.model or default_model(options.profile), options.host, options.port, public_url=options.public_url)


def _live_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Enhance live: from a microphone or any other input device to any output device, such as a virtual "
        "cable that a call takes for its microphone. Space switches between enhanced and original, at the same delay; "
        "q or Ctrl-C ends. A device that goes away is waited for."
    )
    parser.add_argument("--list", action="store_true", help="show the sound devices and end")
    parser.add_argument("--input", metavar="DEVICE", help="number or part of the name (the system's default)")
    parser.add_argument("--output", metavar="DEVICE", help="the same for the output")
    _add_model(parser, profile="live")
    _add_denoise(parser)
    parser.add_argument(
        "--buffer", type=float, metavar="MS", help="of each device: more is safer and later (the least it offers)"
    )
    return parser


def _run_live(options: Namespace) -> None:
    from overtone.live.live import LiveOptions, live, show_devices

    if options.list:
        show_devices()
        return
    how = LiveOptions(
        input=options.input,
        output=options.output,
        profile=options.profile,
        model=options.model,
        denoise=options.denoise,
        buffer_seconds=options.buffer / 1000 if options.buffer else None,
    )
    live(how)


COMMANDS = {
    "enhance": Command(
        _enhance_parser, _run_enhance, resumable=True, example="overtone enhance old.mp3 --out new.flac"
    ),
    "serve": Command(_serve_parser, _run_serve, extra="serve"),
    "live": Command(_live_parser, _run_live, extra="live"),
}
HELP = {
    "enhance": "enhance audio files",
    "serve": "open a page that enhances recordings and live speech",
    "live": "enhance from a microphone to an output device",
}
