"""One self-contained page to hear and see what a model does: nothing is loaded from anywhere."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

import numpy as np
import soundfile
from markdown_it import MarkdownIt

from experiments.spectrogram_figures import loudest_db, spectrogram_db, spectrogram_picture
from runtime.audio import Waveform
from runtime.errors import OvertoneError
from runtime.files import written_whole


@dataclass(frozen=True)
class Sample:
    """The same speech in several states.

    Attributes:
        title: what it is, such as the file's name.
        note: one line below it: condition, scores.
        clips: label to waveform ``(samples,)``, of one length; shown in this order.
        sample_rate: of all clips, in Hz.
        cutoff_hz: where the narrowband's own content ends, drawn as a line; None for no line.
    """

    title: str
    note: str
    clips: dict[str, Waveform]
    sample_rate: int
    cutoff_hz: float | None = None


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
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    page = Template(PAGE).substitute(
        title=escape(title),
        introduction=markdown.render(introduction),
        samples="\n".join(_sample_html(sample) for sample in samples) or "<p>There are no samples.</p>",
        style=STYLE,
        script=SCRIPT,
    )
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _sample_html(sample: Sample) -> str:
    if not sample.clips or any(len(waveform) == 0 for waveform in sample.clips.values()):
        raise OvertoneError(f"sample {sample.title}: a clip is empty; expected one or more samples in each.")
    # One gain for all clips of a sample: their differences in level are part of what is to be heard.
    gain = 1 / max(1.0, *(float(np.abs(waveform).max()) for waveform in sample.clips.values()))
    top_db = loudest_db([spectrogram_db(clip, sample.sample_rate) for clip in sample.clips.values()])
    buttons, figures = [], []
    for label, waveform in sample.clips.items():
        buttons.append(f'<button type="button">{escape(label)}</button>')
        figures.append(_clip_html(label, waveform * np.float32(gain), sample, top_db))
    return (
        f'<section class="sample"><h2>{escape(sample.title)}</h2><p class="note">{escape(sample.note)}</p>'
        f'<div class="switch" role="group" aria-label="Switch between clips">{"".join(buttons)}</div>'
        f'<div class="clips">{"".join(figures)}</div></section>'
    )


def _clip_html(label: str, waveform: Waveform, sample: Sample, top_db: float) -> str:
    nyquist = sample.sample_rate / 2
    line = ""
    if sample.cutoff_hz is not None and sample.cutoff_hz < nyquist:
        line = f'<span class="cutoff" style="bottom:{100 * sample.cutoff_hz / nyquist:.1f}%"></span>'
    return (
        f'<figure><figcaption>{escape(label)}</figcaption><div class="picture">'
        f'<img alt="Spectrogram of {escape(label)}" src="{_picture_uri(waveform, sample.sample_rate, top_db)}">'
        f'{line}<span class="playhead"></span>'
        f'<span class="axis top">{nyquist / 1000:g} kHz</span><span class="axis bottom">0</span></div>'
        f'<audio controls preload="metadata" src="{_audio_uri(waveform, sample.sample_rate)}"></audio></figure>'
    )


def _picture_uri(waveform: Waveform, sample_rate: int, top_db: float) -> str:
    buffer = io.BytesIO()
    # A spectrogram is noise to PNG: WebP is a fifth of its size, and the page is mostly pictures.
    picture = spectrogram_picture(waveform, sample_rate, top_db)
    picture.savefig(buffer, format="webp", pil_kwargs={"quality": 85})
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _audio_uri(waveform: Waveform, sample_rate: int) -> str:
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, sample_rate, format="FLAC", subtype="PCM_16")
    return f"data:audio/flac;base64,{base64.b64encode(buffer.getvalue()).decode()}"


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<h1>$title</h1>
$introduction
<p class="hint">Press a name to hear it; press another while it plays to switch at the same position.
Press a spectrogram to jump.</p>
$samples
</main>
<script>$script</script>
</body>
</html>
"""

