"""One self-contained page to hear and see what a model does: nothing is loaded from anywhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from experiments.pages.embedding import asset, audio_uri, markdown_html, spectrogram_webp, webp_uri
from experiments.pages.spectrograms import loudest_db, spectrogram_db
from overtone.audio import Waveform
from overtone.errors import OvertoneError
from overtone.files import written_whole


@dataclass(frozen=True)
class Sample:
    """The same speech in several states.

    Attributes:
        title: what it is, such as the file's name.
        note: one line below it: condition, scores.
        clips: label to waveform ``(samples,)``, of one length; shown in this order.
        sample_rate: of all clips, in Hz.
        cutoff_hz: where the narrowband's own content ends, drawn as a line; None for no line.
        remarks: label to a few words beside it, such as its score.
    """

    title: str
    note: str
    clips: dict[str, Waveform]
    sample_rate: int
    cutoff_hz: float | None = None
    remarks: Mapping[str, str] = field(default_factory=dict)


def playable(waveform: Waveform) -> Waveform:
    """Return a waveform as it can be played: silence where it holds NaN or infinite samples."""
    return waveform if np.isfinite(waveform).all() else np.zeros_like(waveform)


def loudest_part(waveform: Waveform, samples: int) -> slice:
    """Return the part of a waveform ``(samples,)`` with the most energy, or all of a shorter one.

    Args:
        waveform: of any length.
        samples: length of the part.
    """
    if len(waveform) <= samples:
        return slice(0, len(waveform))
    energy = np.concatenate([[0.0], np.cumsum(waveform.astype(np.float64) ** 2)])
    start = int(np.argmax(energy[samples:] - energy[:-samples]))
    return slice(start, start + samples)


def write_samples_page(path: Path, samples: Sequence[Sample], title: str, introduction: str = "") -> None:
    """Write the page, whole or not at all.

    Args:
        path: the HTML file.
        samples: one block each, in this order.
        title: the page's heading.
        introduction: Markdown shown below the heading; HTML in it is shown as text.

    Raises:
        OvertoneError: a sample has no clips, or a clip has no samples.
    """
    page = Template(asset("samples.html")).substitute(
        title=escape(title),
        introduction=markdown_html(introduction),
        samples="\n".join(map(sample_html, samples)) or "<p>There are no samples.</p>",
        style=asset("page.css") + asset("samples.css"),
        script=asset("samples.js"),
    )
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def sample_html(sample: Sample, heading: str = "h2") -> str:
    """Return a sample as a block of a page that has ``samples.css`` and ``samples.js``.

    Args:
        sample: what to show.
        heading: the element that its title is.

    Raises:
        OvertoneError: it has no clips, or a clip has no samples.
    """
    if not sample.clips or any(len(waveform) == 0 for waveform in sample.clips.values()):
        raise OvertoneError(f"sample {sample.title}: a clip is empty; expected one or more samples in each.")
    clips = {label: playable(waveform) for label, waveform in sample.clips.items()}
    # One gain for all clips of a sample: their differences in level are part of what is to be heard.
    gain = 1 / max(1.0, *(float(np.abs(waveform).max()) for waveform in clips.values()))
    top_db = loudest_db([spectrogram_db(clip, sample.sample_rate) for clip in clips.values()])
    buttons, figures = [], []
    for label, waveform in clips.items():
        buttons.append(f'<button type="button">{escape(label)}</button>')
        figures.append(_clip_html(label, waveform * np.float32(gain), sample, top_db))
    title = f"<{heading}>{escape(sample.title)}</{heading}>"
    return (
        f'<section class="sample">{title}<p class="note">{escape(sample.note)}</p>'
        f'<div class="switch" role="group" aria-label="Switch between clips">{"".join(buttons)}</div>'
        f'<div class="clips">{"".join(figures)}</div></section>'
    )


def _clip_html(label: str, waveform: Waveform, sample: Sample, top_db: float) -> str:
    nyquist = sample.sample_rate / 2
    line = ""
    if sample.cutoff_hz is not None and sample.cutoff_hz < nyquist:
        line = f'<span class="cutoff" style="bottom:{100 * sample.cutoff_hz / nyquist:.1f}%"></span>'
    picture = webp_uri(spectrogram_webp(waveform, sample.sample_rate, top_db))
    remark = f" <small>{escape(sample.remarks[label])}</small>" if label in sample.remarks else ""
    return (
        f'<figure><figcaption>{escape(label)}{remark}</figcaption><div class="picture">'
        f'<img alt="Spectrogram of {escape(label)}" src="{picture}">'
        f'{line}<span class="playhead"></span>'
        f'<span class="axis top">{nyquist / 1000:g} kHz</span><span class="axis bottom">0</span></div>'
        f'<audio controls preload="metadata" src="{audio_uri(waveform, sample.sample_rate)}"></audio></figure>'
    )
