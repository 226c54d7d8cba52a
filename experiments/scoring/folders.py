"""Folders of audio that belong together: which file is whose counterpart, and what their headers say."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
        extra: files without a reference, by path below the folder without suffix.
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
    unique = max(Counter(Path(path).stem for path in paths).values()) == 1
    files: Files = {}
    for path in paths:
        name = Path(path).stem if unique else _relative(path, folder)
        if name in files:
            raise OvertoneError(f"{path} and {files[name]} share a name, by which files are paired. Rename one.")
        files[name] = path
    return dict(sorted(files.items()))


def counterparts(
    name: str, folder: Path, reference: Path, references: Files, without: Collection[Path] = ()
) -> Counterparts:
    """Pair a folder's files with the references, by stem, or by path without suffix where stems are ambiguous.

    Args:
        name: of the system, or the option that named the folder.
        folder: where its files are.
        reference: folder of the references.
        references: their paths by name.
        without: folders below it that hold something else.

    Raises:
        OvertoneError: it is no folder, holds no audio, none of a reference, or two of the same reference.
    """
    by_path: dict[str, list[str]] = {}
    by_stem: dict[str, list[str]] = {}
    for path in _audio(folder, [one for one in without if one != folder.resolve()]):
        by_path.setdefault(_relative(path, folder), []).append(path)
        by_stem.setdefault(Path(path).stem, []).append(path)
    stems = Counter(Path(path).stem for path in references.values())
    files: Files = {}
    for item, path in references.items():
        candidates = by_stem.get(item, []) if stems[item] == 1 else []
        if len(candidates) != 1:
            candidates = by_path.get(_relative(path, reference), []) or candidates
        if len(candidates) > 1:
            raise OvertoneError(
                f"{name}: {candidates[0]} and {candidates[1]} share a stem, by which files are paired: both could "
                f"belong to {path}. Rename one, or lay it out as the reference."
            )
        if candidates:
            files[item] = candidates[0]
    if not files:
        raise OvertoneError(
            f"{name}: none of the files in {folder} has the stem of a reference, such as {next(iter(references))!r}."
        )
    used = set(files.values())
    extra = sorted(path for path, found in by_path.items() if not used.issuperset(found))
    return Counterparts(name, folder, files, [item for item in references if item not in files], extra)


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


def _relative(path: str, folder: Path) -> str:
    return Path(path).relative_to(folder).with_suffix("").as_posix()


def speakers_of(references: Files, folder: Path, pattern: str | None) -> dict[str, str]:
    """Return the speaker of each reference by the reference's name: each its own where no pattern finds them.

    Args:
        references: paths by name.
        folder: that holds them.
        pattern: finds the speaker in a path below the folder; None for none.

    Raises:
        OvertoneError: the pattern is none, or does not match a file.
    """
    if pattern is None:
        return {name: name for name in references}
    find = speaker_pattern(pattern)
    speakers = {}
    for name, path in references.items():
        speaker = find(Path(path).relative_to(folder).as_posix())
        if speaker is None:
            raise OvertoneError(f"--speaker-pattern {pattern!r}: finds no speaker in {path}.")
        speakers[name] = speaker
    return speakers


@dataclass(frozen=True)
class _Header:
    path: str
    rate: int
    frames: int
    channels: int

    @property
    def seconds(self) -> float:
        return self.frames / self.rate

    def __str__(self) -> str:
        return f"{self.seconds:.3f} s ({self.frames} samples at {self.rate} Hz)"


def _header(path: str) -> _Header | None:
    """Return a file's header, None where it is not readable as audio or holds no samples."""
    try:
        with Recording(Path(path)) as audio:
            frames = audio.frames if audio.frames is not None else sum(map(len, audio.blocks(audio.rate)))
    except (AudioError, OSError):
        return None
    return _Header(path, audio.rate, frames, audio.channels) if frames else None


