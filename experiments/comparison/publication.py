"""What reviewers find in the tracker: scores, samples and words in each run, and the registered champion."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from datamodules.corpora.corpus import Corpus
from evaluation.contracts import Utterance
from evaluation.measures.catalogue import MEASURES, keys_shown
from evaluation.measures.declaration import Shown
from evaluation.statistics.intervals import speaker_mean
from experiments.pages.samples import Sample, write_samples_page
from experiments.pages.spectrograms import spectrogram_row
from experiments.pages.tables import markdown_table
from experiments.presets.preset import Preset, champion_name
from experiments.publication.overview import EPOCHS, RANK, SAMPLES_NAME, artifact_link, comparison_key, registry_words
from experiments.ranking.band_levels import band_level_means, grouped_metrics
from experiments.ranking.columns import RUN_TIME_COSTS
from experiments.ranking.findings import Findings
from experiments.ranking.leaderboard import status_text
from experiments.ranking.outranking import reads_target
from experiments.ranking.primary import PRIMARY
from experiments.report.utterances import UtteranceName
from experiments.report.words import headline
from experiments.runs import comparison_experiment
from experiments.scoring.splits import write_scores
from experiments.tracking.pyfunc import PACKAGE_FOLDER
from experiments.tracking.registered_models import RegisteredVersion
from experiments.tracking.run import Run
from experiments.tracking.store import KEY_TAG
from experiments.tracking.tracker import Tracker
from experiments.training.fit import run_tags
from experiments.training.places import TrainingPlace
from experiments.training.trained_system import TrainedSystem
from overtone.audio import Waveform
from overtone.files import written_whole
from overtone.progress import Board

SAMPLES = 3
UTTERANCES = "tables/per_utterance.json"


@dataclass(frozen=True)
class Evidence:
    """What a champion was chosen on, beyond its own scores.

    Attributes:
        key: of the decision: registering the same one again changes nothing.
        tags: of the registered version.
        words: Markdown, at the top of the decision's run.
        files: kept beside the weights, by the name that each gets.
    """

    key: str
    tags: Mapping[str, str]
    words: str
    files: Mapping[str, Path]


@dataclass(frozen=True)
class Publisher:
    """Writes one comparison's results to a tracker.

    Attributes:
        tracker: where to.
        preset: the declared comparison.
        corpus: the clips it ran on.
        folder: the comparison's folder.
        findings: what it found.
        links: what follows the server's address to open each published run, by the run's name.
    """

    tracker: Tracker
    preset: Preset
    corpus: Corpus
    folder: Path
    findings: Findings
    links: dict[str, str] = field(default_factory=dict)

    def publish(
        self,
        places: Sequence[TrainingPlace],
        utterances: Mapping[UtteranceName, Utterance],
        progress: Board,
    ) -> None:
        """Complete the run of every training, add one of every other system, and describe the experiment.

        Args:
            places: the trainings.
            utterances: those of `sample_names` at least.
            progress: told how far it is.
        """
        experiment, scores = comparison_experiment(self.preset.name), self.findings.scores
        samples = [utterances[name] for name in sample_names(scores)]
        heard = {"narrowband": samples[0].narrowband}
        for number, place in enumerate(places):
            progress.update("publish", number, len(places) + 1, place.name)
            rows = _rows_of(place, scores)
            system = TrainedSystem.load(place)
            if place.seed == 0 and system.latency_samples is not None:
                heard[place.model] = system(samples[0])
            found = self.findings.row(place.model)
            tags = run_tags(self.preset, place, self.corpus) | {"test_uses": str(self.findings.test_uses)}
            with self.tracker.run(experiment, place.name, tags, place.key) as run:
                self._log_scores(run, rows)
                run.log_metrics({f"work/{key}": float(found[key]) for key in RUN_TIME_COSTS})
                run.log_metrics({RANK: float(found["rank"])})
                run.log_file(self._samples_page(place, system, samples, rows))
                run.set_tags({"status": status_text(found)})
                run.describe(_words(place.model, rows, self.findings, place.key))
                self.links[place.name] = run.url_fragment
        others = [name for name in self.findings.systems if self.findings.selection.candidate(name) is None]
        for name in reversed(others):  # below the candidates MLflow shows what was begun last first
            kind = str(self.findings.selection.status(name))  # control, or external
            tags = {"model": name, "variant": kind, "preset": self.preset.name, "status": kind}
            with self.tracker.run(experiment, name, tags, comparison_key(self.folder, name)) as run:
                rows = scores[scores["system"] == name]
                self._log_scores(run, rows)
                if name in self.findings.external:
                    found = self.findings.row(name)
                    run.log_metrics({"work/rtf": float(found["rtf"]), RANK: float(found["rank"])})
                    run.describe(_words(name, rows, self.findings))
                else:
                    run.describe(_control_words(name))
        self._spectrograms(heard | {"target": samples[0].wideband}, samples[0])
        progress.update("publish", len(places) + 1, len(places) + 1)

    def _log_scores(self, run: Run, rows: pd.DataFrame) -> None:
        metrics = score_metrics(rows)
        run.log_metrics(grouped_metrics(metrics, "test"))
        # MLflow compares runs by a table's first column and shows its second; of each 20 letters are in sight.
        measures = [key for key in metrics if key != PRIMARY]
        table = rows[[PRIMARY, "condition", *measures, "file", "speaker", "failures", "not_applicable"]]
        table.insert(0, "utterance", short_names(rows["file"]) + " · " + rows["condition"])
        run.log_table(table, UTTERANCES)

    def _samples_page(
        self, place: TrainingPlace, system: TrainedSystem, utterances: Sequence[Utterance], rows: pd.DataFrame
    ) -> Path:
        """Write a training's page of samples and return its path; the rows are its score table on test."""
        samples = []
        for utterance in utterances:
            row = rows[(rows["file"] == utterance.file) & (rows["condition"] == utterance.condition)].iloc[0]
            clips = {
                "narrowband": utterance.narrowband,
                "enhanced": system(utterance),
                "target": utterance.wideband,
            }
            shown = [f"{key} {row[key]:.3f}" for key in _headline_keys() if pd.notna(row[key])]
            note = f"{utterance.condition}, speaker {utterance.speaker}: {', '.join(shown)}"
            samples.append(Sample(utterance.file, note, clips, utterance.sample_rate, utterance.cutoff_hz))
        path = self.folder / "samples" / place.name / SAMPLES_NAME
        introduction = f"Preset {self.preset.name}, test speakers; not one of them was heard in training."
        write_samples_page(path, samples, place.name, introduction)
        return path

    def _spectrograms(self, waveforms: Mapping[str, Waveform], utterance: Utterance) -> None:
        """Draw one utterance as every streaming model enhances it."""
        title = f"{utterance.condition}: {utterance.file}"
        figure = spectrogram_row(waveforms, utterance.sample_rate, title, utterance.cutoff_hz)
        with written_whole(self.folder / "spectrograms.png") as temporary:
            figure.savefig(temporary, dpi=80)

    def register(self, place: TrainingPlace, evidence: Evidence | None = None) -> RegisteredVersion | None:
        """Bundle the winner's weights, configuration, scores and export; register them as the preset's champion.

        Args:
            place: the training that ships.
            evidence: what it was chosen on beyond these. The version then belongs to a run of the decision, so that
                the same training can be chosen again on other evidence.

        Raises:
            OvertoneError: the exported graph differs from the model; nothing is registered then.
        """
        files = evidence.files if evidence else {}
        rows = _rows_of(place, self.findings.scores)
        tags = run_tags(self.preset, place, self.corpus) | {
            KEY_TAG: place.key,
            "comparison": self.folder.name,
            "test_uses": str(self.findings.test_uses),
            **{f"test_{key}": f"{speaker_mean(rows, key):.4f}" for key in _headline_keys()},
        }
        bundle = self._bundle(place, rows, files, tags)
        name, experiment = champion_name(self.preset), comparison_experiment(self.preset.name)
        keys = {"run": place.key, "package": evidence.key if evidence else place.key}
        words = registry_words(name, self.findings, keys | {"comparison": comparison_key(self.folder)})
        with self.tracker.run(experiment, place.name, {"status": "champion"}, place.key) as run:
            if evidence is None:
                return self.tracker.register(name, run, bundle, tags, words)
        decision = {"model": "selection", "variant": "selection", "preset": self.preset.name}
        with self.tracker.run(experiment, "selection", decision, evidence.key) as run:
            run.describe(evidence.words)
            return self.tracker.register(name, run, bundle, tags | {**evidence.tags, KEY_TAG: evidence.key}, words)

    def _bundle(
        self, place: TrainingPlace, rows: pd.DataFrame, files: Mapping[str, Path], evidence: Mapping[str, str]
    ) -> Path:
        from experiments.export.package import export_package
        from experiments.export.source import checkpoint_source

        bundle = self.folder / "champion"
        shutil.rmtree(bundle, ignore_errors=True)
        bundle.mkdir(parents=True)
        shutil.copyfile(place.weights, bundle / "model.pt")
        shutil.copyfile(place.folder / "config.yaml", bundle / "config.yaml")
        write_scores(rows, bundle / "scores-test.csv")
        shutil.copyfile(self.folder / "leaderboard.md", bundle / "leaderboard.md")
        for file_name, file in files.items():
            shutil.copyfile(file, bundle / file_name)
        source = replace(
            checkpoint_source(bundle / "model.pt", None),
            origin=f"{place.name} of comparison {self.folder.name}",
            preset=self.preset.name,
            evidence=dict(evidence),
        )
        export_package(source, bundle / PACKAGE_FOLDER, self.corpus)
        return bundle


