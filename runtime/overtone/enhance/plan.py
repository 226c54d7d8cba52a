"""Which file is enhanced to which: files, folders and patterns on one side, a file or a folder on the other."""

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from overtone.audio_files.output_forms import FORMAT_OF_SUFFIX, output_suffix
from overtone.audio_files.sources import SUFFIXES
from overtone.errors import OvertoneError, in_words
from overtone.files import refuse_overwriting


@dataclass(frozen=True)
class FileJob:
    """A file to enhance.

    Attributes:
        source: the input.
        target: the output.
    """

    source: Path
    target: Path


@dataclass
class Plan:
    """What is to be done.

    Attributes:
        jobs: files to enhance.
        existing: outputs that are there already, and stay as they are.
        problems: inputs that cannot even be begun with, in words.
    """

    jobs: list[FileJob] = field(default_factory=list)
    existing: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Found:
    source: Path
    relative: Path


def plan_files(inputs: Sequence[str], out: str, format_name: str | None = None, *, overwrite: bool = False) -> Plan:
    """Find the inputs and name their outputs.

    One file may be enhanced to a file. Anything else goes into a folder, in which the structure of an input folder or
    of a pattern is kept; with several inputs, each folder keeps its name as well. Two inputs whose outputs would have
    the same name keep their suffix in it: ``a.wav`` and ``a.mp3`` become ``a.wav.flac`` and ``a.mp3.flac``.

    Args:
        inputs: files, folders and patterns such as ``talks/**/*.mp3``.
        out: the file or the folder.
        format_name: a key of `FORMATS`; None keeps the input's where it is lossless.
        overwrite: whether outputs that exist are made again.

    Raises:
        OvertoneError: there is nothing to enhance, an output would be an input, several inputs would share an output,
            or one file's only output exists.
    """
    for option, text in (*(("INPUT", one) for one in inputs), ("--out", out)):
        if not text:
            raise OvertoneError(f"{option}: is empty. Expected the name of a file or a folder.")
    plan = Plan()
    folder = Path(out)
    found = list(_unique(_find(inputs, folder, plan.problems)))
    if not found:
        reasons = plan.problems or [f"{', '.join(inputs)}: no audio file there. Expected one of {_suffixes()}."]
        raise OvertoneError("\n".join(reasons))
    if _is_file_name(out):
        if len(inputs) > 1 or len(found) > 1 or Path(inputs[0]).is_dir():
            raise OvertoneError(f"--out {out}: is a file, for {len(found)} inputs. Expected a folder: --out {out}/")
        jobs = [FileJob(found[0].source, _target_file(folder, format_name))]
        if jobs[0].target.exists() and not _same_file(jobs[0].target, found):
            refuse_overwriting(jobs[0].target, overwrite=overwrite)
    else:
        jobs = _into_folder(found, folder, format_name)
    _refuse_to_overwrite_inputs(jobs, found)
    for job in jobs:
        if job.target.exists() and not overwrite:
            plan.existing.append(job.target)
        else:
            plan.jobs.append(job)
    return plan


def _find(inputs: Sequence[str], out: Path, problems: list[str]) -> Iterator[_Found]:
    keeps_name = len(inputs) > 1
    for text in inputs:
        path = Path(text)
        if path.exists() or path.is_symlink():  # one that leads nowhere is named later
            yield from _of_path(path, Path(path.name), out, problems, keeps_name=keeps_name)
        elif glob.has_magic(text):
            matched = sorted(glob.glob(text, recursive=True))
            if not matched:
                problems.append(f"{text}: matches no file.")
            yield from _of_matches(path, [Path(match) for match in matched], out, problems)
        else:
            problems.append(f"{text}: no such file or folder.")


def _of_matches(pattern: Path, matches: Sequence[Path], out: Path, problems: list[str]) -> Iterator[_Found]:
    root, any_suffix = _fixed_part(pattern), bool(pattern.suffix) and not glob.has_magic(pattern.suffix)
    for match in matches:
        if out.is_dir() and match.resolve().is_relative_to(out.resolve()):
            continue
        if match.is_dir():
            if "**" not in pattern.parts:  # which matches what is below by itself
                yield from _of_path(match, match.relative_to(root), out, problems, keeps_name=True)
        elif _is_audio(match) or (any_suffix and match.is_file()):
            yield _Found(match, match.relative_to(root))


def _of_path(path: Path, relative: Path, out: Path, problems: list[str], *, keeps_name: bool) -> Iterator[_Found]:
    if not path.is_dir():
        yield _Found(path, relative)
        return
    if out.exists() and path.samefile(out):
        raise OvertoneError(f"--out {out}: is the input folder. Choose another, so that inputs and outputs stay apart.")
    for file in _files_in(path, out, problems):
        below = file.relative_to(path)
        yield _Found(file, relative / below if keeps_name else below)


