"""The catalogue of corpora that can be fetched: where they lie, what they hold, who speaks which file."""

import csv
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import yaml

from overtone.errors import OvertoneError
from overtone.files import written_whole

FULLBAND_RATE = 44100
"""The lowest rate in Hz that holds what the preset `fullband` trains on."""

MANIFEST_COLUMNS = ("path", "kind", "speaker", "split", "licence", "source", "attribution")
_ARCHIVE_SUFFIXES = (".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tar", ".zip")


@dataclass(frozen=True)
class RemoteFile:
    """An archive on the mirrors.

    Attributes:
        path: below a mirror's address.
        size: bytes, None where unknown.
        checksum: ``md5:`` or ``sha256:`` and the digest, None where none was published.
    """

    path: str
    size: int | None = None
    checksum: str | None = None

    @property
    def name(self) -> str:
        """The archive's own name."""
        return PurePosixPath(self.path).name

    @property
    def folder(self) -> str:
        """The folder that it is unpacked into: its name without the suffix."""
        suffix = next(suffix for suffix in _ARCHIVE_SUFFIXES if self.name.endswith(suffix))
        return self.name.removesuffix(suffix)


@dataclass(frozen=True)
class AudioRule:
    """Which files of an archive are audio of a kind.

    Attributes:
        kind: speech, noise, music or impulse_response.
        pattern: regular expression for the whole path inside the archive, with the group ``speaker``.
        example: such a path.
    """

    kind: str
    pattern: str
    example: str


@dataclass(frozen=True)
class Protocol:
    """The field's fixed split of a corpus, by the order of the speakers' names.

    Attributes:
        leave_out: speakers that are not used.
        last_for_test: how many speakers, the last, are for test.
        share_for_val: share of the others, the last of them, that is for val: papers choose on test or not at all,
            Overtone chooses on val.
    """

    leave_out: tuple[str, ...]
    last_for_test: int
    share_for_val: float

    def splits(self, speakers: Iterable[str]) -> dict[str, str]:
        """Return the split of each speaker."""
        ordered = sorted(set(speakers) - set(self.leave_out))
        others = max(0, len(ordered) - self.last_for_test)
        vals = min(others - 1, max(1, round(self.share_for_val * others))) if others else 0
        tests = len(ordered) - others
        names = ["train"] * (others - vals) + ["val"] * vals + ["test"] * tests
        return dict(zip(ordered, names, strict=True))


@dataclass(frozen=True)
class Dataset:
    """A corpus of the catalogue.

    Attributes:
        name: its short name, such as slr83.
        aliases: readable names.
        title: what it is.
        languages: spoken in it, "none" where there is no speech.
        sample_rate: in Hz.
        licence: SPDX identifier where there is one.
        attribution: whom to name.
        page: where its publisher describes it.
        mirrors: addresses that its files lie below, by the mirror's name, in the order in which they are asked.
        files: its archives.
        audio: which of the files inside are audio, and whose; the first rule that matches counts.
        protocol: the field's split, None where speakers are split by their names' hash.
        hours: of audio, None where unknown.
        speakers: their number, None where unknown.
        clips: number of audio files, None where unknown.
        expansion: estimate of unpacked bytes per packed byte.
        unverified: what of this could not be checked against a second source.
    """

    name: str
    aliases: tuple[str, ...]
    title: str
    languages: str
    sample_rate: int
    licence: str
    attribution: str
    page: str
    mirrors: Mapping[str, str]
    files: tuple[RemoteFile, ...]
    audio: tuple[AudioRule, ...]
    protocol: Protocol | None = None
    hours: float | None = None
    speakers: int | None = None
    clips: int | None = None
    expansion: float = 1.6
    unverified: tuple[str, ...] = ()

    @cached_property
    def _patterns(self) -> tuple[tuple[str, re.Pattern[str]], ...]:
        return tuple((rule.kind, re.compile(rule.pattern)) for rule in self.audio)

    @property
    def size(self) -> int | None:
        """Bytes of all archives, None where one is unknown."""
        sizes = [file.size for file in self.files if file.size is not None]
        return sum(sizes) if len(sizes) == len(self.files) else None

    @property
    def is_fullband(self) -> bool:
        """Whether the files' rate holds the whole audible band."""
        return self.sample_rate >= FULLBAND_RATE

    def identify(self, path: str) -> tuple[str, str] | None:
        """Return kind and speaker of a path inside an archive, None for what is no audio of this corpus."""
        if any(part.startswith(".") for part in path.split("/")):  # "._x.wav": what macOS adds to an archive
            return None
        for kind, pattern in self._patterns:
            if found := pattern.fullmatch(path):
                return kind, found["speaker"]
        return None

    def urls(self, file: RemoteFile, mirror: str | None = None) -> list[str]:
        """Return a file's addresses: with a mirror's name that one first, with an address of one's own only that.

        Args:
            file: of the corpus.
            mirror: name of one of its mirrors, or an address; None for the usual order.

        Raises:
            OvertoneError: no mirror has that name.
        """
        if mirror is None or mirror in self.mirrors:
            ordered = sorted(self.mirrors, key=lambda name: name != mirror)
            return [f"{self.mirrors[name]}/{file.path}" for name in ordered]
        if not _is_address(mirror):
            raise OvertoneError(
                f"{self.name}: expected a mirror ({', '.join(self.mirrors)}) or an https address, got {mirror!r}."
            )
        return [f"{mirror.rstrip('/')}/{file.path}"]


