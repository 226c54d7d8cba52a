"""Opening the corpus that a preset or a user names."""

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.presets.preset import Preset
from experiments.runs import Workspace
from overtone.errors import OvertoneError
from overtone.progress import Board

if TYPE_CHECKING:
    from datamodules.corpora.corpus import Corpus

DEMO_CORPUS = "demo"


def open_corpus(preset: Preset, workspace: Workspace, progress: Board) -> "Corpus":
    """Return the corpus: the named folder or manifest, else the preset's; the demo corpus is made when missing.

    Args:
        preset: names the corpus where the workspace does not.
        workspace: names folder or manifest, further splits for train, and where the demo corpus is made.
        progress: told of it.

    Raises:
        OvertoneError: there is none, or it cannot be read.
    """
    from datamodules.corpora.corpus import load_corpus

    source = workspace.data or preset.corpus
    if source is None:
        raise OvertoneError(f"Preset {preset.name} has no corpus of its own: name a folder of speech with --data.")
    if source != DEMO_CORPUS:
        return load_corpus(
            Path(source), workspace.extra, lambda done, total: progress.update("corpus", done, total, "files looked at")
        )
    from datamodules.demo.demo_corpus import prepare_demo_corpus

    folder = prepare_demo_corpus(
        workspace.runs / "corpora", lambda done, total: progress.update("demo corpus", done, total, "voices")
    )
    return load_corpus(folder)


def report_corpus(corpus: "Corpus", progress: Board, most: int = 5) -> None:
    """Say what a corpus holds, what was converted and what was left out.

    Args:
        corpus: what was read.
        progress: told of it.
        most: skipped files that are named.
    """
    speakers = len({clip.speaker for clip in corpus.clips})
    minutes = sum(clip.seconds for clip in corpus.clips) / 60
    progress.say(f"Corpus: {len(corpus.clips)} clips, {speakers} speakers, {minutes:.0f} minutes ({corpus.root})")
    for note, count in corpus.notes.items():
        progress.say(f"  {count} files: {note}")
    for path, reason in corpus.skipped[:most]:
        progress.say(f"  skipped {path}: {reason}")
    if len(corpus.skipped) > most:
        progress.say(f"  ... and {len(corpus.skipped) - most} more files skipped")
