"""The card that goes with an exported model: what it is for, what it learnt from, how good, how late and how fast."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from datamodules.corpora.corpus import Corpus
from evaluation.measures.catalogue import MEASURES
from evaluation.measures.declaration import Shown
from evaluation.statistics.intervals import summary
from experiments.export.parity import Parity
from experiments.export.source import ModelSource
from experiments.pages.tables import markdown_table
from experiments.ranking.band_levels import band_level_rows, over_conditions
from experiments.ranking.columns import band_heading, level, rows_of
from experiments.ranking.primary import average_seeds
from overtone.files import written_whole
from overtone.model_package import Model
from overtone.preservation import complete_hz

WORST_SPEAKERS = 5
TASK = {"type": "audio-to-audio", "name": "Speech super-resolution"}
DIGITS = 4
HOW_TO_USE = """## How to use it

With the package `overtone`, which needs no torch:

```python
import overtone

model = overtone.load("DIR")  # this folder
enhanced, rate = model.enhance(samples, 16000)  # (samples,) or (samples, channels), float or int16
```

For files and pipes: `overtone enhance old.mp3 --out new.flac --model DIR`."""


@dataclass(frozen=True)
class Speed:
    """What a package costs on one core of the machine that exported it.

    Attributes:
        whole_file: real-time factor of a whole array; lower is faster.
        streaming: real-time factor in blocks of 10 ms.
        machine: the processor's name.
    """

    whole_file: float
    streaming: float
    machine: str


@dataclass(frozen=True)
class TrainingData:
    """What the card says of the speech and the sounds that a model learnt from.

    Attributes:
        minutes: by kind, corpus and licence.
        attributions: of licences that ask for them.
        speakers: of the speech.
        same: whether the corpus given is the one that the training's record names; None where there is no record.
    """

    minutes: Mapping[tuple[str, str, str], float]
    attributions: Sequence[str]
    speakers: int
    same: bool | None


def training_data(corpus: Corpus, manifest: Path, digest: str | None) -> TrainingData:
    """Collect licences and minutes of what the train split holds.

    Args:
        corpus: what the manifest names.
        manifest: with columns ``path`` and, where known, ``corpus``, ``licence`` and ``attribution``.
        digest: of the corpus that the model was trained on, None where that is not known.
    """
    rows = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    about = {
        str((manifest.parent / path).resolve()): row
        for path, row in zip(rows["path"], rows.to_dict("records"), strict=True)
    }
    clips = {
        "speech": corpus.split("train"),
        "noise": corpus.noises_for("train"),
        "music": corpus.music_for("train"),
        "impulse responses": corpus.impulse_responses_for("train"),
    }
    minutes: defaultdict[tuple[str, str, str], float] = defaultdict(float)
    attributions: dict[str, None] = {}
    for kind, of_kind in clips.items():
        for clip in of_kind:
            row = about.get(str(clip.path.resolve()), {})
            minutes[kind, row.get("corpus") or "-", row.get("licence") or "not stated"] += clip.seconds / 60
            attributions[row.get("attribution", "")] = None
    return TrainingData(
        minutes=dict(sorted(minutes.items())),
        attributions=[one for one in attributions if one],
        speakers=len({clip.speaker for clip in clips["speech"]}),
        same=None if digest is None else digest == corpus.digest,
    )


def write_card(
    path: Path,
    model: Model,
    source: ModelSource,
    parity: Parity,
    *,
    data: TrainingData | None = None,
    speed: Speed | None = None,
) -> None:
    """Write the model card as Markdown, with front matter for programs.

    Args:
        path: of the card.
        model: the exported package, loaded.
        source: the trained model, with its scores where there are any.
        parity: the export's proof.
        data: what it learnt from; None where that is not known.
        speed: measured on this machine; None leaves it out.
    """
    sections = [
        f"{_front_matter(model, source)}\n\n{_title(model, source)}",
        HOW_TO_USE,
        _use(model),
        _cost(model, speed),
        scores_section(source),
        _data_section(source, data),
        _proof(parity),
    ]
    with written_whole(path) as temporary:
        temporary.write_text("\n\n".join(sections) + "\n")


def _front_matter(model: Model, source: ModelSource) -> str:
    """YAML between two lines of dashes, for programs.

    Its ``model-index`` is the one of Hugging Face's model cards: a result per condition, with data set, digest as its
    revision, and split; of each measure the mean over speakers, the 95 % interval and the version of its definition.
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
    digest = source.training.get("data_digest")
    for condition, rows in _means(source).groupby("condition", sort=False):
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


def _means(source: ModelSource) -> pd.DataFrame:
    """Scores by condition, as `evaluation.statistics.intervals.summary` gives them.

    Those of the headline measures, and of measures that only a whole system has.
    """
    assert source.scores is not None
    scores = average_seeds(source.scores)
    wanted = (key for key, one in MEASURES.items() if one.shown >= Shown.HEADLINE or one.over_pairs is not None)
    return summary(scores, [key for key in wanted if key in scores])


def _title(model: Model, source: ModelSource) -> str:
    trained = f", trained for preset `{source.preset}`" if source.preset else ""
    examples = source.training.get("budget", {}).get("examples")
    seen = f" It saw {examples} training examples." if examples else ""
    return (
        f"# {model.name}, {model.sample_rate} Hz\n\nSpeech super-resolution: low-quality speech in, speech with its "
        f"full band at {model.sample_rate} Hz out. Architecture `{model.name}`{trained}, from {source.origin}.{seen}"
    )


