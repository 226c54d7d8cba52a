"""Folders of audio that belong together: which file is whose counterpart, and what their headers say."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datamodules.corpora.manifest import scan, speaker_pattern
from experiments.scoring.alignment import Delay, excess_seconds
from models.baselines import CONTROLS
from overtone.audio import AUDIO_SUFFIXES, AudioError
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
        OvertoneError: it is no folder, holds no audio, or two files could belong to the same reference.
    """
    by_path: dict[str, list[str]] = {}
    by_stem: dict[str, list[str]] = {}
    for path in _audio(folder, [one for one in without if one != folder.resolve()]):
        by_path.setdefault(_relative(path, folder), []).append(path)
        by_stem.setdefault(Path(path).stem, []).append(path)
    stems = Counter(Path(path).stem for path in references.values())
    found = Counterparts(name, folder, {}, [], [])
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
            found.files[item] = candidates[0]
        else:
            found.missing.append(item)
    used = set(found.files.values())
    found.extra = sorted(path for path, files in by_path.items() if not used.issuperset(files))
    return found


def _audio(folder: Path, without: Collection[Path]) -> list[str]:
    if not folder.is_dir():
        raise OvertoneError(f"{folder}: no such folder.")
    below = [other for other in without if folder.resolve() in other.parents]
    paths = [listed.path for listed in scan(folder, AUDIO_SUFFIXES)]
    if below:
        paths = [path for path in paths if not any(other in path.resolve().parents for other in below)]
    if not paths:
        raise OvertoneError(f"{folder}: expected audio ({', '.join(sorted(AUDIO_SUFFIXES))}), found none.")
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
class Header:
    """Sample rate, length and channels from a file's header."""

    sample_rate: int
    seconds: float
    channels: int


def read_header(path: str) -> Header | None:
    """Return a file's header, None where it is not readable as audio or holds no samples."""
    try:
        with Recording(Path(path)) as audio:
            frames = audio.frames if audio.frames is not None else sum(map(len, audio.blocks(audio.rate)))
    except (AudioError, OSError):
        return None
    return Header(audio.rate, frames / audio.rate, audio.channels) if frames else None


@dataclass
class Remarks:
    """Differences between the headers of a folder's files and those of their references."""

    rates: Counter[int] = field(default_factory=Counter)
    mixed_down: Counter[int] = field(default_factory=Counter)
    cut: int = 0
    most_cut_seconds: float = 0.0
    broken: list[str] = field(default_factory=list)
    misfits: list[str] = field(default_factory=list)


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
    remarks = {folder.name: Remarks() for folder in folders}
    for number, (name, path) in enumerate(references.items(), start=1):
        header = read_header(path)
        if header is None:
            raise OvertoneError(f"{path}: not readable as audio, or without samples. Replace it, or remove it.")
        if cutoff_hz is not None and not 0 < cutoff_hz < header.sample_rate / 2:
            raise OvertoneError(
                f"--cutoff-hz: expected more than 0 and less than {header.sample_rate / 2:g}, half the sample rate of "
                f"{path}, got {cutoff_hz:g}."
            )
        for folder in folders:
            if name in folder.files:
                _compare(remarks[folder.name], folder, name, path, header, tolerance_seconds)
        progress(number, len(references))
    for folder in folders:
        if misfits := remarks[folder.name].misfits:
            raise OvertoneError(_misfit_message(folder, misfits, tolerance_seconds))
    return [line for folder in folders for line in _lines(folder, remarks[folder.name])]


def _compare(
    remarks: Remarks, folder: Counterparts, name: str, reference: str, expected: Header, tolerance_seconds: float
) -> None:
    path = folder.files[name]
    header = read_header(path)
    if header is None:
        remarks.broken.append(path)
        return
    if header.sample_rate != expected.sample_rate:
        remarks.rates[header.sample_rate] += 1
    if header.channels > 1:
        remarks.mixed_down[header.channels] += 1
    sample = 1 / min(header.sample_rate, expected.sample_rate)
    excess = excess_seconds(header.seconds, expected.seconds, folder.delay_seconds)
    if excess > tolerance_seconds + sample:
        remarks.misfits.append(
            f"{path} lasts {header.seconds:.3f} s ({round(header.seconds * header.sample_rate)} samples at "
            f"{header.sample_rate} Hz), its reference {reference} {expected.seconds:.3f} s "
            f"({round(expected.seconds * expected.sample_rate)} at {expected.sample_rate} Hz)"
        )
    elif excess >= 0.999 * sample:
        remarks.cut += 1
        remarks.most_cut_seconds = max(remarks.most_cut_seconds, excess)


def _misfit_message(folder: Counterparts, misfits: Sequence[str], tolerance_seconds: float) -> str:
    others = f" ({len(misfits)} of {len(folder.files)} files do not fit)" if len(misfits) > 1 else ""
    delay, advice = folder.delay, ""
    if delay is not None and not delay.constant:
        advice = f"its delay is not constant ({_span(delay)}), which --align needs; "
    elif delay is not None and delay.seconds and not folder.removed:
        advice = "--align removes its constant delay; "
    return (
        f"{folder.name}: {misfits[0]}{others}. Up to {1000 * tolerance_seconds:g} ms are cut off: {advice}"
        "--length-tolerance permits more."
    )


def _lines(folder: Counterparts, remarks: Remarks) -> list[str]:
    count = len(folder.files)
    lines = []
    if folder.missing:
        lines.append(f"{len(folder.missing)} references have no file and are left out ({some(folder.missing)})")
    if folder.extra:
        lines.append(f"{len(folder.extra)} files have no reference and are left out ({some(folder.extra)})")
    for rate, files in sorted(remarks.rates.items()):
        lines.append(
            f"{files} of {count} files have {rate} Hz and are resampled to their reference's rate; what a reference "
            f"holds above {rate / 2:g} Hz is missing from them, what they hold above its band is not judged"
        )
    for channels, files in sorted(remarks.mixed_down.items()):
        lines.append(f"{files} of {count} files have {channels} channels, which are averaged")
    if folder.delay is not None:
        lines += _delay_lines(folder, folder.delay)
    if remarks.cut:
        lines.append(
            f"{remarks.cut} of {count} files differ in length from their reference, by up to "
            f"{1000 * remarks.most_cut_seconds:.3g} ms; only what both have is scored"
        )
    if remarks.broken:
        lines.append(f"{len(remarks.broken)} files are not readable and fail in every score ({some(remarks.broken)})")
    return [f"{folder.name}: {line}." for line in lines]


def _delay_lines(folder: Counterparts, delay: Delay) -> Iterable[str]:
    span = _span(delay)
    if folder.removed:
        return [f"a constant delay of {1000 * delay.seconds:.4g} ms is removed ({span})"] if delay.seconds else []
    if not delay.constant:
        return [f"no constant delay ({span}): files are scored as they are"]
    if delay.seconds:
        late = f"{abs(1000 * delay.seconds):.4g} ms {'late' if delay.seconds > 0 else 'early'}"
        return [f"is {late} ({span}), which costs scores; --align removes it"]
    return []


def _span(delay: Delay) -> str:
    return f"{1000 * delay.low:.4g} to {1000 * delay.high:.4g} ms in {delay.files} files"


def some(names: Sequence[str] | Mapping[str, object]) -> str:
    """Write the first few of many names."""
    shown = list(names)[:SHOWN]
    return ", ".join(shown) + (", ..." if len(names) > SHOWN else "")
