"""`python -m benchmarks.pages.failure_stories PRESET`: the original's failures, one by one, before and after.

Everything comes from a finished comparison's trainings: scores, pictures and players of one page of the documentation.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.pages.page_command import comparison_page_parser, run_page_command
from benchmarks.pages.page_parts import player, score_table, utterances_under
from datamodules.corpora.corpus import Corpus
from evaluation.contracts import Utterance
from experiments.data.opening import open_corpus
from experiments.pages.spectrograms import spectrogram_row
from experiments.presets.preset import Preset, load_preset
from experiments.registry import build_model, load_model
from experiments.runs import Workspace, find_runs_folder
from experiments.scoring.rows import score_pairs
from experiments.training.places import TrainingPlace, training_place
from experiments.training.trained_system import enhance_waveform
from models.base import SpeechModule
from overtone.audio import Waveform
from overtone.errors import OvertoneError
from overtone.files import written_whole
from overtone.progress import Board, board

BLOCK_SAMPLES = 2048  # of the original's page


@dataclass(frozen=True)
class Form:
    """One way to enhance: a trained model, or a form as first published, run as its authors ran it.

    Attributes:
        label: what tables and pictures call it.
        model: the registry's name.
        reconstruction: another than the one that it was trained with.
        in_blocks: whether each 2048 samples are enhanced alone.
    """

    label: str
    model: str
    reconstruction: str | None = None
    in_blocks: bool = False


@dataclass(frozen=True)
class Story:
    """A failure of the original, and what became of it.

    Attributes:
        title: the failure.
        text: Markdown: where it came from, and what mends it.
        forms: before, perhaps between, after.
        measures: that hear it, keys of `evaluation.measures.catalogue.MEASURES`.
    """

    title: str
    text: str
    forms: tuple[Form, ...]
    measures: tuple[str, ...]


AUTOENCODER_ORIGINAL = Form("spectrogram_autoencoder_original, whole file", "spectrogram_autoencoder_original")
AUTOENCODER = Form("spectrogram_autoencoder", "spectrogram_autoencoder")
STORIES = (
    Story(
        "The DNN's inverse FFT",
        "The original's first model predicted amplitudes of all frequencies and inverted them without a phase. A "
        "waveform is mostly phase: even perfect amplitudes would be unusable. Griffin-Lim finds a phase that suits "
        "the amplitudes, so that errors of the amplitudes are what remains to be heard. `dnn_fft` keeps the "
        "narrowband's own spectrum where it is sound and generates the rest with the phase of its harmonics or of "
        "noise.",
        (
            Form("dnn_fft_original, inverse FFT", "dnn_fft_original", reconstruction="inverse_fft"),
            Form("dnn_fft_original, Griffin-Lim", "dnn_fft_original", reconstruction="griffin_lim"),
            Form("dnn_fft", "dnn_fft"),
        ),
        ("si_sdr", "visqol", "lsd_low", "content_ber"),
    ),
    Story(
        "WaveGAN's artefacts",
        "The original's generator wrote samples through transposed convolutions: what each stride folds over stays "
        "as a buzz at multiples of the layers' rates, and a critic that judges from the first step on rewards any "
        "high frequencies at all. `wavegan` sets the gains of a filterbank in which the folding cancels, learns "
        "from spectral losses first, and hears the critic late.",
        (Form("wavegan_original", "wavegan_original"), Form("wavegan", "wavegan")),
        ("tonality", "excess_above_band", "lsd_low", "visqol"),
    ),
    Story(
        "Griffin-Lim's choppiness",
        "The original's page cut recordings into blocks of 2048 samples that knew nothing of each other. "
        "Griffin-Lim finds another waveform for each, and they break where they meet. Over the whole file it does "
        "not break, but then nothing streams. `spectrogram_autoencoder` streams with overlap and needs no search "
        "for a phase.",
        (
            Form("spectrogram_autoencoder_original, blocks alone", "spectrogram_autoencoder_original", in_blocks=True),
            AUTOENCODER_ORIGINAL,
            AUTOENCODER,
        ),
        ("seam", "si_sdr", "visqol"),
    ),
    Story(
        "The autoencoder's hallucinations",
        "Squared errors of linear amplitudes see loud frames only: what is written into quiet ones costs nothing. "
        "`spectrogram_autoencoder` learns logarithmic differences, relative to the level of the last second, and "
        "what it generates is scaled by what the input holds.",
        (AUTOENCODER_ORIGINAL, AUTOENCODER),
        ("hallucination", "extended_ber", "lsd_hf_band", "content_ber"),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the page from the command line; a user's mistake is one line and status 2."""
    parser = comparison_page_parser("failure_stories", __doc__, out="docs/failures")
    parser.add_argument("--condition", help="one of the preset's test conditions (default: the first)")
    parser.add_argument("--speaker", help="whom the players let speak (default: the first of the test split)")
    parser.add_argument("--credit", default="", help="under the players: who spoke, and the licence")
    return run_page_command(make_page, parser.parse_args(arguments))


