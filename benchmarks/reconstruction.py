"""What it costs to find a phase, and what it is worth: every method of `models.reconstruction.methods` on real speech.

Scores each method against iterations, on the target's magnitudes, on the same with an error of 6 dB in the missing
band, and on those that trained models predict; then reproduces the original's choppiness as a number and shows what
removes it; then compares with librosa's Griffin-Lim. Seconds are those of one core's own time, so that other programs
on the machine do not count. The part of docs/reconstruction.md below its mark is written anew.
"""

import argparse
import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.reconstruction_report import write_report
from datamodules.corpora.corpus import Corpus, load_corpus
from datamodules.pair_settings import PairSettings
from datamodules.speech_pairs import SpeechPairsDataModule
from evaluation.contracts import Utterance
from evaluation.harness import score_pair
from experiments.registry import load_model
from experiments.training.fit import quiet_libraries
from experiments.training.resource_use import real_time_factor
from models.base import SpeechModule
from models.reconstruction.methods import METHODS, reconstruct
from models.whole_file import WholeFileSpectrogram
from overtone.progress import Board, board

GRID = (0, 1, 2, 4, 8, 16, 32, 64)
LOOK_AHEAD_GRID = (0, 1, 2, 4, 8, 16)  # each counts four times
WINDOW_SECONDS = 0.032
NARROWBAND_RATE = {16000: 8000, 48000: 16000}
BLOCK_SAMPLES = 2048
PEER_ITERATIONS = 32
ERROR_DB = 6.0
MEASURES = ("lsd", "extended_ber", "si_sdr", "visqol")


@dataclass(frozen=True)
class Case:
    """Magnitudes to invert.

    Attributes:
        name: where they come from.
        utterance: what they belong to.
        magnitudes: ``(1, bins, frames)``.
        phase: the best phase that there is for them, ``(1, bins, frames)`` in radians.
        n_fft: window in samples; hops are a quarter.
    """

    name: str
    utterance: Utterance
    magnitudes: Tensor
    phase: Tensor
    n_fft: int

    def reconstructed(self, method: str, iterations: int) -> np.ndarray:
        """Return the waveform ``(samples,)``; the harness gives the cutoff."""
        waveform = reconstruct(
            self.magnitudes,
            method,
            n_fft=self.n_fft,
            hop_length=self.n_fft // 4,
            narrowband=torch.from_numpy(self.utterance.narrowband)[None],
            sample_rate=self.utterance.sample_rate,
            cutoff_hz=self.utterance.cutoff_hz,
            phase=self.phase,
            iterations=iterations,
        )
        return waveform[0].numpy()

    def inconsistency_db(self, waveform: np.ndarray, low_hz: float = 0.0) -> float:
        """Distance of the waveform's magnitudes from those wanted, relative to these, in dB; lower is better."""
        low = int(np.ceil(low_hz * self.n_fft / self.utterance.sample_rate))
        wanted = self.magnitudes[0, low:]
        given = spectra(waveform, self.n_fft).abs()[0, low:]
        return float(20 * torch.log10((given - wanted).norm() / wanted.norm()))


