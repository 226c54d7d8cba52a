"""Folders of audio that belong together: which file is whose counterpart, and what their headers say."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from datamodules.corpora.manifest import READABLE_SUFFIXES, scan, speaker_pattern
from experiments.scoring.alignment import Delay, excess_seconds
from models.baselines import CONTROLS
from overtone.audio import AudioError
from overtone.audio_files.recordings import Recording
from overtone.errors import OvertoneError

SHOWN = 3  # names in a message; the others are counted

Files = dict[str, str]


@dataclass
class Counterparts:
    """A folder's files that belong to references.

    Attributes:
        name: of the system, or the option that named the folder.
        folder: its path.
        files: paths by the reference's name.
        missing: names of references without one.
        extra: names of files without a reference.
        delay: by how much they are later than their references; None where none was found.
        removed: whether that delay is taken off.
    """

    name: str
    folder: Path
    files: Files
    missing: list[str]
    extra: list[str]
    delay: Delay | None = None
    removed: bool = False

    @property
    def delay_seconds(self) -> float:
        """How much is taken off their beginning."""
        return self.delay.seconds if self.removed and self.delay is not None else 0.0


def named_folders(estimates: Sequence[str]) -> dict[str, Path]:
    """Read ``NAME=DIR`` of each system.

    Raises:
        OvertoneError: one is malformed, comes twice, or is called like a control.
    """
    folders: dict[str, Path] = {}
    for estimate in estimates:
        name, _, folder = (part.strip() for part in estimate.partition("="))
        if not name or not folder:
            raise OvertoneError(f"--estimate: expected NAME=DIR, got {estimate!r}.")
        if name in folders:
            raise OvertoneError(f"--estimate: expected each name once, got {name!r} twice.")
        if name in CONTROLS:
            raise OvertoneError(f"--estimate: {name!r} is the name of a control. Choose another.")
        folders[name] = Path(folder)
    return folders


def reference_files(folder: Path, without: Collection[Path] = ()) -> Files:
    """Return the audio files below a folder by name, in order of these; hidden ones are left out.

    A file's name is its stem, or, where two files share one, every file's path below the folder without suffix.

    Args:
        folder: the references.
        without: folders below it that hold something else.

    Raises:
        OvertoneError: it is no folder, holds no audio, or two files differ by their suffix only.
    """
    paths = _audio(folder, without)
    unique = len({Path(path).stem for path in paths}) == len(paths)
    files: Files = {}
    for path in paths:
        name = _name(path, None if unique else folder)
        if name in files:
            raise OvertoneError(f"{path} and {files[name]} share a name, by which files are paired. Rename one.")
        files[name] = path
    return dict(sorted(files.items()))


def counterparts(name: str, folder: Path, references: Files, without: Collection[Path] = ()) -> Counterparts:
    """Pair a folder's files with the references by their names: by stem, unless the references are named by path.

    Args:
        name: of the system, or the option that named the folder.
        folder: where its files are.
        references: their paths by name.
        without: folders below it that hold something else.

    Raises:
        OvertoneError: it is no folder, holds no audio, none of a reference, or two of the same reference.
    """
    by_stem = all(Path(path).stem == item for item, path in references.items())
    found: Files = {}
    for path in _audio(folder, [one for one in without if one != folder.resolve()]):
        item = _name(path, None if by_stem else folder)
        if item in found and item in references:
            raise OvertoneError(
                f"{name}: {found[item]} and {path} share a {'stem' if by_stem else 'path'}, by which files are paired: "
                f"both could belong to {references[item]}. Rename one."
            )
        found[item] = path
    files = {item: found[item] for item in references if item in found}
    if not files:
        raise OvertoneError(
            f"{name}: none of the files in {folder} has the name of a reference, such as {next(iter(references))!r}."
        )
    missing = [item for item in references if item not in found]
    return Counterparts(name, folder, files, missing, sorted(found.keys() - files.keys()))


def _audio(folder: Path, without: Collection[Path]) -> list[str]:
    if not folder.is_dir():
        raise OvertoneError(f"{folder}: no such folder.")
    below = [other for other in without if folder.resolve() in other.parents]
    paths = [listed.path for listed in scan(folder)]
    if below:
        paths = [path for path in paths if not any(other in path.resolve().parents for other in below)]
    if not paths:
        raise OvertoneError(f"{folder}: expected audio ({', '.join(sorted(READABLE_SUFFIXES))}), found none.")
    return sorted(map(str, paths))


def _name(path: str, below: Path | None) -> str:
    """A file's stem, or its path below a folder without suffix."""
    return Path(path).stem if below is None else Path(path).relative_to(below).with_suffix("").as_posix()


def speakers_of(references: Files, folder: Path, pattern: str) -> dict[str, str]:
    """Return the speaker of each reference by the reference's name.

    Args:
        references: paths by name.
        folder: that holds them.
        pattern: finds the speaker in a path below the folder.

    Raises:
        OvertoneError: the pattern is none, or does not match a file.
    """
    find = speaker_pattern(pattern)
    speakers = {}
    for name, path in references.items():
        speaker = find(Path(path).relative_to(folder).as_posix())
        if speaker is None:
            raise OvertoneError(f"--speaker-pattern {pattern!r}: finds no speaker in {path}.")
        speakers[name] = speaker
    return speakers


@dataclass(frozen=True)
class Header:
    """The header of an audio file.

    Attributes:
        path: of the file.
        rate: in Hz.
        frames: its length in samples of one channel; more than 0.
        channels: how many.
    """

    path: str
    rate: int
    frames: int
    channels: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.frames / self.rate

    def __str__(self) -> str:
        return f"{self.seconds:.3f} s ({self.frames} samples at {self.rate} Hz)"