def make_page(options: argparse.Namespace) -> None:
    """Score, draw and write ``index.md`` with its pictures and sounds.

    Raises:
        OvertoneError: a training is missing, or a condition or speaker is unknown.
    """
    preset = load_preset(options.preset)
    runs = find_runs_folder(options.runs)
    with board() as progress:
        corpus = open_corpus(preset, Workspace(runs, options.data), progress)
        places = finished_places(preset, corpus, runs)
        condition = options.condition or next(iter(preset.data.test_conditions))
        utterances = utterances_under(condition, preset, corpus)
        shown = _spoken_by(options.speaker, utterances)
        options.out.mkdir(parents=True, exist_ok=True)
        estimates = _estimates(places, utterances, progress)
        sections = [_introduction(preset, utterances)]
        for number, story in enumerate(STORIES, start=1):
            labels = ["narrowband", *(form.label for form in story.forms)]
            pairs = {label: list(zip(utterances, estimates[label], strict=True)) for label in labels}
            heard = {label: next(sound for utterance, sound in pairs[label] if utterance is shown) for label in labels}
            heard["target"] = shown.wideband
            sections.append(_section(number, story, _scores(story, pairs, progress), heard, shown, options))
    with written_whole(options.out / "index.md") as temporary:
        temporary.write_text("\n\n".join(sections) + "\n")
    print(f"Page: {options.out / 'index.md'}")


def finished_places(preset: Preset, corpus: Corpus, runs: Path) -> dict[str, TrainingPlace]:
    """Return where the first seed of each model that a story needs was trained.

    Raises:
        OvertoneError: one of them is not finished.
    """
    models = sorted({form.model for story in STORIES for form in story.forms})
    places = {model: training_place(runs, preset, model, 0, corpus.digest) for model in models}
    missing = [model for model, place in places.items() if not place.finished]
    if missing:
        raise OvertoneError(
            f"{runs}: no finished training of {', '.join(missing)} for preset {preset.name} on this corpus and code. "
            f"Run `overtone compare {preset.name}` first."
        )
    return places


def _spoken_by(speaker: str | None, utterances: Sequence[Utterance]) -> Utterance:
    for utterance in utterances:
        if speaker in (None, utterance.speaker):
            return utterance
    known = ", ".join(sorted({utterance.speaker for utterance in utterances}))
    raise OvertoneError(f"--speaker {speaker}: expected one of {known}.")


def _estimates(
    places: Mapping[str, TrainingPlace], utterances: Sequence[Utterance], progress: Board
) -> dict[str, list[Waveform]]:
    """Return every form's estimates of all utterances by its label, and the narrowband itself."""
    estimates = {"narrowband": [utterance.narrowband for utterance in utterances]}
    forms = list(dict.fromkeys(form for story in STORIES for form in story.forms))
    for done, form in enumerate(forms, start=1):
        enhance = _enhancer(form, places[form.model])
        estimates[form.label] = [enhance(utterance.narrowband) for utterance in utterances]
        progress.update("enhancing", done, len(forms), form.label)
    return estimates


def _scores(story: Story, pairs: Mapping[str, Sequence[tuple[Utterance, Waveform]]], progress: Board) -> pd.DataFrame:
    tables = []
    for done, (label, estimated) in enumerate(pairs.items(), start=1):
        tables.append(score_pairs(estimated, label, story.measures, block_samples=BLOCK_SAMPLES))
        progress.update(story.title, done, len(pairs), label)
    return pd.concat(tables, ignore_index=True)


def _enhancer(form: Form, place: TrainingPlace) -> Callable[[Waveform], Waveform]:
    module = load_model(place.weights)
    if form.reconstruction is not None:
        trained, settings = module, asdict(module.settings) | {"reconstruction": form.reconstruction}
        module = build_model(form.model, module.sample_rate, settings).eval()
        module.network.load_state_dict(trained.network.state_dict())
    return partial(_in_blocks if form.in_blocks else enhance_waveform, module)


def _in_blocks(module: SpeechModule, narrowband: Waveform) -> Waveform:
    """Enhance each block alone; an incomplete last one stays as it is."""
    blocks, rest = np.split(narrowband, [narrowband.size // BLOCK_SAMPLES * BLOCK_SAMPLES])
    with torch.inference_mode():
        enhanced = module.enhance(torch.from_numpy(blocks.reshape(-1, BLOCK_SAMPLES)))
    return np.concatenate([enhanced.numpy().reshape(-1), rest])


def _introduction(preset: Preset, utterances: Sequence[Utterance]) -> str:
    speakers = len({utterance.speaker for utterance in utterances})
    return (
        "# The original's failures\n\n"
        "The original project found its numbers improving while the sound hardly did. Here is each failure that it "
        "named, as it sounds when the original's form is trained here under the same budget as ours, and what "
        "became of it.\n\n"
        f"Preset `{preset.name}`, condition `{utterances[0].condition}`, {speakers} speakers of the test split; "
        "means over speakers with 95 % intervals. [Measures](../measures.md) says what each column hears. `make "
        f"failures PRESET={preset.name} DATA=FOLDER` writes this page from a finished comparison; do not edit it."
    )


def _section(
    number: int,
    story: Story,
    scores: pd.DataFrame,
    estimates: Mapping[str, Waveform],
    shown: Utterance,
    options: argparse.Namespace,
) -> str:
    picture = f"failure-{number}.png"
    figure = spectrogram_row(estimates, shown.sample_rate, cutoff_hz=shown.cutoff_hz)
    with written_whole(options.out / picture) as temporary:
        figure.savefig(temporary, format="png")
    rate = shown.sample_rate
    players = "\n".join(player(label, waveform, rate, options.out) for label, waveform in estimates.items())
    credit = f"\n\n*{options.credit}*" if options.credit else ""
    return (
        f"## {story.title}\n\n{story.text}\n\n{score_table(story.measures, scores)}\n\n"
        f"![{', '.join(estimates)}]({picture})\n\n{players}{credit}"
    )


if __name__ == "__main__":
    sys.exit(main())