def spectra(waveform: np.ndarray, n_fft: int) -> Tensor:
    """Return the centred spectra ``(1, bins, frames)`` of ``(samples,)``."""
    samples = torch.from_numpy(np.ascontiguousarray(waveform))[None]
    return torch.stft(samples, n_fft, n_fft // 4, window=torch.hann_window(n_fft), return_complex=True)


def datamodule_of(corpus: Corpus, sample_rate: int) -> SpeechPairsDataModule:
    """Return pairs under one condition: nothing but a band is missing."""
    conditions = {"resampled": {"steps": [{"resample": {"rate": NARROWBAND_RATE[sample_rate]}}]}}
    settings = PairSettings(conditions, conditions, val_utterances_per_speaker=None, test_utterances_per_speaker=None)
    return SpeechPairsDataModule(corpus, sample_rate, settings, examples_per_epoch=10**4, seed=0)


def utterances_of(module: SpeechPairsDataModule, speakers: int, seconds: float) -> list[Utterance]:
    """Return the first seconds of one utterance of some test speakers, evenly spread over the split."""
    every = list(module.utterances("test", per_speaker=1))
    chosen = [every[index * len(every) // speakers] for index in range(min(speakers, len(every)))]
    samples = round(seconds * module.sample_rate)
    return [replace(one, narrowband=one.narrowband[:samples], wideband=one.wideband[:samples]) for one in chosen]


def cases_of(utterance: Utterance, trained: list[SpeechModule]) -> Iterator[Case]:
    """Yield the target's magnitudes, the same with errors, and those of trained models of this sample rate."""
    n_fft = round(WINDOW_SECONDS * utterance.sample_rate)
    target = spectra(utterance.wideband, n_fft)
    yield Case("target", utterance, target.abs(), target.angle(), n_fft)
    generator = torch.Generator().manual_seed(len(utterance.file))
    error = torch.randn(target.shape, generator=generator) * ERROR_DB
    error[:, : int((utterance.cutoff_hz or 0.0) * n_fft / utterance.sample_rate)] = 0
    yield Case(f"{ERROR_DB:g} dB error", utterance, target.abs() * 10 ** (error / 20), target.angle(), n_fft)
    for module in trained:
        if module.sample_rate == utterance.sample_rate:
            yield predicted_case(utterance, module, n_fft)


@torch.inference_mode()
def predicted_case(utterance: Utterance, module: SpeechModule, n_fft: int) -> Case:
    """Return what a model predicts: with the target's phase if it predicts none, else with its own."""
    narrowband = torch.from_numpy(utterance.narrowband)[None]
    network = module.network
    if isinstance(network, WholeFileSpectrogram):
        magnitudes = network.magnitudes(network.amplitudes(narrowband)).transpose(1, 2).clamp_min(0)
        return Case(
            module.name, utterance, magnitudes, spectra(utterance.wideband, network.n_fft).angle(), network.n_fft
        )
    predicted = spectra(module.enhance(narrowband)[0].numpy(), n_fft)
    return Case(module.name, utterance, predicted.abs(), predicted.angle(), n_fft)


def scored(case: Case, method: str, iterations: int) -> dict[str, object]:
    """Return one row: how near the result comes."""
    waveform = case.reconstructed(method, iterations)
    utterance = case.utterance
    row = score_pair(utterance, waveform, MEASURES)
    return {
        "sample_rate": utterance.sample_rate,
        "magnitudes": case.name,
        "method": method,
        "iterations": iterations,
        "speaker": utterance.speaker,
        "inconsistency": case.inconsistency_db(waveform),
        "inconsistency_hf": case.inconsistency_db(waveform, utterance.cutoff_hz or 0.0),
        **{measure: row[measure] for measure in MEASURES},
    }


def plan_of(case: Case) -> Iterator[tuple[str, int]]:
    """Yield methods and iterations: many on the target's magnitudes, none and the method's own number on others."""
    for name, method in METHODS.items():
        if method.iterations is None:
            yield name, 0
        elif case.name != "target":
            yield from ((name, count) for count in (0, method.iterations))
        else:
            yield from ((name, count) for count in (LOOK_AHEAD_GRID if method.streams else GRID))


def study(utterances: list[Utterance], trained: list[SpeechModule], progress: Board) -> pd.DataFrame:
    """Score every method on every case of all utterances."""
    jobs = [
        (case, *settings)
        for utterance in utterances
        for case in cases_of(utterance, trained)
        for settings in plan_of(case)
    ]
    rows = []
    for done, (case, method, iterations) in enumerate(jobs, start=1):
        rows.append(scored(case, method, iterations))
        progress.update(f"methods at {case.utterance.sample_rate} Hz", done, len(jobs), method)
    return pd.DataFrame(rows)


class BlockGenerator(nn.Module):
    """The original's deployed model: two fully connected layers over 2048 samples, their output added to the input.

    No neighbour is seen, nothing overlaps, and dropout stays active, as it did there.
    """

    def __init__(self) -> None:
        super().__init__()
        layer = [(nn.Linear(BLOCK_SAMPLES, BLOCK_SAMPLES), nn.LeakyReLU(0.2), nn.Dropout(0.2)) for _ in range(2)]
        self.layers = nn.Sequential(*itertools.chain.from_iterable(layer))

    def forward(self, waveform: Tensor) -> Tensor:
        """Enhance ``(batch, samples)``; an incomplete last block stays as it is, where the original dropped it."""
        blocks = waveform[:, : waveform.shape[1] // BLOCK_SAMPLES * BLOCK_SAMPLES]
        shaped = blocks.reshape(-1, BLOCK_SAMPLES)
        enhanced = (shaped + self.layers(shaped)).reshape(blocks.shape)
        return torch.cat([enhanced, waveform[:, blocks.shape[1] :]], dim=1)


def trained_generator(module: SpeechPairsDataModule, steps: int, progress: Board) -> BlockGenerator:
    """Train the original's model with its squared error on batches of the training split."""
    torch.manual_seed(0)
    generator = BlockGenerator()
    optimiser = torch.optim.Adam(generator.parameters(), 3e-4)
    module.setup("fit")
    batches = itertools.chain.from_iterable(module.train_dataloader() for _ in itertools.count())
    for step, batch in enumerate(itertools.islice(batches, steps), start=1):
        optimiser.zero_grad()
        (generator(batch["narrowband"]) - batch["wideband"]).square().mean().backward()
        optimiser.step()
        progress.update(f"the original's deployed model at {module.sample_rate} Hz", step, steps)
    return generator


def in_blocks(utterance: Utterance, method: str) -> np.ndarray:
    """Reconstruct each 2048 samples of the target alone from their magnitudes, and put them side by side."""
    borders = range(0, len(utterance.wideband) - BLOCK_SAMPLES + 1, BLOCK_SAMPLES)
    pieces = []
    for start in borders:
        part = slice(start, start + BLOCK_SAMPLES)
        block = replace(utterance, narrowband=utterance.narrowband[part], wideband=utterance.wideband[part])
        pieces.append(next(cases_of(block, [])).reconstructed(method, METHODS[method].iterations or 0))
    return np.concatenate([*pieces, utterance.wideband[len(borders) * BLOCK_SAMPLES :]])


def from_slices(utterance: Utterance, iterations: int) -> np.ndarray:
    """Griffin-Lim on amplitude slices of 2048 samples without overlap, from phases of zero.

    Without overlap any phase agrees with the magnitudes, so that iterations change nothing.
    """
    whole = len(utterance.wideband) // BLOCK_SAMPLES * BLOCK_SAMPLES
    amplitude = np.abs(np.fft.rfft(utterance.wideband[:whole].reshape(-1, BLOCK_SAMPLES)))
    phase = np.zeros_like(amplitude)
    for _ in range(iterations):
        phase = np.angle(np.fft.rfft(np.fft.irfft(amplitude * np.exp(1j * phase))))
    slices = np.fft.irfft(amplitude * np.exp(1j * phase)).reshape(-1)
    return np.concatenate([slices, utterance.wideband[whole:]]).astype(np.float32)


def choppiness(utterances: list[Utterance], generator: BlockGenerator, progress: Board) -> pd.DataFrame:
    """Score the break at borders of 2048 samples: as the original worked, and the same methods over whole files."""

    def deployed(utterance: Utterance) -> np.ndarray:
        with torch.inference_mode():
            return generator.train()(torch.from_numpy(utterance.narrowband)[None])[0].numpy()

    def whole(utterance: Utterance, method: str) -> np.ndarray:
        return next(cases_of(utterance, [])).reconstructed(method, METHODS[method].iterations or 0)

    systems: list[tuple[str, str, Callable[[Utterance], np.ndarray]]] = [
        ("whole", "unprocessed", lambda one: one.narrowband),
        ("blocks", "the original's deployed model", deployed),
        ("blocks", "Griffin-Lim on slices without overlap", lambda one: from_slices(one, 32)),
        *(("blocks", name, lambda one, name=name: in_blocks(one, name)) for name in METHODS),
        *(("whole", name, lambda one, name=name: whole(one, name)) for name in METHODS),
    ]
    rows = []
    for done, (form, name, system) in enumerate(systems, start=1):
        for utterance in utterances:
            row = score_pair(utterance, system(utterance), ("seam", "visqol"), block_samples=BLOCK_SAMPLES)
            head = {"sample_rate": utterance.sample_rate, "form": form, "system": name, "speaker": utterance.speaker}
            rows.append(head | {key: row[key] for key in ("seam", "visqol")})
        progress.update(f"borders at {utterances[0].sample_rate} Hz", done, len(systems), name)
    return pd.DataFrame(rows)


def core_seconds(function: Callable[[], object], utterance: Utterance) -> float:
    """Return core seconds a second of audio."""
    return real_time_factor(function, len(utterance.wideband) / utterance.sample_rate, repeats=3)


def costs(utterance: Utterance) -> pd.DataFrame:
    """Return what each method costs at each number of iterations."""
    case = next(cases_of(utterance, []))
    rows = [
        {
            "sample_rate": utterance.sample_rate,
            "method": method,
            "iterations": iterations,
            "rtf": core_seconds(partial(case.reconstructed, method, iterations), utterance),
        }
        for method, iterations in plan_of(case)
    ]
    return pd.DataFrame(rows)


def beside_librosa(utterance: Utterance) -> dict[str, float]:
    """Return the cost of fast Griffin-Lim here and in librosa, and how far the results differ."""
    case = next(cases_of(utterance, []))
    ours = partial(case.reconstructed, "fast_griffin_lim", PEER_ITERATIONS)
    theirs = partial(
        librosa.griffinlim,
        case.magnitudes[0].numpy(),
        n_iter=PEER_ITERATIONS,
        hop_length=case.n_fft // 4,
        init=None,
        pad_mode="reflect",
        length=len(utterance.wideband),
    )
    return {
        "sample_rate": utterance.sample_rate,
        "overtone": core_seconds(ours, utterance),
        "librosa": core_seconds(theirs, utterance),
        "difference": case.inconsistency_db(ours()) - case.inconsistency_db(theirs()),
    }


def main() -> None:
    """Run the study and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="corpus of real speech")
    parser.add_argument("--speakers", type=int, default=6, help="of the test split (6)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each (2)")
    parser.add_argument("--steps", type=int, default=600, help="training of the original's deployed model (600)")
    parser.add_argument("--trained", type=Path, nargs="*", default=[], help="checkpoints whose magnitudes are inverted")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the report (docs)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    trained = [load_model(path) for path in options.trained]
    corpus = load_corpus(options.data)
    methods: list[pd.DataFrame] = []
    borders: list[pd.DataFrame] = []
    peers: list[dict[str, float]] = []
    with quiet_libraries(), board() as progress:
        for sample_rate in NARROWBAND_RATE:
            module = datamodule_of(corpus, sample_rate)
            utterances = utterances_of(module, options.speakers, options.seconds)
            peers += [beside_librosa(one) for one in utterances]
            cost = costs(utterances[0])
            borders.append(choppiness(utterances, trained_generator(module, options.steps, progress), progress))
            methods.append(study(utterances, trained, progress).merge(cost, how="left"))
    write_report(options.out, pd.concat(methods), pd.concat(borders), pd.DataFrame(peers))


if __name__ == "__main__":
    main()