def _files_in(folder: Path, out: Path, problems: list[str]) -> Iterator[Path]:
    """Yield the audio files of a folder and those below, through links that lead no way back; not the outputs."""
    output = _identity(out) if out.is_dir() else None
    walk = os.walk(folder, followlinks=True, onerror=lambda error: problems.append(in_words(error)))
    for place, below, files in walk:
        below[:] = sorted(
            name for name in below if not name.startswith(".") and _leads_on(Path(place, name), folder, output)
        )
        for name in sorted(files):
            if not name.startswith(".") and _is_audio(file := Path(place, name)):
                yield file


def _is_audio(file: Path) -> bool:
    """Return whether a file is meant: a link to nothing is, which is then named; a pipe would be waited for."""
    return file.suffix.lower() in SUFFIXES and (file.is_file() or not file.exists())


def _leads_on(place: Path, root: Path, output: tuple[int, int] | None) -> bool:
    """Return whether a folder below ``root`` is neither one that holds it nor the output's."""
    try:
        identity = _identity(place)
        above = [parent for parent in place.parents if parent == root or parent.is_relative_to(root)]
        return identity != output and identity not in map(_identity, above)
    except OSError:
        return True  # the walk says why not


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _unique(found: Iterator[_Found]) -> Iterator[_Found]:
    seen = set()
    for one in found:
        key = os.path.abspath(one.source)
        if key not in seen:
            seen.add(key)
            yield one


def _fixed_part(pattern: Path) -> Path:
    """Return the folder that a pattern begins with."""
    parts = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)


def _is_file_name(out: str) -> bool:
    path, suffix = Path(out), Path(out).suffix.lower()
    if out.endswith(("/", os.sep)) or path.is_dir():
        return False
    if path.is_relative_to("/dev") or (path.exists() and not path.is_file()):
        raise OvertoneError(f"--out {out}: is neither a file nor a folder. Standard output is --out -")
    if suffix in SUFFIXES and suffix not in FORMAT_OF_SUFFIX:
        raise OvertoneError(
            f"--out {out}: a format that is not written. Expected one of {', '.join(FORMAT_OF_SUFFIX)}, or a folder: "
            f"--out {out}/"
        )
    return suffix in FORMAT_OF_SUFFIX


def _target_file(out: Path, format_name: str | None) -> Path:
    if format_name is not None and FORMAT_OF_SUFFIX[out.suffix.lower()] != format_name:
        raise OvertoneError(f"--out {out} and --format {format_name} differ. Leave one of them out.")
    return out


def _into_folder(found: Sequence[_Found], folder: Path, format_name: str | None) -> list[FileJob]:
    suffixes = [output_suffix(one.source, format_name) for one in found]
    names = [one.relative.with_suffix(suffix) for one, suffix in zip(found, suffixes, strict=True)]
    key = str if _tells_case(folder) else _folded
    shared = {text for text, count in Counter(map(key, names)).items() if count > 1}
    names = [
        one.relative.with_name(one.relative.name + suffix) if key(name) in shared else name
        for one, name, suffix in zip(found, names, suffixes, strict=True)
    ]
    sources: dict[str, Path] = {}
    for one, name in zip(found, names, strict=True):
        other = sources.setdefault(key(name), one.source)
        if other != one.source:
            raise OvertoneError(
                f"{other} and {one.source}: both would become {folder / name}. Name the folder that holds both, "
                "or enhance them into different folders."
            )
    return [FileJob(one.source, folder / name) for one, name in zip(found, names, strict=True)]


def _folded(name: Path) -> str:
    return str(name).casefold()


def _tells_case(folder: Path) -> bool:
    """Return whether names that differ in case only are two files there; no where nothing is there to tell by."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    other = there.with_name(there.name.swapcase()) if there.name else there
    return other != there and not other.exists()


def _refuse_to_overwrite_inputs(jobs: Sequence[FileJob], found: Sequence[_Found]) -> None:
    inputs = {_identity(one.source): one.source for one in found if one.source.exists()}
    for job in jobs:
        if job.target.exists() and (source := inputs.get(_identity(job.target))):
            raise OvertoneError(
                f"{job.target}: is the input {source}, which is never overwritten. Choose another --out."
            )


def _same_file(target: Path, found: Sequence[_Found]) -> bool:
    return any(one.source.exists() and target.samefile(one.source) for one in found)


def _suffixes() -> str:
    return ", ".join(sorted(SUFFIXES))
