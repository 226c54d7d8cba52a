"""The front matter of a model card: what the card says of scores, for programs, in the form that model hubs read."""

from collections.abc import Iterator
from typing import Any

import yaml

from evaluation.measures.catalogue import MEASURES, keys_shown
from evaluation.measures.declaration import Shown
from evaluation.statistics.intervals import summary
from experiments.export.source import ModelSource
from experiments.ranking.primary import average_seeds
from overtone.model_package import Model

TASK = {"type": "audio-to-audio", "name": "Speech super-resolution"}
DIGITS = 4


def front_matter(model: Model, source: ModelSource) -> str:
    """Return YAML between two lines of dashes, to stand at the very beginning of a card.

    Its ``model-index`` is the one of Hugging Face's model cards: a result per condition, with data set, digest as its
    revision, and split; of each measure the mean over speakers, the 95 % interval and the version of its definition.

    Args:
        model: the exported package.
        source: the trained model, with its scores where there are any.
    """
    card: dict[str, Any] = {
        "library_name": "overtone",
        "pipeline_tag": TASK["type"],
        "tags": ["speech-super-resolution", "bandwidth-extension", model.name],
    }
    if source.scores is not None:
        card["model-index"] = [{"name": f"overtone {model.name}", "results": list(_results(source))}]
    return f"---\n{yaml.safe_dump(card, sort_keys=False, allow_unicode=True, default_flow_style=None, width=1000)}---"


def _results(source: ModelSource) -> Iterator[dict[str, Any]]:
    assert source.scores is not None
    scores = average_seeds(source.scores)
    digest = source.training.get("data_digest")
    means = summary(scores, [key for key in keys_shown(Shown.HEADLINE) if key in scores])
    for condition, rows in means.groupby("condition", sort=False):
        dataset = {
            "name": f"{source.preset or 'unnamed'} corpus, {condition}",
            "type": f"overtone-{source.preset or 'corpus'}",
            "config": str(condition),
            "split": "test",
        }
        metrics = [
            {
                "type": row["key"],
                "name": MEASURES[row["key"]].heading,
                "value": round(float(row["mean"]), DIGITS),
                "args": {
                    "version": MEASURES[row["key"]].version,
                    "unit": MEASURES[row["key"]].unit,
                    **{f"{end}_95": round(float(row[end]), DIGITS) for end in ("low", "high")},
                    "speakers": int(row["speakers"]),
                },
            }
            for row in rows.to_dict("records")
            if row["utterances"] and row["mean"] == row["mean"]  # a failed score is no number
        ]
        if metrics:
            revision = {"revision": digest} if digest else {}
            yield {"task": dict(TASK), "dataset": dataset | revision, "metrics": metrics}
