"""Pictures of a corpus, and of one clip under damage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from datamodules.corpora.loudness import LoudnessMeter
from datamodules.corpora.manifest import SPLITS
from datamodules.degradation.conditions import parse_conditions
from datamodules.degradation.scene import HeldRecordings, Scene
from experiments.pages.spectrograms import spectrogram_row
from experiments.presets.preset import load_preset
from overtone.audio import Waveform, resample
from overtone.audio_files.recordings import read_audio

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FULL_BAND_HZ = 21500
_HIGHEST_RATE = 48000
_SECONDS = 5.0
_SNR_DB, _LOUDNESS_LUFS, _KBPS = 15, -23.0, 32
_MOST_SPEAKERS = 40
_COLOURS = ("#3b528b", "#21918c", "#e07b39", "#8a8a8a")


def corpus_figure(files: pd.DataFrame, name: str) -> Figure:
    """Draw where bands end, how much each speaker says, and at which rates.

    Args:
        files: a prepared manifest.
        name: of the corpus, for the title.

    Returns:
        A figure of its own, unknown to pyplot.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    speech = files[files["kind"] == "speech"] if (files["kind"] == "speech").any() else files
    figure = Figure(figsize=(13, 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    minutes = speech["seconds"].sum() / 60
    figure.suptitle(f"{name}: {len(speech)} clips, {speech['speaker'].nunique()} speakers, {minutes:.0f} minutes")
    bands, speakers, rates = figure.subplots(1, 3, width_ratios=(4, 5, 2))
    splits = [split for split in SPLITS if (speech["split"] == split).any()]
    splits += sorted(set(speech["split"].dropna()) - set(splits))
    _draw_bands(bands, speech, splits)
    _draw_speakers(speakers, speech, splits)
    _draw_rates(rates, speech)
    return figure


def _colour(number: int) -> str:
    return _COLOURS[min(number, len(_COLOURS) - 1)]


def _draw_bands(panel: Axes, speech: pd.DataFrame, splits: list[str]) -> None:
    top = max(speech["effective_bandwidth_hz"].max() / 1000, 1.0)
    of_split = [speech[speech["split"] == split] for split in splits]
    panel.hist(
        [some["effective_bandwidth_hz"] / 1000 for some in of_split],
        bins=list(np.arange(0.0, top + 0.5, 0.5)),
        weights=[some["seconds"] / 60 for some in of_split],
        stacked=True,
        label=splits,
        color=[_colour(number) for number in range(len(splits))],
    )
    panel.set(title="Where the band ends", xlabel="effective bandwidth, kHz", ylabel="minutes")
    panel.legend(frameon=False)


def _draw_speakers(panel: Axes, speech: pd.DataFrame, splits: list[str]) -> None:
    seconds = speech.groupby("speaker")["seconds"].sum().sort_values(ascending=False)
    split_of = speech.groupby("speaker")["split"].first()
    colours = [_colour(splits.index(split_of[name])) for name in seconds.index]
    panel.bar(
        range(len(seconds)), seconds.to_numpy() / 60, width=1.0 if len(seconds) > _MOST_SPEAKERS else 0.8, color=colours
    )
    panel.set(title="Minutes per speaker", ylabel="minutes", xlabel="speakers, by duration")
    if len(seconds) <= _MOST_SPEAKERS // 2:
        panel.set_xticks(
            range(len(seconds)), [str(name) for name in seconds.index], rotation=60, ha="right", fontsize=8
        )
        panel.set_xlabel("")
    if seconds.iloc[0] > 20 * seconds.median():
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")


def _draw_rates(panel: Axes, speech: pd.DataFrame) -> None:
    minutes = speech.groupby("sample_rate")["seconds"].sum() / 60
    bars = panel.bar([f"{rate / 1000:g}" for rate in minutes.index], minutes.to_numpy(), color=_COLOURS[0])
    panel.bar_label(bars, fmt="%.0f", fontsize=8)
    panel.set(title="Sample rates", xlabel="kHz", ylabel="minutes")


def clip_figure(path: Path, noise: Path | None, condition_preset: str | None = None) -> Figure:
    """Draw the spectrograms of a clip before and after damage, on one colour scale and to the Nyquist frequency.

    Args:
        path: the clip; its first five seconds are drawn, at 48 kHz at most.
        noise: a background noise, None for a synthetic one.
        condition_preset: draw this preset's test conditions; None for the stages of the original's recipe: noise,
            one loudness, MP3.

    Raises:
        OvertoneError: the clip or the noise cannot be read, or there is no such preset.
    """
    native, native_rate = read_audio(path)
    rate = min(native_rate, _HIGHEST_RATE)
    clip = resample(native[: round(_SECONDS * native_rate)], native_rate, rate)
    noises = HeldRecordings(() if noise is None else (resample(*read_audio(noise), rate),))
    scene = Scene(rate, np.random.default_rng(0), noises=noises)
    waveforms = _stages(clip, scene) if condition_preset is None else _conditions(clip, scene, condition_preset)
    return spectrogram_row(waveforms, rate, title=path.name, panel_inches=(3.3, 3.2))


def _stages(clip: Waveform, scene: Scene) -> dict[str, Waveform]:
    noisy = _damaged(clip, scene, {"noise": {"snr_db": _SNR_DB}})
    meter = LoudnessMeter(scene.sample_rate)
    meter.add(noisy)
    standardised = noisy if meter.lufs is None else noisy * np.float32(10 ** ((_LOUDNESS_LUFS - meter.lufs) / 20))
    return {
        "uncompressed": clip,
        f"with noise, {_SNR_DB} dB SNR": noisy,
        f"standardised to {_LOUDNESS_LUFS:.0f} LUFS": standardised,
        f"compressed, MP3 {_KBPS} kbps": _damaged(standardised, scene, {"mp3": {"kbps": _KBPS}}),
    }


def _damaged(clip: Waveform, scene: Scene, step: dict[str, dict[str, float]]) -> Waveform:
    (condition,) = parse_conditions({"stage": {"steps": [step]}})
    return condition.apply(clip, scene)


def _conditions(clip: Waveform, scene: Scene, preset: str) -> dict[str, Waveform]:
    conditions = parse_conditions(load_preset(preset).data.test_conditions, fixed=True)
    return {"uncompressed": clip} | {condition.name: condition.apply(clip, scene) for condition in conditions}