def sample_names(test: pd.DataFrame) -> list[UtteranceName]:
    """Choose the utterances of the pages of samples: one per condition, each of another speaker.

    Args:
        test: a score table.
    """
    names = []
    for number, (condition, rows) in enumerate(list(test.groupby("condition", sort=False))[:SAMPLES]):
        files = rows["file"].drop_duplicates()
        names.append((str(files.iloc[number * len(files) // SAMPLES]), str(condition)))
    return names


def _rows_of(place: TrainingPlace, scores: pd.DataFrame) -> pd.DataFrame:
    return scores[(scores["system"] == place.model) & (scores["seed"] == place.seed)]


def short_names(files: pd.Series) -> pd.Series:
    """Return files' names without folders and suffixes, whole where these would not tell them apart.

    Args:
        files: paths in a corpus, perhaps with ``+`` and how many clips were joined to it.

    Examples:
        >>> list(short_names(pd.Series(["speech/iris/iris_01.wav+1", "speech/max/max_11.wav"])))
        ['iris_01+1', 'max_11']
    """
    short = files.str.replace(r"^.*/|\.\w+(?=\+\d+$|$)", "", regex=True)
    return short if short.nunique() == files.nunique() else files


def score_metrics(rows: pd.DataFrame) -> dict[str, float]:
    """Return one system's means over speakers: of all measures in its score table, the primary score and its levels."""
    means = {key: speaker_mean(rows, key) for key in (*MEASURES, PRIMARY) if key in rows} | band_level_means(rows)
    return {key: round(value, 4) for key, value in means.items()}


def _headline_keys() -> list[str]:
    return [PRIMARY, *keys_shown(Shown.HEADLINE)]


def _words(model: str, rows: pd.DataFrame, findings: Findings, key: str = "") -> str:
    """Say in Markdown how a model did; a training's, by its run key, begins with what is heard and seen of it."""
    pages = {"Listen": SAMPLES_NAME, "epoch by epoch": EPOCHS, "each utterance": UTTERANCES}
    links = [f"**[{name}]({artifact_link(key, page)})**" for name, page in pages.items() if key]
    lines = [" · ".join([*links, f"**{model}**: {status_text(findings.row(model))}."]), ""]
    lines += [f"- {findings.external[model]}."] if model in findings.external else []
    lines += [f"- disqualified: {reason}" for reason in findings.selection.disqualified.get(model, ())]
    better = {PRIMARY: "lower"} | {key: measure.better for key, measure in MEASURES.items()}
    cells = [(key, f"{speaker_mean(rows, key):.3f}", better[key]) for key in _headline_keys()]
    lines += ["", markdown_table(["measure on test", "mean over speakers", "better"], cells)]
    lines += ["", *([] if key else [f"Each utterance: `{UTTERANCES}`.", ""]), headline(findings)]
    return "\n".join(lines)


def _control_words(name: str) -> str:
    """Say in Markdown what a control is there for."""
    return (
        f"**{name}** is a control, no candidate: it shows what the measures make of a system that has learnt nothing"
        + (" and reads the target." if reads_target(name) else ". A candidate behind it has learnt nothing they hear.")
    )
