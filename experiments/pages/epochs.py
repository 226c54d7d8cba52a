"""One self-contained page to see how a training's output changes, epoch by epoch, under a slider."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from string import Template

from experiments.pages.embedding import asset, webp_uri


@dataclass(frozen=True)
class WatchedClip:
    """A clip that is enhanced after each epoch, as spectrograms.

    Attributes:
        title: what it is, such as its condition.
        narrowband: the input's picture, as WebP.
        target: the target's.
        enhanced: the output's by epoch; epoch 0 is before the training.
        top_khz: the frequency at the upper edge of every picture.
    """

    title: str
    narrowband: bytes
    target: bytes
    enhanced: Mapping[int, bytes]
    top_khz: float


def epochs_page(title: str, clips: Sequence[WatchedClip]) -> str:
    """Return the page as HTML.

    Args:
        title: its heading.
        clips: one row each; all were enhanced after the same epochs.
    """
    epochs = sorted({epoch for clip in clips for epoch in clip.enhanced})
    return Template(asset("epochs.html")).substitute(
        title=escape(title),
        last=max(len(epochs) - 1, 0),
        epochs=" ".join(map(str, epochs)),
        rows="\n".join(map(_row, clips)),
        style=asset("page.css") + asset("samples.css") + asset("epochs.css"),
        script=asset("epochs.js"),
    )


def _row(clip: WatchedClip) -> str:
    newest = max(clip.enhanced, default=0)
    middle = "".join(
        _image(picture, f"Spectrogram enhanced after epoch {epoch}", epoch, hidden=epoch < newest)
        for epoch, picture in sorted(clip.enhanced.items())
    )
    figures = (
        ("narrowband", _image(clip.narrowband, "Spectrogram of the narrowband input")),
        ("enhanced", middle),
        ("target", _image(clip.target, "Spectrogram of the target")),
    )
    axis = f'<span class="axis top">{clip.top_khz:g} kHz</span><span class="axis bottom">0</span>'
    shown = "".join(
        f'<figure><figcaption>{label}</figcaption><div class="picture">{images}{axis}</div></figure>'
        for label, images in figures
    )
    return f'<section class="sample"><h2>{escape(clip.title)}</h2><div class="clips">{shown}</div></section>'


def _image(picture: bytes, words: str, epoch: int | None = None, *, hidden: bool = False) -> str:
    attributes = "" if epoch is None else f' data-epoch="{epoch}"{" hidden" * hidden}'
    return f'<img alt="{escape(words)}" src="{webp_uri(picture)}"{attributes}>'
