"""Spectrograms of fixed validation clips after each epoch, kept in the run as files and as one page with a slider."""

import re
from collections.abc import Sequence

from evaluation.contracts import Utterance
from experiments.pages.embedding import spectrogram_webp
from experiments.pages.epochs import WatchedClip, epochs_page
from experiments.pages.samples import playable
from experiments.pages.spectrograms import loudest_db, spectrogram_db
from experiments.tracking.run import Run
from overtone.audio import Waveform

FOLDER, PAGE = "epochs", "epochs.html"


class EpochPictures:
    """Draws clips as a training enhances them. A training that is continued goes on with the pictures in its run.

    Args:
        run: a tracked one, which gets the page and, in a folder beside it, its pictures.
        clips: utterances of `val`.
    """

    def __init__(self, run: Run, clips: Sequence[Utterance]) -> None:
        self._run, self._clips = run, clips

    def add(self, enhanced: Sequence[Waveform], epoch: int) -> None:
        """Draw the clips as they are enhanced now, and write the page again.

        Args:
            enhanced: the output ``(samples,)`` of each clip.
            epoch: that has ended, from 1; 0 before the training.
        """
        for number, (clip, waveform) in enumerate(zip(self._clips, enhanced, strict=True)):
            self._run.log_bytes(self._picture(clip, waveform), f"{FOLDER}/{number + 1}-enhanced-{epoch:04d}.webp")
        page = epochs_page("Epoch by epoch", [self._watched(*one) for one in enumerate(self._clips)])
        self._run.log_text(page, PAGE)

    def _watched(self, number: int, clip: Utterance) -> WatchedClip:
        assert self._run.folder is not None
        found = {}
        for path in (self._run.folder.path / FOLDER).glob(f"{number + 1}-enhanced-*.webp"):
            if match := re.fullmatch(r"\d+-enhanced-(\d+)", path.stem):
                found[int(match[1])] = path.read_bytes()
        narrowband, target = (self._picture(clip, waveform) for waveform in (clip.narrowband, clip.wideband))
        title = f"{clip.condition}: {clip.file}"
        return WatchedClip(title, narrowband, target, found, clip.sample_rate / 2000)

    @staticmethod
    def _picture(clip: Utterance, waveform: Waveform) -> bytes:
        """In colours that mean the same levels in all pictures of the clip."""
        top_db = loudest_db([spectrogram_db(one, clip.sample_rate) for one in (clip.narrowband, clip.wideband)])
        return spectrogram_webp(playable(waveform), clip.sample_rate, top_db)