class Catalogue:
    """All corpora that can be fetched, in the order of the file."""

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        self.datasets = tuple(datasets)

    def find(self, name: str) -> Dataset:
        """Return the corpus with this name or alias; case, spaces and underscores do not matter.

        Raises:
            OvertoneError: there is none; the message names similar ones.
        """
        wanted = re.sub(r"[\s_]+", "-", name.strip().lower())
        by_name = {known: dataset for dataset in self.datasets for known in (dataset.name, *dataset.aliases)}
        if wanted in by_name:
            return by_name[wanted]
        near = difflib.get_close_matches(wanted, by_name, n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise OvertoneError(f"{name!r}: no such corpus.{hint} `overtone data fetch list` names all of them.")


def load_catalogue(path: Path | None = None) -> Catalogue:
    """Read the catalogue: Overtone's own, or another file of the same form."""
    text = (path or Path(__file__).with_name("catalogue.yaml")).read_text(encoding="utf-8")
    table = yaml.safe_load(text)
    return Catalogue(_dataset(entry, table["mirrors"]) for entry in table["datasets"])


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.netloc)


def _dataset(entry: dict[str, Any], mirrors: dict[str, dict[str, str]]) -> Dataset:
    protocol = entry.get("protocol")
    parts = {
        "aliases": tuple(entry["aliases"]),
        "mirrors": mirrors[entry["mirrors"]],
        "files": tuple(RemoteFile(file["path"], file.get("bytes"), file.get("checksum")) for file in entry["files"]),
        "audio": tuple(AudioRule(**rule) for rule in entry["audio"]),
        "protocol": protocol and Protocol(**(protocol | {"leave_out": tuple(protocol["leave_out"])})),
        "unverified": tuple(entry.get("unverified", ())),
    }
    return Dataset(**(entry | parts))


def write_manifest(dataset: Dataset, folder: Path) -> dict[str, int]:
    """Write ``manifest.csv`` for the unpacked archives of a corpus below a folder.

    The columns are `MANIFEST_COLUMNS`; paths are relative to the folder, ordered; ``split`` is empty where the corpus
    has no fixed split, so that speakers are split by their names' hash.

    Args:
        dataset: of the catalogue.
        folder: that holds the unpacked archives.

    Returns:
        The number of files of each kind.

    Raises:
        OvertoneError: none of the files is audio by the catalogue's rules.
    """
    found = sorted(_find_audio(dataset, folder))
    if not found:
        example = dataset.audio[0].example
        raise OvertoneError(
            f"{folder}: unpacked, but no file fits what the catalogue says of {dataset.name} (such as {example}). "
            "Give the folder to `overtone data prepare` with a --speaker-pattern of your own."
        )
    speakers = {speaker for _, kind, speaker in found if kind == "speech"}
    splits = dataset.protocol.splits(speakers) if dataset.protocol else dict.fromkeys(speakers, "")
    counts: dict[str, int] = {}
    manifest = folder / "manifest.csv"
    with written_whole(manifest) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(MANIFEST_COLUMNS)
        for path, kind, speaker in found:
            if kind == "speech" and speaker not in splits:
                continue
            split = splits[speaker] if kind == "speech" else ""
            writer.writerow([path, kind, speaker, split, dataset.licence, dataset.page, dataset.attribution])
            counts[kind] = counts.get(kind, 0) + 1
    return counts


def _find_audio(dataset: Dataset, folder: Path) -> Iterator[tuple[str, str, str]]:
    for file in dataset.files:
        root = folder / file.folder
        for path in root.rglob("*"):
            inside = path.relative_to(root).as_posix()
            if (found := dataset.identify(inside)) is not None and path.is_file():
                yield f"{file.folder}/{inside}", *found
