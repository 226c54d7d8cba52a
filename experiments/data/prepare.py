"""`overtone data prepare`: any folder or manifest of audio becomes an indexed corpus."""

from datamodules.corpora.journal import JOURNAL
from datamodules.corpora.manifest import MANIFEST
from datamodules.corpora.preparation import REJECTED, Preparation, prepare
from experiments.data.options import PrepareOptions
from overtone.errors import OvertoneError
from overtone.files import refuse_overwriting
from overtone.progress import Board, board
from overtone.worker_pool import available_cores


def prepare_command(options: PrepareOptions) -> None:
    """Measure the files of a folder or manifest, write ``manifest.csv`` and ``rejected.csv``, and say what came of it.

    Args:
        options: what is measured, and where its manifest goes.

    Raises:
        OvertoneError: as `datamodules.corpora.preparation.prepare`; or there are tables that would be lost.
    """
    out = options.out
    if out.exists() and not out.is_dir():
        raise OvertoneError(f"{out}: expected a folder, got a file. Name another one with --out.")
    for name in (MANIFEST, REJECTED):
        refuse_overwriting(out / name, own=(out / JOURNAL).exists(), overwrite=options.overwrite)
    with board() as progress:
        preparation = prepare(
            options.source,
            out,
            pattern=options.speaker_pattern,
            licence=options.licence or "",
            kind=options.kind,
            jobs=options.jobs or available_cores(),
            progress=lambda done, total: progress.update("measure", done, max(total, 1), "files") if total else None,
        )
        report(preparation, progress)


def report(preparation: Preparation, progress: Board, most: int = 8) -> None:
    """Say what a preparation found and what it rejected.

    Args:
        preparation: what was found.
        progress: told of it.
        most: rejected files that are named.
    """
    rejected = preparation.rejected
    again = f", {preparation.known} files known from before" if preparation.known else ""
    progress.say(
        f"{preparation.clips} usable files, {preparation.seconds / 3600:.2f} hours{again}: {preparation.manifest}"
    )
    if rejected:
        progress.say(f"{rejected.total()} rejected: {preparation.manifest.with_name(REJECTED)}")
    for reason, count in rejected.most_common(most):
        progress.say(f"  {count}: {reason}")
