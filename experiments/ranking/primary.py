"""The primary score of an utterance, and its means over seeds and speakers."""

import pandas as pd

from evaluation.measures.catalogue import MEASURES
from evaluation.statistics.intervals import Interval, applicable, bootstrap_interval, speaker_mean
from experiments.presets.winner_rule import UNPROCESSED
from overtone.errors import OvertoneError

PRIMARY = "primary"
PRIMARY_MEASURES = ("extended_ber", "lsd", "si_sdr")  # what it is made of
SI_SDR_LIMIT_DB = 20.0


def add_primary(scores: pd.DataFrame) -> pd.DataFrame:
    """Add the column ``primary``, in the units of a bit error rate: 0 is best, 0.5 is what doing nothing scores.

    Where a band is missing it is ``extended_ber``. Elsewhere it is half the mean of two ratios to doing nothing:
    that of the log-spectral distances (to the control's mean under the condition) and that of the distortion
    amplitudes, ``10 ** (-(si_sdr - si_sdr of unprocessed) / 20)``, paired by utterance, clipped to 20 dB either way.

    Args:
        scores: a score table; not changed.

    Returns:
        A copy; ``primary`` is NaN where a score behind it failed or, then named in ``not_applicable``, does not apply.

    Raises:
        OvertoneError: no band is missing under a condition, and the control ``unprocessed`` has no scores there.
    """
    scores = scores.copy()
    band_missing = scores["cutoff_hz"].notna()
    scores[PRIMARY] = scores["extended_ber"].astype(float)
    if not band_missing.all():
        scores.loc[~band_missing, PRIMARY] = _ratio_to_unprocessed(scores[~band_missing])
    not_applicable = scores.get("not_applicable", pd.Series("", index=scores.index)).fillna("").astype(str)
    keys = not_applicable.str.split(",")
    undefined = [
        bool(({"extended_ber"} if missing else {"lsd", "si_sdr"}) & set(listed))
        for missing, listed in zip(band_missing, keys, strict=True)
    ]
    scores["not_applicable"] = [
        ",".join(dict.fromkeys([*filter(None, listed), *([PRIMARY] if none else [])]))
        for listed, none in zip(keys, undefined, strict=True)
    ]
    return scores


def _ratio_to_unprocessed(rows: pd.DataFrame) -> pd.Series:
    """Half the mean ratio to doing nothing, for rows in which no band is missing."""
    control = rows[rows["system"] == UNPROCESSED]
    distances = {condition: speaker_mean(group, "lsd") for condition, group in control.groupby("condition")}
    for condition in rows["condition"].unique():
        if condition not in distances or distances[condition] == 0.0:
            raise OvertoneError(
                f"Condition {condition}: no band is missing, so scores are compared with the control {UNPROCESSED!r}, "
                "which has none there or no distance to the target. Score it under every condition."
            )
    untouched = control.drop_duplicates(["file", "condition"]).set_index(["file", "condition"])["si_sdr"]
    index = pd.MultiIndex.from_frame(rows[["file", "condition"]])
    gain = (rows["si_sdr"].to_numpy(float) - untouched.reindex(index).to_numpy(float)).clip(
        -SI_SDR_LIMIT_DB, SI_SDR_LIMIT_DB
    )
    return 0.25 * (rows["lsd"] / rows["condition"].map(distances).astype(float) + 10.0 ** (-gain / 20.0))


def average_seeds(scores: pd.DataFrame) -> pd.DataFrame:
    """Average the training seeds of each system per utterance and condition; a failed seed fails the utterance."""
    identity = ["system", "file", "condition"]
    keys = [key for key in (*MEASURES, PRIMARY) if key in scores]
    means = scores.groupby(identity, sort=False, observed=True)[keys].agg("mean", skipna=False)
    rest = scores.drop(columns=keys).drop_duplicates(identity).set_index(identity)
    return rest.join(means).reset_index()


def interval(averaged: pd.DataFrame, key: str) -> Interval:
    """Return the mean of one system's scores with its 95 % interval.

    Args:
        averaged: the system's rows of a score table, seeds averaged; those that the measure does not apply to are left
            out.
        key: the measure, or ``primary``.
    """
    rows = applicable(averaged, key)
    return bootstrap_interval(
        rows[key],
        rows["speaker"].tolist(),
        conditions=rows["condition"].tolist(),
        files=rows["file"].tolist(),
    )


def failed_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """List the failed scores: columns ``system, file, condition, key, reason``, one row each."""
    keys = [key for key in MEASURES if key in scores]
    listed: list[dict[str, str]] = []
    columns = ["system", "file", "condition", "key", "reason"]
    for row in scores.to_dict("records"):
        reasons = dict(
            entry.partition(": ")[::2] for entry in str(row.get("failures") or "").split("; ") if ":" in entry
        )
        excused = str(row.get("not_applicable") or "").split(",")
        for key in keys:
            if key not in reasons and key not in excused and pd.isna(row[key]):
                reasons[key] = "NaN"
        listed += [
            {name: str(row[name]) for name in columns[:3]} | {"key": key, "reason": reason}
            for key, reason in reasons.items()
        ]
    return pd.DataFrame(listed, columns=columns)
