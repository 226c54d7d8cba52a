"""Makes the folder of a champion a model that MLflow loads and serves, without torch and without our training code."""

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import overtone
from overtone.model_package import load_model

# What the runtime imports; the model needs nothing else but MLflow.
REQUIREMENTS = ("mlflow", "numpy", "soxr", "soundfile", "onnxruntime")
PACKAGE_FOLDER = "package"
EXAMPLE_SECONDS = 0.05


@contextlib.contextmanager
def pyfunc_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder that MLflow takes for a model, with all that a champion's folder holds.

    Args:
        folder: of the champion, with the exported package in ``package/``, which becomes the model's artifact; without
            one, ``folder`` itself is yielded.
    """
    package = folder / PACKAGE_FOLDER
    if not package.is_dir():
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="overtone-") as scratch:
        model = Path(scratch) / "model"
        _save(model, package, Path(scratch))
        shutil.copytree(folder, model, dirs_exist_ok=True, ignore=shutil.ignore_patterns(PACKAGE_FOLDER))
        yield model


def _save(model: Path, package: Path, scratch: Path) -> None:
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ParamSchema, ParamSpec, Schema, TensorSpec

    waveforms = Schema([TensorSpec(np.dtype(np.float32), (-1, -1))])
    parameters = ParamSchema([ParamSpec("rate", "long", 0), ParamSpec("denoise", "boolean", False)])
    with _quiet():
        mlflow.pyfunc.save_model(
            model,
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={PACKAGE_FOLDER: str(package)},
            code_paths=[str(_runtime_code(scratch))],
            signature=ModelSignature(inputs=waveforms, outputs=waveforms, params=parameters),
            input_example=_example(load_model(package).sample_rate),
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow from telling the user, who runs a comparison, about its own files."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _runtime_code(scratch: Path) -> Path:
    """Copy the runtime without the models that are packed in it."""
    source = Path(overtone.__file__).parent
    return Path(shutil.copytree(source, scratch / source.name, ignore=shutil.ignore_patterns("__pycache__", "packed")))


def _example(sample_rate: int) -> NDArray[np.float32]:
    """Return two short tones ``(2, samples)``."""
    time = np.arange(round(EXAMPLE_SECONDS * sample_rate)) / sample_rate
    return (0.1 * np.sin(2 * np.pi * np.array([[220.0], [440.0]]) * time)).astype(np.float32)
