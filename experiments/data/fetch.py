"""`overtone data fetch`: a corpus from its publisher's mirrors, verified, unpacked and described by a manifest."""

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.table import Table

from datamodules.fetching.archive import FLOOR_BYTES, ArchiveError, extract
from datamodules.fetching.catalogue import Catalogue, Dataset, RemoteFile, load_catalogue, write_manifest
from datamodules.fetching.download import Expectation, download, probe_size
from experiments.data.options import FetchOptions
from experiments.runs import held
from overtone.errors import OvertoneError, in_words
from overtone.progress import Board, board, console

_GB, _MB = 1e9, 1e6
_SPARE_BYTES = 200_000_000
LOCK_NAME = ".fetch.lock"  # stays: a lock on a file that was removed keeps nobody out
_MOST_EXPANSION = 5  # times the catalogue's estimate: beyond that an archive is a bomb


def fetch_command(options: FetchOptions) -> None:
    """Download, verify and unpack a corpus of the catalogue into a folder of its name, and write its manifest.

    Archives that are unpacked already are not downloaded again, and a download that was cut continues, so the same
    command finishes whatever stopped before.

    Args:
        options: which corpus, and how; a dry run asks no server.

    Raises:
        OvertoneError: no such corpus or mirror, no room, no mirror gave a file, an archive is broken or hostile, or
            the folder cannot be written.
    """
    catalogue, mirror = load_catalogue(), options.mirror
    if options.name == "list":
        _print_catalogue(catalogue.datasets)
        return
    dataset = _find(catalogue, options.name)
    for file in dataset.files:
        dataset.urls(file, mirror)
    folder = options.out / dataset.name
    existing = _existing(folder)
    if not existing.is_dir():
        raise OvertoneError(f"{existing}: expected a folder for corpora, got a file. Name another one with --out.")
    _describe(dataset)
    if options.dry_run:
        _print_plan(dataset, folder, mirror)
        return
    busy = f"{folder}: being fetched by another process. Wait for it, or name another --out."
    try:
        with held(folder / LOCK_NAME, busy), board() as progress:
            _fetch(dataset, folder, options.keep_archives, mirror, progress)
            counts = write_manifest(dataset, folder)
    except OSError as error:
        raise OvertoneError(in_words(error)) from None
    except KeyboardInterrupt:
        console.print("What has arrived is kept: the same command continues there.", highlight=False)
        raise
    found = ", ".join(f"{count} files of {kind.replace('_', ' ')}" for kind, count in counts.items())
    _say(f"{folder / 'manifest.csv'}: {found}.")
    _say(f"Next: overtone data prepare {shlex.quote(str(folder))} --out {shlex.quote(f'{folder}-prepared')}")


def _find(catalogue: Catalogue, name: str) -> Dataset:
    try:
        return catalogue.find(name)
    except OvertoneError:
        _print_catalogue(catalogue.datasets)
        raise


@dataclass(frozen=True)
class _Step:
    """An archive that is not unpacked yet.

    Attributes:
        file: what the catalogue says of it.
        urls: where it can be had.
        archive: where it is downloaded to.
        size: bytes, as the catalogue or a server says, None where neither does.
    """

    file: RemoteFile
    urls: Sequence[str]
    archive: Path
    size: int | None

    @property
    def arrived(self) -> int:
        """Bytes that an earlier call downloaded."""
        part = self.archive.with_name(f"{self.archive.name}.part")
        return max((path.stat().st_size for path in (self.archive, part) if path.is_file()), default=0)


def _fetch(dataset: Dataset, folder: Path, keep_archives: bool, mirror: str | None, progress: Board) -> None:
    steps = _steps(dataset, folder, mirror, probe=True)
    _check_room(dataset, folder, steps, keep_archives)
    for step in steps:
        expected = Expectation(step.file.size, step.file.checksum)
        download(step.urls, step.archive, expected, partial(_show, progress, step.file.name))
        _unpack(dataset, step.archive, folder / step.file.folder, progress)
        if not keep_archives:
            step.archive.unlink()
    archives = folder / "archives"
    if archives.is_dir() and not any(archives.iterdir()):
        archives.rmdir()


def _unpack(dataset: Dataset, archive: Path, folder: Path, progress: Board) -> None:
    try:
        extract(
            archive,
            folder,
            most_bytes=max(round(_MOST_EXPANSION * dataset.expansion * archive.stat().st_size), FLOOR_BYTES),
            report=partial(_show, progress, archive.name, "unpack"),
        )
    except ArchiveError as error:
        # Otherwise it would count as downloaded where no checksum tells that it is broken.
        archive.unlink()
        raise OvertoneError(f"{error} The archive was removed: the same command downloads it again.") from None


