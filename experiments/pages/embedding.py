"""What makes a page self-contained: sound, pictures, styles and scripts inside it, and words as HTML."""

import base64
import io
from collections.abc import Callable
from functools import cache
from html import escape
from importlib.resources import files

import soundfile
from markdown_it import MarkdownIt

from experiments.pages.spectrograms import spectrogram_picture
from overtone.audio import Waveform


def scroll_box(label: str = "Table") -> str:
    """Return the opening tag of a box in which what is too wide scrolls, by keyboard too.

    Args:
        label: what screen readers call it.
    """
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">'


def asset(name: str, room: str = "pages") -> str:
    """Return the text of a template, a style sheet or a script.

    Args:
        name: the file's name.
        room: the folder of ``experiments`` whose ``assets`` hold it.
    """
    return (files("experiments") / room / "assets" / name).read_text(encoding="utf-8")


def audio_uri(waveform: Waveform, sample_rate: int) -> str:
    """Return a waveform as a data URI of 16-bit FLAC; samples beyond full scale are clipped.

    Args:
        waveform: ``(samples,)``.
        sample_rate: in Hz.
    """
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, sample_rate, format="FLAC", subtype="PCM_16")
    return f"data:audio/flac;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def spectrogram_webp(waveform: Waveform, sample_rate: int, top_db: float) -> bytes:
    """Return the spectrogram of a waveform as a picture.

    Args:
        waveform: ``(samples,)``.
        sample_rate: in Hz.
        top_db: the level of the brightest colour.
    """
    buffer = io.BytesIO()
    # A spectrogram is noise to PNG: WebP is a fifth of its size, and a page is mostly pictures.
    picture = spectrogram_picture(waveform, sample_rate, top_db)
    picture.savefig(buffer, format="webp", pil_kwargs={"quality": 85})
    return buffer.getvalue()


def webp_uri(picture: bytes) -> str:
    """Return a picture as a data URI."""
    return f"data:image/webp;base64,{base64.b64encode(picture).decode()}"


def breakable(name: str) -> str:
    """Return a name as HTML that a browser may break after an underscore or a slash."""
    return escape(name).replace("_", "_<wbr>").replace("/", "/<wbr>")


def markdown_html(text: str) -> str:
    """Render Markdown; HTML in it is shown as text, tables scroll inside a box of their own."""
    return str(_markdown().render(text))


@cache
def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    rules: dict[str, Callable[..., str]] = {
        "text": lambda _, tokens, index, *rest: breakable(tokens[index].content),
        "table_open": lambda *_: f"{scroll_box()}<table>",
        "table_close": lambda *_: "</table></div>",
    }
    for name, rule in rules.items():
        markdown.add_render_rule(name, rule)
    return markdown
