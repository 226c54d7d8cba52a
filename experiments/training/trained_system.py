"""Trained models as systems that the harness can score, and what they cost at run time."""

import json
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from evaluation.contracts import Utterance
from experiments.records import read_record
from experiments.registry import load_model
from experiments.training.places import TrainingPlace
from experiments.training.resource_use import processor_name, real_time_factor
from models.base import SpeechModule
from overtone.audio import Waveform
from overtone.files import written_whole

COST_SECONDS = 4.0


@torch.inference_mode()
def enhance_waveform(module: SpeechModule, narrowband: Waveform) -> Waveform:
    """Return the enhanced waveform ``(samples,)`` of a narrowband one.

    Args:
        module: the model.
        narrowband: ``(samples,)`` at the model's rate.
    """
    training = module.training
    module.eval()
    batch = torch.from_numpy(np.ascontiguousarray(narrowband))[None].to(module.device)
    enhanced = module.enhance(batch)[0].cpu().numpy()
    module.train(training)
    return np.asarray(enhanced, dtype=np.float32)


class TrainedSystem:
    """A trained model as the harness knows systems."""

    def __init__(self, name: str, module: SpeechModule) -> None:
        self.name = name
        self.module = module
        self.latency_samples = module.latency_samples
        self.block_samples = module.block_samples

    @staticmethod
    def load(place: TrainingPlace) -> "TrainedSystem":
        """Return the system of a finished training."""
        return TrainedSystem(place.model, load_model(place.weights))

    def __call__(self, utterance: Utterance) -> Waveform:
        """Enhance the narrowband; nothing else of the utterance is looked at."""
        return enhance_waveform(self.module, utterance.narrowband)


@dataclass(frozen=True)
class Cost:
    """What a system costs at run time.

    Attributes:
        latency_ms: how late a stream's output is; NaN for a system that needs the whole file.
        rtf: processor seconds of one thread per second of audio, whole-file; lower is faster.
        macs: multiply-accumulates per second of audio, the transforms left out.
        parameters: of the enhancing network.
        machine: the processor that ``rtf`` was measured on.
        threads: that it was measured with.
    """

    latency_ms: float
    rtf: float
    macs: float
    parameters: int
    machine: str
    threads: int = 1

    @property
    def numbers(self) -> dict[str, float]:
        """What can be averaged over seeds."""
        return {key: getattr(self, key) for key in ("latency_ms", "rtf", "macs", "parameters")}


def cost_of(place: TrainingPlace) -> Cost:
    """Return what a finished training's model costs, measured once and kept beside it.

    Raises:
        OvertoneError: the file beside it is damaged.
    """
    path = place.folder / "cost.json"
    if not path.is_file():
        cost = measure_cost(TrainedSystem.load(place).module)
        with written_whole(path) as temporary:
            temporary.write_text(json.dumps(asdict(cost)))
    return read_record(path, Cost, "Remove the file: the cost is then measured again.")


def measure_cost(module: SpeechModule) -> Cost:
    """Measure a model on one thread, on noise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    samples = int(COST_SECONDS * module.sample_rate)
    noise = np.random.default_rng(0).standard_normal(samples).astype(np.float32) * np.float32(0.05)
    try:
        rtf = real_time_factor(lambda: enhance_waveform(module, noise), COST_SECONDS)
        with FlopCounterMode(display=False) as counter:
            enhance_waveform(module, noise)
    finally:
        torch.set_num_threads(threads)
    latency = module.latency_samples
    return Cost(
        latency_ms=float("nan") if latency is None else 1000 * latency / module.sample_rate,
        rtf=rtf,
        macs=counter.get_total_flops() / 2 / COST_SECONDS,
        parameters=sum(parameter.numel() for parameter in module.network.parameters()),
        machine=processor_name(),
    )