def _steps(dataset: Dataset, folder: Path, mirror: str | None, *, probe: bool) -> list[_Step]:
    """Return what is left to fetch; a server is asked for sizes that the catalogue lacks if ``probe``."""
    steps = []
    for file in dataset.files:
        if not (folder / file.folder).is_dir():
            urls = dataset.urls(file, mirror)
            size = probe_size(urls) if probe and file.size is None else file.size
            steps.append(_Step(file, urls, folder / "archives" / file.name, size))
    return steps


def _check_room(dataset: Dataset, folder: Path, steps: Sequence[_Step], keep_archives: bool) -> None:
    """Refuse to begin what cannot end: archives and their contents have to fit."""
    needed, free = _room_needed(dataset, steps, keep_archives), _room_free(folder)
    if needed > free:
        raise OvertoneError(
            f"{folder}: {needed / _GB:.1f} GB needed (archives and an estimate of their contents), "
            f"{free / _GB:.1f} GB free. Make room, or name another disk with --out."
        )


def _room_needed(dataset: Dataset, steps: Sequence[_Step], keep_archives: bool) -> int:
    """Return bytes: everything unpacked, and the archives, of which one at a time lies there unless they are kept."""
    if not steps:
        return 0
    packed = [max(0, (step.size or 0) - step.arrived) for step in steps]
    unpacked = dataset.expansion * sum(step.size or 0 for step in steps)
    return round(unpacked + (sum(packed) if keep_archives else max(packed))) + _SPARE_BYTES


def _room_free(folder: Path) -> int:
    return shutil.disk_usage(_existing(folder)).free


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _show(progress: Board, name: str, what: str, done: int, total: int | None) -> None:
    """Show how far a file is in megabytes; one whose size is not known is never shown as whole before its end."""
    whole = max(1, (done if total is None else total) // int(_MB))
    progress.update(f"{what} {name} (MB)", whole if done == total else min(done // int(_MB), whole - 1), whole)


def _print_catalogue(datasets: Sequence[Dataset]) -> None:
    table = Table(title="overtone data fetch NAME", title_justify="left")
    for column in ("name", "or", "language", "kHz", "hours", "GB", "licence"):
        numbers = column in {"kHz", "hours", "GB"}
        table.add_column(column, justify="right" if numbers else "left", no_wrap=column in {"name", "or"})
    for dataset in datasets:
        table.add_row(
            dataset.name,
            ", ".join(dataset.aliases),
            dataset.languages,
            f"{dataset.sample_rate / 1000:g}",
            "?" if dataset.hours is None else f"{dataset.hours:g}",
            "?" if dataset.size is None else f"{dataset.size / _GB:.1f}",
            dataset.licence,
        )
    console.print(table)
    _say("Below 44.1 kHz a corpus is too narrow for the preset fullband. `--dry-run` says more of each.")


def _describe(dataset: Dataset) -> None:
    _say(f"{dataset.name}: {dataset.title}")
    _say(f"  Licence {dataset.licence}; attribution: {dataset.attribution}; {dataset.page}")
    amounts = (
        f"{dataset.sample_rate / 1000:g} kHz",
        None if dataset.hours is None else f"{dataset.hours:g} h",
        None if dataset.speakers is None else f"{dataset.speakers} speakers",
        None if dataset.clips is None else f"{dataset.clips} clips",
    )
    _say(f"  {', '.join(amount for amount in amounts if amount)}")
    if not dataset.is_fullband:
        _say("  Warning: too narrow for the preset fullband, which wants 44.1 kHz or more.")


def _print_plan(dataset: Dataset, folder: Path, mirror: str | None) -> None:
    steps = _steps(dataset, folder, mirror, probe=False)
    for step in steps:
        size, checksum = step.size, step.file.checksum
        amount = "size unknown, asked from the server before the download"
        if size is not None:
            amount = f"{size / _MB:,.1f} MB ({size} bytes)"
        _say(f"  {step.urls[0]}: {amount}, {checksum.split(':')[0] if checksum else 'no checksum published'}")
    if not steps:
        _say(f"  Nothing to download: all archives are unpacked in {folder}.")
    mirrors = [mirror] if mirror and mirror not in dataset.mirrors else dataset.mirrors
    _say(f"  Mirrors: {', '.join(mirrors)}")
    if dataset.protocol is not None:
        _say(
            f"  Split: without {', '.join(dataset.protocol.leave_out)}; the last {dataset.protocol.last_for_test} "
            f"speakers for test, the last {dataset.protocol.share_for_val:.0%} of the others for val"
        )
    if dataset.unverified:
        words = ", ".join(word.replace("_", " ") for word in dataset.unverified)
        _say(f"  Not verified against a second source: {words}")
    least = "at least " * any(step.size is None for step in steps)
    needed = _room_needed(dataset, steps, keep_archives=False)
    _say(f"  Into {folder}: {least}{needed / _GB:.1f} GB needed, {_room_free(folder) / _GB:.1f} GB free")
    _say("Dry run: nothing was downloaded.")


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