class _Headers:
    """What is unusual in the headers of a folder's files beside those of their references."""

    def __init__(self, folder: Counterparts, tolerance_seconds: float) -> None:
        self._folder = folder
        self._tolerance_seconds = tolerance_seconds
        self._rates: Counter[int] = Counter()
        self._channels: Counter[int] = Counter()
        self._excesses: list[float] = []
        self._broken: list[str] = []
        self._misfits: list[str] = []

    def add(self, name: str, expected: _Header) -> None:
        """Compare the file of a reference, if there is one, with the reference's header."""
        if name not in self._folder.files:
            return
        header = _header(self._folder.files[name])
        if header is None:
            self._broken.append(self._folder.files[name])
            return
        if header.rate != expected.rate:
            self._rates[header.rate] += 1
        if header.channels > 1:
            self._channels[header.channels] += 1
        sample = 1 / min(header.rate, expected.rate)
        excess = excess_seconds(header.seconds, expected.seconds, self._folder.delay_seconds)
        if excess > self._tolerance_seconds + sample:
            self._misfits.append(f"{header.path} lasts {header}, its reference {expected.path} {expected}")
        elif excess >= 0.999 * sample:
            self._excesses.append(excess)

    def refuse_misfits(self) -> None:
        """Raise where the length of a file differs from its reference's by more than is cut off."""
        if not self._misfits:
            return
        folder, delay, advice = self._folder, self._folder.delay, ""
        others = f" ({len(self._misfits)} of {len(folder.files)} files do not fit)" if len(self._misfits) > 1 else ""
        if delay is not None and not delay.constant:
            advice = f"its delay is not constant ({delay.span}), which --align needs; "
        elif delay is not None and delay.seconds and not folder.removed:
            advice = "--align removes its constant delay; "
        raise OvertoneError(
            f"{folder.name}: {self._misfits[0]}{others}. Up to {1000 * self._tolerance_seconds:g} ms are cut off: "
            f"{advice}--length-tolerance permits more."
        )

    def lines(self) -> Iterator[str]:
        """Yield what the user should know of the folder."""
        folder, count = self._folder, len(self._folder.files)
        if folder.missing:
            yield f"{len(folder.missing)} references have no file and are left out ({some(folder.missing)})"
        if folder.extra:
            yield f"{len(folder.extra)} files have no reference and are left out ({some(folder.extra)})"
        for rate, files in sorted(self._rates.items()):
            yield (
                f"{files} of {count} files have {rate} Hz and are resampled to their reference's rate; what a "
                f"reference holds above {rate / 2:g} Hz is missing from them, what they hold above its band is not "
                "judged"
            )
        for channels, files in sorted(self._channels.items()):
            yield f"{files} of {count} files have {channels} channels, which are averaged"
        if folder.delay is not None and (line := delay_line(folder.delay, folder.removed)):
            yield line
        if self._excesses:
            yield (
                f"{len(self._excesses)} of {count} files differ in length from their reference, by up to "
                f"{1000 * max(self._excesses):.3g} ms; only what both have is scored"
            )
        if self._broken:
            yield f"{len(self._broken)} files are not readable and fail in every score ({some(self._broken)})"


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
        progress: called with how many of how many references are checked.

    Raises:
        OvertoneError: a reference is not readable, ``cutoff_hz`` is not below a reference's Nyquist frequency, or the
            length of a file differs from its reference's by more than is cut off.
    """
    headers = [_Headers(folder, tolerance_seconds) for folder in folders]
    for number, (name, path) in enumerate(references.items(), start=1):
        expected = _header(path)
        if expected is None:
            raise OvertoneError(f"{path}: not readable as audio, or without samples. Replace it, or remove it.")
        if cutoff_hz is not None and not 0 < cutoff_hz < expected.rate / 2:
            raise OvertoneError(
                f"--cutoff-hz: expected more than 0 and less than {expected.rate / 2:g}, half the sample rate of "
                f"{path}, got {cutoff_hz:g}."
            )
        for one in headers:
            one.add(name, expected)
        progress(number, len(references))
    for one in headers:
        one.refuse_misfits()
    return [f"{folder.name}: {line}." for folder, one in zip(folders, headers, strict=True) for line in one.lines()]


def some(names: Sequence[str] | Mapping[str, object]) -> str:
    """Write the first few of many names."""
    shown = list(names)[:SHOWN]
    return ", ".join(shown) + (", ..." if len(names) > SHOWN else "")
