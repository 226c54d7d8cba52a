"""Corpora: a folder or a manifest of audio becomes checked clips with speakers and splits."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from datamodules.corpora.manifest import (
    KINDS,
    READABLE_SUFFIXES,
    SPLITS,
    Listed,
    find_manifest,
    read_manifest,
    scan,
    split_by_speaker,
)
from datamodules.corpora.recording import measure_recording, shortest_seconds
from overtone.audio import AudioError
from overtone.errors import OvertoneError
from overtone.worker_pool import available_cores

_HIGHEST_TARGET_RATE = 48000
_MEASURES = frozenset(
    {"seconds", "sample_rate", "channels", "encoding", "effective_bandwidth_hz", "loudness_lufs", "peak_dbfs"}
    | {"sha256", "bytes"}
)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Clip:
    """One usable audio file.

    Attributes:
        path: where it lies.
        speaker: whom it belongs to; for noises, the name of the source.
        split: train, val or test.
        seconds: duration.
        sample_rate: the file's own, in Hz.
        band_hz: where its content ends, as the manifest says or as measured; None where neither is known.
        loudness_lufs: by ITU-R BS.1770; None where it was not measured or nothing is loud enough.
        peak: the largest absolute sample, 1.0 is full scale; None where it was not measured.
    """

    path: Path
    speaker: str
    split: str
    seconds: float
    sample_rate: int
    band_hz: float | None
    loudness_lufs: float | None = None
    peak: float | None = None


@dataclass(frozen=True)
class Corpus:
    """Speech clips split by speaker, and what may be heard beside them.

    Attributes:
        clips: the speech, ordered by path.
        noises: background noises, ordered by path; none in a plain folder.
        digest: SHA-256 over paths, splits, speakers and contents: the same digest, the same training data.
        root: what clips' names are relative to.
        skipped: files that cannot be used, each with the reason.
        notes: what was found and is handled (mixing down, resampling, ...), with the number of files.
        music: music, ordered by path.
        impulse_responses: of rooms, ordered by path.
    """

    clips: tuple[Clip, ...]
    noises: tuple[Clip, ...]
    digest: str
    root: Path
    skipped: tuple[tuple[Path, str], ...] = ()
    notes: dict[str, int] = field(default_factory=dict)
    music: tuple[Clip, ...] = ()
    impulse_responses: tuple[Clip, ...] = ()

    def split(self, name: str) -> tuple[Clip, ...]:
        """Return the speech clips of a split."""
        return tuple(clip for clip in self.clips if clip.split == name)

    def noises_for(self, split: str) -> tuple[Clip, ...]:
        """Return the noises of a split; where none are set aside for val, those of train."""
        return _of_split(self.noises, split)

    def music_for(self, split: str) -> tuple[Clip, ...]:
        """Return the music of a split; where none is set aside for val, that of train."""
        return _of_split(self.music, split)

    def impulse_responses_for(self, split: str) -> tuple[Clip, ...]:
        """Return the impulse responses of a split; where none are set aside for val, those of train."""
        return _of_split(self.impulse_responses, split)

    def name_of(self, clip: Clip) -> str:
        """Return a clip's path relative to the corpus, with forward slashes."""
        return Path(os.path.relpath(clip.path, self.root)).as_posix()


def _of_split(clips: tuple[Clip, ...], split: str) -> tuple[Clip, ...]:
    own = tuple(clip for clip in clips if clip.split == split)
    return _of_split(clips, "train") if split == "val" and not own else own


@dataclass(frozen=True)
class _Checked:
    """A file that was looked at: either what it holds, or why it cannot be used."""

    listed: Listed
    seconds: float = 0.0
    sample_rate: int = 0
    band_hz: float | None = None
    loudness_lufs: float | None = None
    peak: float | None = None
    sha256: str = ""
    notes: tuple[str, ...] = ()
    fault: str | None = None


