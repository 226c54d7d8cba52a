"""Corpora: a folder or a manifest of audio becomes checked clips with speakers and splits."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile

from runtime.audio import AUDIO_SUFFIXES, AudioError, read_audio
from runtime.errors import OvertoneError

SPLITS = ("train", "val", "test")
KINDS = ("speech", "noise", "music", "impulse_response")
_SHORTEST_SECONDS = 0.1
_VAL_SHARE, _TEST_SHARE = 0.1, 0.2
_HIGHEST_TARGET_RATE = 48000


@dataclass(frozen=True)
class Clip:
    """One usable audio file.

    Attributes:
        path: where it lies.
        speaker: whom it belongs to; for noises, the name of the source.
        split: train, val or test.
        seconds: duration.
        sample_rate: the file's own, in Hz.
        band_hz: where its content ends, as the manifest says; None where nobody measured it.
        loudness_lufs: by ITU-R BS.1770; None where nobody measured it or nothing is loud enough to be measured.
        peak: the largest absolute sample, 1.0 is full scale; None where nobody measured it.
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

    def minutes(self) -> dict[str, float]:
        """Return the minutes of speech in each split."""
        return {name: sum(clip.seconds for clip in self.split(name)) / 60 for name in SPLITS}


def _of_split(clips: tuple[Clip, ...], split: str) -> tuple[Clip, ...]:
    own = tuple(clip for clip in clips if clip.split == split)
    return _of_split(clips, "train") if split == "val" and not own else own


@dataclass(frozen=True)
class _Entry:
    """A file that a folder or manifest names, not looked at yet."""

    path: Path
    kind: str
    speaker: str
    split: str | None
    band_hz: float | None


@dataclass(frozen=True)
class _Checked:
    entry: _Entry
    seconds: float = 0.0
    sample_rate: int = 0
    sha256: str = ""
    peak: float | None = None
    notes: tuple[str, ...] = ()
    fault: str | None = None


def load_corpus(
    source: Path, also_train: Sequence[str] = (), progress: Callable[[int, int], None] | None = None
) -> Corpus:
    """Read a corpus, look at each of its files, and split it by speaker.

    Args:
        source: a folder, or a manifest as CSV or Parquet. A folder's ``manifest.csv`` wins over its contents; without
            one, every audio file below the folder is speech, and its speaker is the name of the folder that it
            lies in (of the file, where it lies in ``source`` itself). A manifest has the columns ``path`` (relative
            to the manifest) and ``speaker``, and may have ``kind`` (speech, noise, music or impulse_response; other
            kinds are left out), ``split`` (rows of another split than train, val and test are left out) and
            ``effective_bandwidth_hz``. Speakers without a split are distributed 70 : 10 : 20 in the order of a hash
            of their names.
        also_train: further splits of a manifest, such as ``train_extra``, whose rows join train.
        progress: told how many files of how many have been looked at.

    Returns:
        The corpus. Files that are no audio, too short, silent or broken are in ``skipped``.

    Raises:
        OvertoneError: there is no such source, it holds no usable speech, a manifest lacks a column or puts one
            speaker into two splits, or a split has no speaker.
    """
    manifest = _find_manifest(source)
    root = manifest.parent if manifest else source
    left_out: Counter[str] = Counter()
    entries = list(_read_manifest(manifest, also_train, left_out)) if manifest else list(_scan(source))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        checked = []
        for one in pool.map(_check, sorted(entries, key=lambda entry: entry.path)):
            checked.append(one)
            if progress:
                progress(len(checked), len(entries))
    skipped = tuple((one.entry.path, one.fault) for one in checked if one.fault is not None)
    usable = [one for one in checked if one.fault is None]
    speech = [one for one in usable if one.entry.kind == "speech"]
    if not speech:
        raise _no_speech(source, skipped)
    speech = _with_splits(speech, source)
    beside = [one for one in usable if one.entry.kind != "speech"]
    of_kind = {kind: tuple(_clip(one) for one in beside if one.entry.kind == kind) for kind in KINDS}
    notes = left_out + Counter(note for one in usable for note in one.notes)
    return Corpus(
        clips=tuple(map(_clip, speech)),
        noises=of_kind["noise"],
        digest=_digest([*speech, *beside], root),
        root=root,
        skipped=skipped,
        notes=dict(sorted(notes.items())),
        music=of_kind["music"],
        impulse_responses=of_kind["impulse_response"],
    )


def _no_speech(source: Path, skipped: Sequence[tuple[Path, str]]) -> OvertoneError:
    found = (
        f"all {len(skipped)} were skipped, the first: {skipped[0][0]}: {skipped[0][1]}" if skipped else "found none."
    )
    return OvertoneError(f"{source}: expected speech ({', '.join(sorted(AUDIO_SUFFIXES))}), {found}")


def _find_manifest(source: Path) -> Path | None:
    if source.is_dir():
        inside = source / "manifest.csv"
        return inside if inside.is_file() else None
    if not source.exists():
        raise OvertoneError(f"{source}: no such folder or manifest.")
    if source.suffix.lower() not in {".csv", ".parquet"}:
        raise OvertoneError(f"{source}: expected a folder or a manifest (.csv, .parquet), got a {source.suffix} file.")
    return source


def _scan(folder: Path) -> Iterator[_Entry]:
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.suffix.lower() in AUDIO_SUFFIXES and not hidden and path.is_file():
            speaker = inside.stem if len(inside.parts) == 1 else inside.parts[-2]
            yield _Entry(path, "speech", speaker, None, None)