STYLE = """
:root { color-scheme: light dark; --ink: #1d1f24; --soft: #5d6470; --paper: #fff; --line: #dadde3; --accent: #b5367a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e9eaee; --soft: #a2a9b6; --paper: #17181c; --line: #353841; --accent: #f0629f; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 0; overflow-wrap: anywhere; }
.hint, .note { color: var(--soft); margin: .1rem 0 .6rem; font-size: .92rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid var(--line); padding: .2rem .7rem .2rem 0; text-align: left; }
.sample { border-top: 1px solid var(--line); padding: 1.1rem 0; }
.switch { display: inline-flex; max-width: 100%; border: 1px solid var(--line); border-radius: 8px;
  overflow: hidden; margin-bottom: .7rem; }
.switch button { font: inherit; color: inherit; background: none; border: 0; border-left: 1px solid var(--line);
  padding: .5rem 1rem; min-height: 44px; cursor: pointer; }
.switch button:first-child { border-left: 0; }
.switch button.playing { background: var(--accent); color: var(--paper); }
.clips { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(17rem, 100%), 1fr)); }
figure { margin: 0; min-width: 0; }
figcaption { font-size: .9rem; font-weight: 600; margin-bottom: .2rem; overflow-wrap: anywhere; }
.picture { position: relative; cursor: pointer; border-radius: 4px; overflow: hidden; outline: 2px solid transparent; }
.picture img { display: block; width: 100%; height: 170px; }
.playing .picture { outline-color: var(--accent); }
.axis { position: absolute; left: 0; padding: 0 .35rem; font-size: .72rem; color: #fff; background: #0008; }
.axis.top { top: 0; } .axis.bottom { bottom: 0; }
.cutoff { position: absolute; left: 0; right: 0; border-top: 1px dashed #fff9; }
.playhead { position: absolute; top: 0; bottom: 0; left: 0; width: 2px; background: #fff; visibility: hidden; }
audio { width: 100%; height: 40px; margin-top: .35rem; }
@media (max-width: 600px) { .switch { display: flex; } .switch button { flex: 1; padding: .5rem .3rem; }
  .picture img { height: 120px; } }
"""

SCRIPT = """
for (const sample of document.querySelectorAll('.sample')) {
  const figures = [...sample.querySelectorAll('figure')];
  const buttons = [...sample.querySelectorAll('.switch button')];
  const players = figures.map(figure => figure.querySelector('audio'));
  const heads = figures.map(figure => figure.querySelector('.playhead'));
  let current = 0;
  const align = time => players.forEach(player => {
    if (Math.abs(player.currentTime - time) > 0.02) player.currentTime = time;
  });
  const draw = () => {
    const player = players[current], playing = !player.paused;
    heads.forEach(head => {
      head.style.visibility = playing || player.currentTime > 0 ? 'visible' : 'hidden';
      head.style.left = 100 * player.currentTime / (player.duration || 1) + '%';
    });
    figures.forEach((figure, i) => figure.classList.toggle('playing', playing && i === current));
    buttons.forEach((button, i) => button.classList.toggle('playing', playing && i === current));
    if (playing) requestAnimationFrame(draw);
  };
  const press = index => {
    const playing = !players[current].paused;
    if (playing && index === current) players[current].pause(); else players[index].play();
  };
  players.forEach((player, index) => {
    player.addEventListener('play', () => {
      const time = players[current].currentTime;
      if (index !== current) { player.currentTime = time; current = index; }
      document.querySelectorAll('audio').forEach(other => { if (other !== player) other.pause(); });
      draw();
    });
    player.addEventListener('pause', () => { if (index === current) { align(player.currentTime); draw(); } });
    player.addEventListener('ended', () => { if (index === current) { align(0); draw(); } });
    player.addEventListener('seeked', () => {
      if (players[current].paused) { align(player.currentTime); draw(); }
    });
    figures[index].querySelector('.picture').addEventListener('click', event => {
      const box = event.currentTarget.getBoundingClientRect();
      const time = (event.clientX - box.left) / box.width * (player.duration || 0);
      players[current].currentTime = player.currentTime = time;
      player.play();
    });
    buttons[index].addEventListener('click', () => press(index));
  });
}
"""