def load_corpus(
    source: Path | Sequence[Path], also_train: Sequence[str] = (), progress: Progress | None = None
) -> Corpus:
    """Read a corpus, look at its files, and split it by speaker.

    A manifest that ``overtone data prepare`` wrote is trusted: of its files only presence and size are looked at.
    Files of anything else are decoded and measured, on each call.

    Args:
        source: a folder, or a manifest as CSV or Parquet, or several of them that are joined. A folder's
            ``manifest.csv`` wins over its contents; without one, every audio file below the folder is speech, and its
            speaker is the name of the folder that it lies in (of the file, where it lies in ``source`` itself). A
            manifest has the columns ``path`` (relative to the manifest) and ``speaker`` (for noise and the like, the
            name of its source), and may have ``kind`` (speech, noise, music or impulse_response; other kinds are left
            out), ``split`` (rows of another split than train, val and test are left out) and
            ``effective_bandwidth_hz``, which is believed. Speakers without a split are distributed 70 : 10 : 20 by a
            hash of their names, and so are sources of noise, music and impulse responses.
        also_train: further splits of a manifest, such as ``train_extra``, whose rows join train.
        progress: told how many files of how many have been looked at.

    Returns:
        The corpus. Files that are no audio, too short, silent, broken or missing are in ``skipped``.

    Raises:
        OvertoneError: there is no such source, it holds no usable speech, a manifest lacks a column, names a file
            twice or puts one speaker into two splits, or a split has no speaker.
    """
    sources = [source] if isinstance(source, Path) else list(source)
    name = ", ".join(map(str, sources))
    left_out: Counter[str] = Counter()
    roots: list[Path] = []
    listed = [one for place in sources for one in _listed(place, roots, also_train, left_out)]
    root = _root(roots, listed)
    checked = _checked(sorted(listed, key=lambda one: str(one.path)), progress)
    skipped = tuple((one.listed.path, one.fault) for one in checked if one.fault is not None)
    usable = [one for one in checked if one.fault is None]
    if not any(one.listed.kind == "speech" for one in usable):
        raise _no_speech(name, skipped)
    clips = {kind: _clips([one for one in usable if one.listed.kind == kind], kind, name) for kind in KINDS}
    notes = left_out + Counter(note for one in usable for note in one.notes)
    return Corpus(
        clips=clips["speech"],
        noises=clips["noise"],
        music=clips["music"],
        impulse_responses=clips["impulse_response"],
        digest=_digest(clips, {one.listed.path: one.sha256 for one in usable}, root),
        root=root,
        skipped=skipped,
        notes=dict(sorted(notes.items())),
    )


def _root(roots: Sequence[Path], listed: Sequence[Listed]) -> Path:
    """The folder that was named, if all files lie below it; else the folder that they have in common.

    Names stay the same then wherever the manifest is moved.
    """
    if len(roots) == 1 and all(one.path.is_relative_to(roots[0]) for one in listed):
        return roots[0]
    folders = [one.path.parent for one in listed] or roots
    return Path(os.path.commonpath([os.path.abspath(one) for one in folders]))


def _no_speech(source: str, skipped: Sequence[tuple[Path, str]]) -> OvertoneError:
    found = (
        f"all {len(skipped)} were skipped, the first: {skipped[0][0]}: {skipped[0][1]}" if skipped else "found none."
    )
    return OvertoneError(f"{source}: expected speech ({', '.join(sorted(READABLE_SUFFIXES))}), {found}")


def _listed(source: Path, roots: list[Path], also_train: Sequence[str], left_out: Counter[str]) -> Iterator[Listed]:
    manifest = find_manifest(source)
    roots.append(manifest.parent if manifest else source)
    if manifest is None:
        yield from scan(source)
        return
    paths: set[Path] = set()
    for number, one in enumerate(read_manifest(manifest), start=1):
        if "speaker" not in one.row:
            raise OvertoneError(f"{manifest}: expected the columns path and speaker, got {', '.join(one.row)}.")
        if one.path in paths:
            raise OvertoneError(f"{manifest}: expected each file once, got {one.row['path']} twice.")
        paths.add(one.path)
        split = "train" if one.split in also_train else one.split
        if one.kind not in KINDS or split not in (None, *SPLITS):
            left_out[f"left out: kind {one.kind}, split {split}"] += 1
            continue
        if one.speaker is None:
            raise OvertoneError(f"{manifest}: row {number} has no path or no speaker.")
        _band_hz(one.row, f"{manifest}: row {number}")
        yield Listed(one.path, one.kind, one.speaker, split, one.row)


def _band_hz(row: Mapping[str, str], where: str) -> float | None:
    value = row.get("effective_bandwidth_hz")
    if not value:
        return None
    try:
        band_hz = float(value)
    except ValueError:
        band_hz = -1.0
    if not band_hz > 0:
        raise OvertoneError(f"{where}: expected effective_bandwidth_hz above 0, got {value!r}.")
    return band_hz


def _checked(listed: Sequence[Listed], progress: Progress | None) -> list[_Checked]:
    checked: list[_Checked] = []
    with ThreadPoolExecutor(available_cores()) as pool:
        # Where a manifest is trusted, handing rows to threads would take longer than looking at them.
        trusted = bool(listed) and all(one.row.keys() >= _MEASURES for one in listed)
        for one in map(_check, listed) if trusted else pool.map(_check, listed):
            checked.append(one)
            if progress:
                progress(len(checked), len(listed))
    return checked


