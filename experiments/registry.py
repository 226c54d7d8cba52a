"""Names of architectures: the one place to enter a new one."""

import importlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overtone.errors import OvertoneError

if TYPE_CHECKING:
    from models.base import SpeechModule

MODELS = {
    "dnn_fft": "models.dnn_fft.causal:DnnFftModule",
    "dnn_fft_original": "models.dnn_fft.original:DnnFftOriginalModule",
    "wavegan": "models.wavegan.causal:WaveganModule",
    "wavegan_original": "models.wavegan.original:WaveganOriginalModule",
    "spectrogram_autoencoder": "models.spectrogram_autoencoder.causal:SpectrogramAutoencoderModule",
    "spectrogram_autoencoder_original": "models.spectrogram_autoencoder.original:SpectrogramAutoencoderOriginalModule",
}


def check_registered(name: str) -> None:
    """Raise unless a model is registered under a name.

    Raises:
        OvertoneError: no such name.
    """
    if name not in MODELS:
        now = name.removesuffix("_seed") + "_original"
        hint = f" The form as first published is called {now} now." if now in MODELS and name != now else ""
        raise OvertoneError(f"Unknown model {name!r}. Registered: {', '.join(MODELS)}.{hint}")


def model_class(name: str) -> type["SpeechModule"]:
    """Return the LightningModule registered under a name; torch is imported only now.

    Raises:
        OvertoneError: no such name.
    """
    check_registered(name)
    module, _, attribute = MODELS[name].partition(":")
    loaded: type[SpeechModule] = getattr(importlib.import_module(module), attribute)
    return loaded


def build_model(name: str, sample_rate: int, settings: dict[str, Any]) -> "SpeechModule":
    """Return a new module from plain hyper-parameters.

    Args:
        name: of a registered model.
        sample_rate: in Hz.
        settings: hyper-parameters that differ from the architecture's own.

    Raises:
        OvertoneError: no such name, a hyper-parameter that the architecture does not have or of another type, or values
            with which no network can be built.
    """
    cls = model_class(name)
    settings_class: Any = cls.settings_class  # each architecture has fields of its own
    known = settings_class.__dataclass_fields__
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise OvertoneError(f"{name} has no setting {', '.join(unknown)}. It has: {', '.join(known)}.")
    # YAML and checkpoints know lists only.
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    defaults = settings_class()
    for key, value in plain.items():
        expected = type(getattr(defaults, key))
        numbers = value if isinstance(value, tuple) else (value,)
        finite = all(not isinstance(number, float) or math.isfinite(number) for number in numbers)
        if not finite or not isinstance(value, (int, float) if expected is float else expected):
            raise OvertoneError(f"{name}: setting {key} expects a {expected.__name__}, got {value!r}.")
    try:
        return cls(sample_rate, settings_class(**plain))
    except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OvertoneError(f"{name} cannot be built with {settings} at {sample_rate} Hz: {reason}") from None


def load_model(path: Path) -> "SpeechModule":
    """Return the module whose weights, or training checkpoint, a file holds, in evaluation mode.

    Raises:
        OvertoneError: it is no such file, or is damaged.
    """
    from models.base import read_weights

    checkpoint = read_weights(path)
    try:
        described = checkpoint["overtone"]
        module = build_model(described["model"], described["sample_rate"], described["settings"])
        module.network.load_state_dict(checkpoint["network"])
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError, OvertoneError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OvertoneError(f"{path}: not the weights of a model that this version knows ({reason}).") from None
    return module.eval()
