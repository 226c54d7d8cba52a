"""The proof that comes with an export: PyTorch against the runtime, over clips, odd lengths and block sizes."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch

from datamodules.corpora.corpus import Corpus
from experiments.export.generated_speech import CLIP_SECONDS, CLIPS, NARROW_RATE, narrowed
from experiments.pages.tables import markdown_table
from experiments.training.trained_system import enhance_waveform
from models.base import StreamingModule
from overtone.audio import Waveform, resample
from overtone.audio_files.recordings import read_audio
from overtone.enhancer import Enhancer
from overtone.model_package import Model

TOLERANCE = 1e-4
CLOSELY_LOOKED_AT = 2
SEED = 0


@dataclass(frozen=True)
class ParityRow:
    """One comparison.

    Attributes:
        clip: which.
        samples: its length at the model's rate.
        blocks: how it was pushed.
        difference: largest absolute difference between PyTorch and the runtime, full scale 1.
    """

    clip: str
    samples: int
    blocks: str
    difference: float


@dataclass(frozen=True)
class Parity:
    """What was compared.

    Attributes:
        rows: all comparisons.
        real: whether the clips were real speech.
    """

    rows: tuple[ParityRow, ...]
    real: bool

    @property
    def largest(self) -> ParityRow:
        """The comparison that differs most; one that is not a number differs most of all."""
        return max(self.rows, key=lambda row: np.inf if np.isnan(row.difference) else row.difference)

    @property
    def holds(self) -> bool:
        """Whether everything is within the tolerance."""
        return bool(self.largest.difference <= TOLERANCE)


def parity_of(module: StreamingModule, model: Model, clips: dict[str, Waveform], *, real: bool) -> Parity:
    """Compare the PyTorch module with the loaded package.

    Each clip whole, in blocks of 10 ms and of random sizes; the first two also in blocks of one sample, around a hop
    and of many hops, the first also at lengths around a hop and a window, where off-by-one errors live; two clips
    also as the two channels of one stream.

    Args:
        module: what was exported.
        model: the package, loaded.
        clips: at the model's rate.
        real: whether they are real speech, for the report.
    """
    enhancer = Enhancer(model, denoise=True)  # the model's own output, below the cutoff as well
    rows: list[ParityRow] = []
    for number, (name, clip) in enumerate(clips.items()):
        rows += _clip_rows(module, enhancer, name, clip, closely=number < CLOSELY_LOOKED_AT)
    first = next(iter(clips))
    for length in _odd_lengths(model, len(clips[first])):
        rows.append(_whole_row(module, enhancer, first, clips[first][:length]))
    rows.append(_stereo_row(module, enhancer, clips))
    return Parity(tuple(rows), real)


def _odd_lengths(model: Model, longest: int) -> list[int]:
    """Lengths around one sample, a hop, the latency, and a prime number of samples."""
    hop, latency = model.hop_samples, model.hop_samples + model.delay_samples
    around = {length + change for length in (hop, latency) for change in (-1, 0, 1)}
    return sorted(length for length in around | {1, 2, 12_345, 12_347} if 0 < length <= longest)


def _clip_rows(
    module: StreamingModule, enhancer: Enhancer, name: str, clip: Waveform, *, closely: bool
) -> Iterator[ParityRow]:
    reference = enhance_waveform(module, clip)
    rate, hop = enhancer.model.sample_rate, enhancer.model.hop_samples
    whole, _ = enhancer.enhance(clip, rate)
    yield _row(name, reference, whole, "whole")
    for size in (rate // 100, hop - 1, hop, hop + 1, 20 * hop + 7)[: None if closely else 1]:
        yield _row(name, reference, _streamed(enhancer, clip, [size] * -(-len(clip) // size)), f"{size}")
    sizes = np.random.default_rng(SEED).integers(0, 4 * hop, 2 * len(clip) // hop + 2).tolist()
    yield _row(name, reference, _streamed(enhancer, clip, [*sizes, len(clip)]), f"random, 0 to {4 * hop - 1}")
    if closely:
        short = clip[: 3 * hop]
        yield _row(name, enhance_waveform(module, short), _streamed(enhancer, short, [1] * len(short)), "1")


def _whole_row(module: StreamingModule, enhancer: Enhancer, name: str, clip: Waveform) -> ParityRow:
    enhanced, _ = enhancer.enhance(clip, enhancer.model.sample_rate)
    return _row(name, enhance_waveform(module, clip), enhanced, "whole")


def _stereo_row(module: StreamingModule, enhancer: Enhancer, clips: dict[str, Waveform]) -> ParityRow:
    pair = list(clips.values())[:2]
    length = min(len(clip) for clip in pair)
    both = np.stack([clip[:length] for clip in pair], axis=1)
    enhanced, _ = enhancer.enhance(both, enhancer.model.sample_rate)
    reference = np.stack([enhance_waveform(module, channel) for channel in both.T], axis=1)
    return _row("two channels", reference, enhanced, "whole")


def _row(name: str, reference: Waveform, enhanced: Waveform, blocks: str) -> ParityRow:
    return ParityRow(name, len(reference), blocks, float(np.abs(reference - enhanced).max()))


def _streamed(enhancer: Enhancer, clip: Waveform, sizes: Sequence[int]) -> Waveform:
    stream = enhancer.stream(enhancer.model.sample_rate)
    pushed = [stream.push(block) for block in np.split(clip, np.cumsum(sizes)[:-1])]
    return np.concatenate([*pushed, stream.flush()])[stream.latency_samples :]


def real_clips(corpus: Corpus, sample_rate: int) -> dict[str, Waveform]:
    """Return clips of test speakers, one of each, full band and narrowband.

    Args:
        corpus: the clips.
        sample_rate: of the result, in Hz.
    """
    by_speaker = {clip.speaker: clip for clip in reversed(corpus.split("test"))}
    clips = {}
    for clip in list(by_speaker.values())[: CLIPS // 2]:
        frames = min(soundfile.info(clip.path).frames, round(CLIP_SECONDS * clip.sample_rate))
        waveform, rate = read_audio(clip.path, frames=frames)
        name = corpus.name_of(clip)
        clips[name] = resample(waveform, rate, sample_rate)
        clips[f"{name}, from {NARROW_RATE} Hz"] = narrowed(clips[name], sample_rate)
    return clips


def parity_record(parity: Parity) -> dict[str, object]:
    """Return what parity.json holds."""
    return {
        "tolerance": TOLERANCE,
        "largest_difference": parity.largest.difference,
        "real_speech": parity.real,
        "torch": torch.__version__,
        "rows": [asdict(row) for row in parity.rows],
    }


def parity_page(parity: Parity, versions: str) -> str:
    """Return the report in Markdown.

    Args:
        parity: what was compared.
        versions: of the libraries, as a sentence.
    """
    largest = parity.largest
    table = markdown_table(
        ["clip", "samples", "blocks", "largest difference"],
        [(Path(row.clip).name, row.samples, row.blocks, f"{row.difference:.1e}") for row in parity.rows],
    )
    speech = "real speech of test speakers" if parity.real else "generated, speech-like clips"
    return (
        f"# PyTorch against the exported model\n\n{len(parity.rows)} comparisons over {speech}: the largest absolute "
        f"difference is {largest.difference:.1e} ({Path(largest.clip).name}, blocks: {largest.blocks}); at most "
        f"{TOLERANCE:g} is allowed. {versions}\n\n{table}\n"
    )