def _use(model: Model) -> str:
    nyquist = model.sample_rate / 2000
    complete = complete_hz(model.sample_rate, model.widest_input_hz) / 1000
    return (
        "## Intended use\n\nSpeech that lost its upper band, to a telephone, a low sample rate or a codec, in files or "
        "as it comes. Whatever the input holds up to its own bandwidth stays as it is, unless denoising is asked "
        "for.\n\n"
        "## Limits\n\n"
        f"- What is above the input's bandwidth, up to {nyquist:g} kHz, is invented: plausible, not what was said into "
        "the microphone. It is no evidence of anything, and not for telling speakers apart.\n"
        f"- Input that reaches {complete:g} kHz passes unchanged: to extend it was not part of the training.\n"
        "- Trained on speech: music and other sounds get what speech would have there.\n"
        "- Input that was clipped, or whose packets were lost, is not repaired unless the preset trained for it.\n"
        "- Output is not limited: peaks may exceed full scale."
    )


def _cost(model: Model, speed: Speed | None) -> str:
    latency = model.hop_samples + model.delay_samples
    lines = [
        f"- Algorithmic latency: {latency} samples at {model.sample_rate} Hz, "
        f"{1000 * latency / model.sample_rate:.1f} ms; resampling, where rates differ, adds at most 5 ms each way.",
    ]
    if speed is not None:
        lines.append(
            f"- Real-time factor on one core ({speed.machine}): {speed.whole_file:.3f} whole-file, "
            f"{speed.streaming:.3f} streaming in blocks of 10 ms."
        )
    return "## Latency and speed\n\n" + "\n".join(lines)


def scores_section(source: ModelSource) -> str:
    """Return the section of scores: the headline measures by condition, and where the model fails."""
    if source.scores is None:
        return "## Scores\n\nNot scored: exported from a file of weights without a score table beside it."
    means = _means(source)
    rows = [
        (row["condition"], row["key"], f"{row['mean']:.3f}", f"{row['low']:.3f} to {row['high']:.3f}", row["speakers"])
        for row in means.to_dict("records")
        if row["utterances"]
    ]
    uses = source.evidence.get("test_uses")
    used = f" The test split of this corpus had been used for {uses} comparisons by then." if uses else ""
    words = "\n".join(
        f"- `{key}` (version {MEASURES[key].version}): {MEASURES[key].description}" for key in means["key"].unique()
    )
    table = markdown_table(["condition", "measure", "mean", "95 % interval", "speakers"], rows)
    return (
        "## Scores\n\nOn test speakers, of whom none was heard in training; means over speakers. They are of the "
        f"model's own output, without the runtime's preservation of what the input holds.{used}\n\n{table}\n\n{words}"
        f"\n\n{_levels(source.scores)}{_failures(average_seeds(source.scores))}"
    )


def _levels(scores: pd.DataFrame) -> str:
    """Return the table of bias and spread over frequency; nothing where the scores are older than it is."""
    rows = [
        (band_heading(row["low_hz"], row["high_hz"]), level(row["bias_db"], row["spread_db"]), row["speakers"])
        for row in rows_of(over_conditions(band_level_rows(scores)))
    ]
    if not rows:
        return ""
    return (
        "How much too loud (+) or too quiet (-) it is in the missing band: mean level error of loud frames ± its "
        "standard deviation over frames, means over speakers, then over the conditions under which a band is missing."
        f"\n\n{markdown_table(['kHz', 'dB', 'speakers'], rows)}\n\n"
    )


def _failures(scores: pd.DataFrame) -> str:
    """Return where it fails: the condition and the speakers with the worst primary score."""
    condition = scores.groupby("condition", sort=False)["primary"].mean().idxmax()
    speakers = scores.groupby("speaker")["primary"].mean().sort_values(ascending=False)
    worst = ", ".join(f"{speaker} ({value:.2f})" for speaker, value in speakers.head(WORST_SPEAKERS).items())
    return (
        f"Where it fails, by the primary score (0.5 is what doing nothing has): worst under `{condition}`; worst for "
        f"the speakers {worst}; {speakers.median():.2f} for the one in the middle."
    )


def _data_section(source: ModelSource, data: TrainingData | None) -> str:
    digest = source.training.get("data_digest")
    lines = ["## Data and licences", ""]
    if data is None or data.same is False:
        lines.append(
            "Not stated: the corpus was not named when the model was exported."
            if data is None
            else "Not stated: the corpus that was named at export is not the one that the model was trained on."
        )
    else:
        rows = [(*group, f"{minutes:.1f}") for group, minutes in data.minutes.items()]
        unknown = "" if data.same else " as named at export; the training's own record is not there to compare"
        lines.append(f"{data.speakers} speakers in training{unknown}.\n")
        lines.append(markdown_table(["kind", "corpus", "licence", "minutes"], rows))
        if data.attributions:
            lines += ["", "Attributions:", "", *(f"- {name}" for name in data.attributions)]
    if digest:
        lines += ["", f"Digest of the corpus: `{digest}`."]
    return "\n".join(lines)


def _proof(parity: Parity) -> str:
    speech = "real speech" if parity.real else "generated, speech-like clips"
    return (
        f"## Proof\n\nThe exported graph equals the PyTorch model within {parity.largest.difference:.1e} "
        f"(full scale 1) over {speech}, odd lengths and block sizes; every comparison is in parity.md. "
        "SHA256SUMS covers all files."
    )