def read_header(path: str) -> Header | None:
    """Return a file's header, None where it is not readable as audio or holds no samples."""
    try:
        with Recording(Path(path)) as audio:
            frames = audio.frames if audio.frames is not None else sum(map(len, audio.blocks(audio.rate)))
    except (AudioError, OSError):
        return None
    return Header(path, audio.rate, frames, audio.channels) if frames else None


def inspect(
    references: Files,
    folders: Sequence[Counterparts],
    cutoff_hz: float | None,
    tolerance_seconds: float,
    progress: Callable[[int, int], None],
) -> list[str]:
    """Read every header once, before hours of scoring; return what has to be said about the files.

    Args:
        references: paths by name.
        folders: the systems' files and the inputs.
        cutoff_hz: where the input's own content ends; None where it is not known.
        tolerance_seconds: by how much lengths may differ.
        progress: called with how many of how many files are checked.

    Raises:
        OvertoneError: a reference is not readable, ``cutoff_hz`` is not below a reference's Nyquist frequency, or the
            length of a file differs from its reference's by more than is cut off.
    """
    total = len(references) + sum(len(folder.files) for folder in folders)
    expected: dict[str, Header] = {}
    for name, path in references.items():
        header = read_header(path)
        if header is None:
            raise OvertoneError(f"{path}: not readable as audio, or without samples. Replace it, or remove it.")
        if cutoff_hz is not None and not 0 < cutoff_hz < header.rate / 2:
            raise OvertoneError(
                f"--cutoff-hz: expected more than 0 and less than {header.rate / 2:g}, half the sample rate of "
                f"{path}, got {cutoff_hz:g}."
            )
        expected[name] = header
        progress(len(expected), total)
    lines, done = [], len(expected)
    for folder in folders:
        pairs = []
        for name, path in folder.files.items():
            pairs.append((read_header(path), expected[name]))
            progress(done := done + 1, total)
        lines += [f"{folder.name}: {line}." for line in _remarks(folder, pairs, tolerance_seconds)]
    return lines


def _remarks(
    folder: Counterparts, pairs: Sequence[tuple[Header | None, Header]], tolerance_seconds: float
) -> Iterator[str]:
    """Yield what the user should know of a folder's headers beside those of the references."""
    readable = [(header, expected) for header, expected in pairs if header is not None]
    excesses = []
    misfits = []
    for header, expected in readable:
        sample = 1 / min(header.rate, expected.rate)
        excess = excess_seconds(header.seconds, expected.seconds, folder.delay_seconds)
        if excess > tolerance_seconds + sample:
            misfits.append(f"{header.path} lasts {header}, its reference {expected.path} {expected}")
        elif excess >= 0.999 * sample:
            excesses.append(excess)
    if misfits:
        raise OvertoneError(_misfit(folder, misfits, tolerance_seconds))
    count = len(pairs)
    if folder.missing:
        yield f"{len(folder.missing)} references have no file and are left out ({some(folder.missing)})"
    if folder.extra:
        yield f"{len(folder.extra)} files have no reference and are left out ({some(folder.extra)})"
    for rate, files in sorted(
        Counter(header.rate for header, expected in readable if header.rate != expected.rate).items()
    ):
        yield (
            f"{files} of {count} files have {rate} Hz and are resampled to their reference's rate; what a "
            f"reference holds above {rate / 2:g} Hz is missing from them, what they hold above its band is not "
            "judged"
        )
    for channels, files in sorted(Counter(header.channels for header, _ in readable if header.channels > 1).items()):
        yield f"{files} of {count} files have {channels} channels, which are averaged"
    if folder.delay is not None and (line := delay_line(folder.delay, folder.removed)):
        yield line
    if excesses:
        yield (
            f"{len(excesses)} of {count} files differ in length from their reference, by up to "
            f"{1000 * max(excesses):.3g} ms; only what both have is scored"
        )
    if broken := [path for path, (header, _) in zip(folder.files.values(), pairs, strict=True) if header is None]:
        yield f"{len(broken)} files are not readable and fail in every score ({some(broken)})"


def _misfit(folder: Counterparts, misfits: Sequence[str], tolerance_seconds: float) -> str:
    """Say which file's length differs from its reference's by more than is cut off, and what would help."""
    delay, advice = folder.delay, ""
    others = f" ({len(misfits)} of {len(folder.files)} files do not fit)" if len(misfits) > 1 else ""
    if delay is not None and not delay.constant:
        advice = f"its delay is not constant ({delay.span}), which --align needs; "
    elif delay is not None and delay.seconds and not folder.removed:
        advice = "--align removes its constant delay; "
    return (
        f"{folder.name}: {misfits[0]}{others}. Up to {1000 * tolerance_seconds:g} ms are cut off: {advice}"
        "--length-tolerance permits more."
    )


def delay_line(delay: Delay, removed: bool) -> str:
    """Say by how much a system's files are late; "" where they are not.

    Args:
        delay: of the files.
        removed: whether it is taken off.
    """
    milliseconds = f"{abs(1000 * delay.seconds):.4g} ms"
    if not delay.constant:
        return f"no constant delay ({delay.span}): files are scored as they are"
    if not delay.seconds:
        return ""
    if removed:
        sign = "-" if delay.seconds < 0 else ""
        return f"a constant delay of {sign}{milliseconds} is removed ({delay.span})"
    late = "late" if delay.seconds > 0 else "early"
    return f"is {milliseconds} {late} ({delay.span}), which costs scores; --align removes it"


def some(names: Sequence[str]) -> str:
    """Write the first few of many names."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
