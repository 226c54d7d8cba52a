"""Low-quality speech in, high-quality speech out, without torch: `load` a model, then arrays, streams and files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from overtone.errors import OvertoneError

if TYPE_CHECKING:
    from overtone.enhancer import Enhancer

__all__ = ["OvertoneError", "load"]

# ONNX Runtime's own builds report to Microsoft unless this is set before they are loaded; nothing is to leave the host.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def load(model: str | Path = "fullband", *, denoise: bool = False) -> "Enhancer":
    """Load a model.

    Args:
        model: ``fullband`` (any speech, to 48 kHz), ``live`` (the same with half the latency) or
            ``telephone`` (8 kHz, to 16 kHz), which come with the package, or the folder of an exported model.
        denoise: let the model change what the input already holds as well: codec artefacts and noise are reduced
            there, as far as it was trained to.

    Returns:
        The model. Threads may share it; a stream of it belongs to one thread at a time.

    Raises:
        OvertoneError: the folder is missing, is no model, or was changed or cut off.

    Examples:
        >>> import numpy as np
        >>> import overtone
        >>> model = overtone.load("fullband")
        >>> enhanced, rate = model.enhance(np.zeros(8000, np.int16), 8000)
        >>> enhanced.shape, enhanced.dtype.name, rate
        ((48000,), 'float32', 48000)
    """
    from overtone.enhancer import Enhancer
    from overtone.model_package import load_model
    from overtone.packed_models import PROFILES, default_model

    return Enhancer(load_model(default_model(str(model)) if str(model) in PROFILES else model), denoise=denoise)
