"""Spectrograms beside each other, for the eye: narrowband, enhanced, target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from overtone.audio import Waveform

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

WINDOW_SECONDS = 0.025
HOP_FRACTION = 4
RANGE_DB = 80.0
TOP_QUANTILE = 0.998
COLUMNS = 800  # more frames than pixels only cost time


def spectrogram_db(waveform: Waveform, sample_rate: int) -> NDArray[np.float32]:
    """Return a power spectrogram in dB, for drawing.

    Args:
        waveform: ``(samples,)``, of any length.
        sample_rate: in Hz.

    Returns:
        ``(bins, frames)``, 0 to Nyquist, 0 dB is a full-scale sine.
    """
    window = round(sample_rate * WINDOW_SECONDS)
    size = 1 << (window - 1).bit_length()
    hop = max(window // HOP_FRACTION, len(waveform) // COLUMNS, 1)
    # scipy refuses signals shorter than half a window
    padded = np.pad(waveform, (0, max(0, window - len(waveform))))
    transform = ShortTimeFFT(hann(window, sym=False), hop, sample_rate, mfft=size, scale_to="magnitude")
    amplitude = 2 * np.abs(transform.stft(padded))
    return np.asarray(20 * np.log10(np.maximum(amplitude, 1e-7)), dtype=np.float32)


def loudest_db(spectrograms: Sequence[NDArray[np.float32]]) -> float:
    """Return the level that the brightest colour stands for, in dB.

    A high quantile and not the maximum: one click or a hum at 0 Hz would darken everything else.
    """
    return max(float(np.quantile(spectrogram, TOP_QUANTILE)) for spectrogram in spectrograms)


def spectrogram_row(
    waveforms: Mapping[str, Waveform],
    sample_rate: int,
    title: str = "",
    cutoff_hz: float | None = None,
    panel_inches: tuple[float, float] = (3.3, 2.6),
) -> Figure:
    """Draw waveforms side by side on one dB scale and one linear frequency axis from 0 to Nyquist.

    Args:
        waveforms: label to ``(samples,)``; the loudest sets the top of the scale.
        sample_rate: in Hz, the same for all.
        title: above the row.
        cutoff_hz: a thin line where the narrowband's own content ends; None for no line.
        panel_inches: width and height of one spectrogram.

    Returns:
        A figure of its own, unknown to pyplot, so nothing has to be closed.
    """
    width, height = panel_inches
    figure = _new_figure((width * len(waveforms) + 0.8, height), title)
    panels = figure.subplots(1, len(waveforms), sharey=True, squeeze=False)[0]
    spectrograms = [spectrogram_db(waveform, sample_rate) for waveform in waveforms.values()]
    top_db = loudest_db(spectrograms)
    for panel, spectrogram, (label, waveform) in zip(panels, spectrograms, waveforms.items(), strict=True):
        extent = (0.0, max(len(waveform), 1) / sample_rate, 0.0, sample_rate / 2000)
        image = _draw(panel, spectrogram, top_db, extent)
        if cutoff_hz is not None:
            panel.axhline(cutoff_hz / 1000, color="white", linewidth=0.7, linestyle=(0, (4, 4)), alpha=0.7)
        panel.tick_params(labelsize=9)
        lines = label.replace(", ", ",\n")
        # Long names become smaller, so that they do not run into their neighbours: a bold letter is about 0.7 of its
        # size wide, and a panel a little narrower than its share.
        size = min(12.0, 72 * width / (0.75 * max(map(len, lines.splitlines()), default=1)))
        panel.set_title(lines, fontsize=size, fontweight="bold")
        panel.set_xlabel("s", fontsize=9, labelpad=1)
    panels[0].set_ylabel("kHz", fontsize=9)
    figure.colorbar(image, ax=list(panels), pad=0.01, aspect=30).set_label("dB", fontsize=9)
    return figure


def spectrogram_picture(waveform: Waveform, sample_rate: int, top_db: float) -> Figure:
    """Draw one spectrogram edge to edge, without axes, for a page that writes its own.

    Args:
        waveform: ``(samples,)``.
        sample_rate: in Hz.
        top_db: the brightest level; the darkest is 80 dB below it.
    """
    figure = _new_figure((4.0, 2.0))
    figure.set_layout_engine("none")  # nothing has to be placed: the picture fills the figure
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    _draw(axes, spectrogram_db(waveform, sample_rate), top_db)
    return figure


def _new_figure(inches: tuple[float, float], title: str = "") -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, dpi=100, layout="constrained")
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def _draw(
    axes: Axes,
    spectrogram: NDArray[np.float32],
    top_db: float,
    extent: tuple[float, float, float, float] | None = None,
) -> AxesImage:
    return axes.imshow(
        spectrogram,
        origin="lower",
        aspect="auto",
        extent=extent,
        vmin=top_db - RANGE_DB,
        vmax=top_db,
        cmap="magma",
        interpolation="antialiased",
    )