def _check(listed: Listed) -> _Checked:
    """Look at a file: whether it can be used, and what it holds."""
    try:
        if listed.row.keys() >= _MEASURES and listed.row["sha256"]:
            return _believed(listed, os.stat(listed.path).st_size)
        return _measured(listed)
    except AudioError as error:
        return _Checked(listed, fault=str(error).removeprefix(f"{listed.path}: "))
    except OSError as error:
        return _Checked(listed, fault=f"cannot be read ({error.strerror or error})")
    except ValueError as error:
        return _Checked(listed, fault=f"has a row with an impossible measure ({error})")


def _believed(listed: Listed, size: int) -> _Checked:
    row = listed.row
    if size != int(row["bytes"]):
        return _Checked(listed, fault="was changed after it was measured: run overtone data prepare again")
    sample_rate = int(row["sample_rate"])
    return _Checked(
        listed,
        seconds=float(row["seconds"]),
        sample_rate=sample_rate,
        band_hz=float(row["effective_bandwidth_hz"]),
        loudness_lufs=float(row["loudness_lufs"]) if row["loudness_lufs"] else None,
        peak=10 ** (float(row["peak_dbfs"]) / 20),
        sha256=row["sha256"],
        notes=_notes(int(row["channels"]), row["encoding"], sample_rate),
    )


def _measured(listed: Listed) -> _Checked:
    recording = measure_recording(listed.path, shortest_seconds(listed.kind))
    return _Checked(
        listed,
        seconds=recording.seconds,
        sample_rate=recording.sample_rate,
        band_hz=_band_hz(listed.row, str(listed.path)) or recording.band_hz,
        loudness_lufs=recording.loudness_lufs,
        peak=recording.peak,
        sha256=recording.sha256,
        notes=_notes(recording.channels, recording.encoding, recording.sample_rate),
    )


def _notes(channels: int, encoding: str, sample_rate: int) -> tuple[str, ...]:
    notes = []
    if channels > 1:
        notes.append("several channels, mixed down to one")
    if encoding.endswith(("PCM_U8", "PCM_S8")):
        notes.append("8 bits a sample, converted")
    if sample_rate > _HIGHEST_TARGET_RATE:
        notes.append("more than 48 kHz, resampled")
    return tuple(notes)


def _clips(checked: Sequence[_Checked], kind: str, source: str) -> tuple[Clip, ...]:
    """Return the clips of a kind; a file whose split is not given has its speaker's."""
    splits = _splits(checked, source) if kind == "speech" else _splits_of_sources(checked)
    return tuple(
        Clip(
            path=one.listed.path,
            speaker=str(one.listed.speaker),
            split=one.listed.split or splits[str(one.listed.speaker)],
            seconds=one.seconds,
            sample_rate=one.sample_rate,
            band_hz=one.band_hz,
            loudness_lufs=one.loudness_lufs,
            peak=one.peak,
        )
        for one in checked
    )


def _splits_of_sources(checked: Sequence[_Checked]) -> dict[str, str]:
    given = {str(one.listed.speaker): one.listed.split for one in checked if one.listed.split}
    return split_by_speaker({str(one.listed.speaker) for one in checked}, given)


def _splits(speech: Sequence[_Checked], source: str) -> dict[str, str]:
    given: dict[str, set[str]] = {}
    for one in speech:
        if one.listed.split is not None:
            given.setdefault(str(one.listed.speaker), set()).add(one.listed.split)
    for speaker, splits in given.items():
        if len(splits) > 1:
            raise OvertoneError(
                f"{source}: speaker {speaker!r} is in the splits {', '.join(sorted(splits))}; scores would flatter. "
                "Give each speaker one split."
            )
    decided = split_by_speaker(
        {str(one.listed.speaker) for one in speech},
        {speaker: next(iter(splits)) for speaker, splits in given.items()},
    )
    missing = [name for name in SPLITS if name not in decided.values()]
    if missing:
        raise OvertoneError(
            f"{source}: expected at least one speaker in each of train, val and test, got none for "
            f"{' and '.join(missing)} ({len(decided)} speakers in all). Add speakers (one folder each), or name the "
            "splits in a manifest.csv."
        )
    return decided


def _digest(clips: Mapping[str, Iterable[Clip]], contents: Mapping[Path, str], root: Path) -> str:
    lines = sorted(
        "\t".join((name, contents[clip.path], kind, clip.speaker, clip.split, str(clip.band_hz)))
        for kind, some in clips.items()
        for clip, name in ((clip, Path(os.path.relpath(clip.path, root)).as_posix()) for clip in some)
    )
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