def _read_manifest(manifest: Path, also_train: Sequence[str], left_out: Counter[str]) -> Iterator[_Entry]:
    try:
        table = (
            pd.read_parquet(manifest)
            if manifest.suffix.lower() == ".parquet"
            else pd.read_csv(manifest, dtype={"path": str, "speaker": str, "split": str, "kind": str})
        )
    except (ValueError, OSError, ImportError) as error:
        raise OvertoneError(f"{manifest}: not readable as a manifest ({error}).") from None
    for column in ("path", "speaker"):
        if column not in table:
            columns = ", ".join(map(str, table.columns))
            raise OvertoneError(f"{manifest}: expected the columns path and speaker, got {columns}.")
    twice = table["path"][table["path"].duplicated()]
    if len(twice):
        raise OvertoneError(f"{manifest}: expected each file once, got {twice.iloc[0]} twice.")
    for number, row in enumerate(table.to_dict("records"), start=1):
        kind, split = row.get("kind", "speech"), row.get("split")
        split = "train" if split in also_train else split
        if kind not in KINDS or (pd.notna(split) and split not in SPLITS):
            left_out[f"left out: kind {kind}, split {split}"] += 1
            continue
        if pd.isna(row["path"]) or pd.isna(row["speaker"]):
            raise OvertoneError(f"{manifest}: row {number} has no path or no speaker.")
        yield _Entry(
            path=manifest.parent / str(row["path"]),
            kind=str(kind),
            speaker=str(row["speaker"]),
            split=str(split) if pd.notna(split) else None,
            band_hz=_band_hz(row.get("effective_bandwidth_hz"), manifest, number),
        )


def _band_hz(value: Any, manifest: Path, row: int) -> float | None:  # noqa: ANN401 - a table's cell
    if value is None or pd.isna(value):
        return None
    band_hz = pd.to_numeric(value, errors="coerce")
    if not band_hz > 0:
        raise OvertoneError(f"{manifest}: row {row}: expected effective_bandwidth_hz above 0, got {value!r}.")
    return float(band_hz)


def _check(entry: _Entry) -> _Checked:
    """Decode a file once: whether it can be used, how long it is, and what it holds."""
    try:
        waveform, sample_rate = read_audio(entry.path)
        header = soundfile.info(entry.path)
        sha256 = hashlib.sha256(entry.path.read_bytes()).hexdigest()
    except AudioError as error:
        return _Checked(entry, fault=str(error).removeprefix(f"{entry.path}: "))
    except OSError as error:
        return _Checked(entry, fault=f"cannot be read ({error})")
    seconds = waveform.size / sample_rate
    if seconds < _SHORTEST_SECONDS:
        return _Checked(entry, fault=f"is {1000 * seconds:.0f} ms long, shorter than {_SHORTEST_SECONDS} s")
    if not waveform.any():
        return _Checked(entry, fault="is silent throughout")
    notes = []
    if header.channels > 1:
        notes.append("several channels, mixed down to one")
    if header.subtype in {"PCM_U8", "PCM_S8"}:
        notes.append("8 bits a sample, converted")
    if sample_rate > _HIGHEST_TARGET_RATE:
        notes.append("more than 48 kHz, resampled")
    peak = float(abs(waveform).max())
    return _Checked(entry, seconds, sample_rate, sha256, peak, tuple(notes))


def _clip(checked: _Checked) -> Clip:
    entry = checked.entry
    return Clip(
        path=entry.path,
        speaker=entry.speaker,
        split=entry.split or "train",
        seconds=checked.seconds,
        sample_rate=checked.sample_rate,
        band_hz=entry.band_hz,
        peak=checked.peak,
    )


def _with_splits(speech: list[_Checked], source: Path) -> list[_Checked]:
    given: dict[str, set[str]] = {}
    for one in speech:
        if one.entry.split is not None:
            given.setdefault(one.entry.speaker, set()).add(one.entry.split)
    for speaker, splits in given.items():
        if len(splits) > 1:
            raise OvertoneError(
                f"{source}: speaker {speaker!r} is in the splits {', '.join(sorted(splits))}; scores would flatter. "
                "Give each speaker one split."
            )
    undecided = {one.entry.speaker for one in speech} - set(given)
    decided = {speaker: next(iter(splits)) for speaker, splits in given.items()} | split_by_speaker(undecided)
    missing = [name for name in SPLITS if name not in decided.values()]
    if missing:
        raise OvertoneError(
            f"{source}: expected at least one speaker in each of train, val and test, got none for "
            f"{' and '.join(missing)} ({len(decided)} speakers in all). Add speakers (one folder each), or name the "
            "splits in a manifest.csv."
        )
    return [replace(one, entry=replace(one.entry, split=decided[one.entry.speaker])) for one in speech]


def split_by_speaker(speakers: Iterable[str]) -> dict[str, str]:
    """Distribute speakers over train, val and test, 70 : 10 : 20, in the order of a hash of their names.

    Three speakers or more give every split at least one; fewer fill train first.
    """
    ordered = sorted(speakers, key=lambda speaker: hashlib.sha256(speaker.encode()).hexdigest())
    count = len(ordered)
    tests = max(1, round(_TEST_SHARE * count)) if count >= 3 else 0
    vals = max(1, round(_VAL_SHARE * count)) if count >= 3 else 0
    names = ["test"] * tests + ["val"] * vals + ["train"] * (count - tests - vals)
    return dict(zip(ordered, names, strict=True))


def _digest(checked: Sequence[_Checked], root: Path) -> str:
    lines = sorted(
        "\t".join(
            (
                Path(os.path.relpath(one.entry.path, root)).as_posix(),
                one.sha256,
                one.entry.kind,
                one.entry.speaker,
                str(one.entry.split),
                str(one.entry.band_hz),
            )
        )
        for one in checked
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
