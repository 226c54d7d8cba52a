"""`overtone data inspect`: what a corpus holds, in tables and pictures."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from rich.table import Table

from datamodules.corpora.manifest import MANIFEST, SPLITS, find_manifest
from datamodules.corpora.preparation import COLUMNS, REJECTED, kind_of_reason, prepare
from experiments.data.figures import FULL_BAND_HZ, clip_figure, corpus_figure
from experiments.data.options import InspectOptions
from overtone.errors import OvertoneError
from overtone.files import written_whole
from overtone.progress import board, console
from overtone.worker_pool import available_cores

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_CLIPPED_SHARE = 1e-4
_TYPICAL_SECONDS = 4.0
_MOST_ROWS = 8


def inspect_command(options: InspectOptions) -> None:
    """Print what a corpus holds, and draw it: ``corpus.png``, and ``clip.png`` with one clip under damage.

    A corpus without measurements is measured for this command only.

    Args:
        options: which corpus, and where its pictures go.

    Raises:
        OvertoneError: there is no such corpus, clip or preset, or nothing in the corpus is usable.
    """
    if options.clip is not None and not options.clip.is_file():
        raise OvertoneError(f"{options.clip}: no such audio file. Name one with --clip.")
    manifest = find_manifest(options.source)
    if manifest and is_prepared(manifest):
        _inspect(manifest, options, options.out or manifest.parent)
        return
    with TemporaryDirectory() as folder, board() as progress:
        preparation = prepare(
            options.source,
            Path(folder),
            jobs=available_cores(),
            progress=lambda done, total: progress.update("measure", done, total, "files"),
        )
        progress.say("Measured for this look only: overtone data prepare keeps what it finds.")
        _inspect(preparation.manifest, options, options.out or Path())


def is_prepared(manifest: Path) -> bool:
    """Return whether a manifest has all columns that ``overtone data prepare`` writes."""
    if manifest.suffix.lower() != ".csv":
        return False
    return set(COLUMNS) <= set(read_table(manifest, rows=0).columns)


def read_table(path: Path, rows: int | None = None) -> pd.DataFrame:
    """Read a CSV file as a table.

    Args:
        path: of the file.
        rows: at most so many; None for all.

    Raises:
        OvertoneError: it is none.
    """
    try:
        return pd.read_csv(path, nrows=rows, dtype={"path": str, "speaker": str, "licence": str}, low_memory=False)
    except (ValueError, OSError) as error:
        raise OvertoneError(f"{path}: not readable as a manifest ({error}).") from None


def _inspect(manifest: Path, options: InspectOptions, out: Path) -> None:
    files = read_table(manifest)
    rejected = manifest.with_name(REJECTED)
    tables = [splits_table(files), quantiles_table(files), minutes_table(files, "sample_rate", "Hz")]
    tables.append(minutes_table(files.fillna({"licence": "not stated"}), "licence", "licence"))
    if rejected.is_file():
        tables.append(rejected_table(read_table(rejected)))
    for table in tables:
        if table.row_count:
            console.print(table)
    clipped = int((files["clipped_share"] > _CLIPPED_SHARE).sum())
    console.print(f"{clipped} of {len(files)} files have more than {_CLIPPED_SHARE:.2%} of their samples clipped.")
    source = options.source
    name = source.parent.name if source.name == MANIFEST else source.name
    drawn = options.clip or manifest.parent / typical_clip(files)
    noise = _a_noise(files, manifest.parent)
    for picture, figure in (
        ("corpus.png", corpus_figure(files, name)),
        ("clip.png", clip_figure(drawn, noise, options.condition_preset)),
    ):
        with written_whole(out / picture) as temporary:
            figure.savefig(temporary)
        console.print(f"{out / picture}", highlight=False, soft_wrap=True)


def splits_table(files: pd.DataFrame) -> Table:
    """Return clips, speakers, minutes and full-band minutes of each kind and split."""
    table = _table(
        "Splits", ("kind", "split"), ("clips", "speakers", "minutes", f"of these >= {FULL_BAND_HZ / 1000} kHz")
    )
    order = {name: str(number) for number, name in enumerate(("speech", *SPLITS))}
    pairs = {(str(kind), str(split)) for kind, split in zip(files["kind"], files["split"], strict=True)}
    for kind, split in sorted(pairs, key=lambda pair: (order.get(pair[0], pair[0]), order.get(pair[1], pair[1]))):
        some = files[(files["kind"] == kind) & (files["split"] == split)]
        full = some.loc[some["effective_bandwidth_hz"] >= FULL_BAND_HZ, "seconds"].sum()
        numbers = (len(some), some["speaker"].nunique(), f"{some['seconds'].sum() / 60:.1f}", f"{full / 60:.1f}")
        table.add_row(kind, split, *map(str, numbers))
    return table


def quantiles_table(files: pd.DataFrame) -> Table:
    """Return how durations, bandwidths, loudness and peaks of the speech (of all files where none is) spread."""
    speech = files[files["kind"] == "speech"] if (files["kind"] == "speech").any() else files
    table = _table("Quantiles over files", ("measure",), tuple(f"{100 * quantile:.0f} %" for quantile in QUANTILES))
    for label, values, decimals in (
        ("seconds", speech["seconds"], 2),
        ("bandwidth, kHz", speech["effective_bandwidth_hz"] / 1000, 2),
        ("loudness, LUFS", speech["loudness_lufs"], 1),
        ("peak, dBFS", speech["peak_dbfs"], 1),
    ):
        table.add_row(label, *(f"{value:.{decimals}f}" for value in values.quantile(list(QUANTILES))))
    return table


def minutes_table(files: pd.DataFrame, column: str, title: str) -> Table:
    """Return clips and minutes for those values of a column that have most of them, and for the others together.

    Args:
        files: a row each, with column ``seconds``.
        column: whose values are counted.
        title: of the table.
    """
    table = _table("", (title,), ("clips", "minutes"))
    values = files.groupby(column)["seconds"].agg(["count", "sum"]).sort_values("sum", ascending=False)
    named = values.head(_MOST_ROWS)
    for value, (count, seconds) in zip(named.index, named.to_numpy(), strict=True):
        table.add_row(str(value), f"{count:.0f}", f"{seconds / 60:.1f}")
    others = values.iloc[_MOST_ROWS:]
    if len(others):
        table.add_row(f"{len(others)} others", str(others["count"].sum()), f"{others['sum'].sum() / 60:.1f}")
    return table


def rejected_table(rejected: pd.DataFrame) -> Table:
    """Return how many files were rejected for each kind of reason."""
    table = _table("Rejected", ("reason",), ("files",))
    for reason, count in rejected["reason"].map(kind_of_reason).value_counts().items():
        table.add_row(str(reason), str(count))
    return table


def _table(title: str, names: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in names:
        table.add_column(name)
    for number in numbers:
        table.add_column(number, justify="right")
    return table


def typical_clip(files: pd.DataFrame) -> str:
    """Return the path of a speech file that shows much: of about four seconds, the band as wide as the corpus has."""
    speech = files[files["kind"] == "speech"] if (files["kind"] == "speech").any() else files
    wide = speech[speech["effective_bandwidth_hz"] >= 0.95 * speech["effective_bandwidth_hz"].quantile(0.9)]
    nearest = (wide["seconds"] - _TYPICAL_SECONDS).abs().sort_values(kind="stable").index[0]
    return str(wide.loc[nearest, "path"])


def _a_noise(files: pd.DataFrame, root: Path) -> Path | None:
    noises = files.loc[files["kind"] == "noise", "path"]
    return root / str(noises.iloc[0]) if len(noises) else None
