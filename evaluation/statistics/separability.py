"""Can a simple classifier tell what a system made from what was recorded?"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST_FOLDS = 5


def separability(real: ArrayLike, generated: ArrayLike, speakers: Sequence[str]) -> float:
    """Area under the ROC curve of a linear classifier that tells real from generated.

    A classifier two-sample test (Lopez-Paz and Oquab 2017) with logistic regression on standardised features,
    cross-validated by speaker: whoever is judged was not learnt from, and both versions of an utterance are on the same
    side. It needs no trained weights, and hears what differs consistently, however little. Whatever is wrong at random,
    about as often in one direction as in the other, it does not hear: no system is good for being near 0.5 alone.

    Args:
        real: features of recordings ``(utterances, features)``, as `band_statistics` gives them.
        generated: those of a system's estimates of the same utterances, of the same shape.
        speakers: whom each utterance belongs to ``(utterances,)``.

    Returns:
        0 to 1; 0.5 is best, where chance is, and 1 is told apart always.

    Raises:
        ValueError: other shapes than stated, or fewer than two speakers.
    """
    return float(shares_less_suspect(real, generated, speakers).mean())


def shares_less_suspect(real: ArrayLike, generated: ArrayLike, speakers: Sequence[str]) -> NDArray[np.float64]:
    """For each generated utterance the share of all recordings that are taken for generated less than it is.

    Their mean is `separability` (the placement values of Hanley and Hajian-Tilaki 1997); a tie counts one half.

    Args:
        real: as `separability` takes it.
        generated: the same.
        speakers: the same.

    Returns:
        ``(utterances,)``, 0 to 1.

    Raises:
        ValueError: as `separability`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    sides = [np.asarray(side, dtype=np.float64) for side in (real, generated)]
    if sides[0].shape != sides[1].shape or sides[0].ndim != 2 or len(speakers) != len(sides[0]):
        raise ValueError(
            f"expected two tables (utterances, features) and a speaker for each utterance, received "
            f"{sides[0].shape}, {sides[1].shape} and {len(speakers)} speakers"
        )
    count = len(set(speakers))
    if count < 2:
        raise ValueError(f"expected utterances of two speakers or more, received {count}")
    with threadpool_limits(1):  # several threads take longer for so little, much longer on a busy machine
        decided = cross_val_predict(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
            np.concatenate(sides),
            np.repeat([0, 1], len(speakers)),
            groups=[*speakers, *speakers],
            cv=GroupKFold(min(MOST_FOLDS, count)),
            method="decision_function",
        )
    recorded, made = np.sort(decided[: len(speakers)]), decided[len(speakers) :]
    below, up_to = (np.searchsorted(recorded, made, side) for side in ("left", "right"))
    return (below + up_to) / (2.0 * len(speakers))
