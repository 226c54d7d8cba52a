"""A registered champion as an MLflow model; MLflow runs this file itself, with the exported package beside it."""

from typing import Any

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

from overtone.enhancer import Enhancer
from overtone.errors import OvertoneError
from overtone.model_package import load_model

PACKAGE = "package"


class EnhancerModel(PythonModel):
    """Low-quality speech in, high-quality speech out, through the runtime: neither torch nor our training code."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the package among the artifacts."""
        model = load_model(context.artifacts[PACKAGE])
        self._enhancers = {denoise: Enhancer(model, denoise=denoise) for denoise in (False, True)}

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Enhance waveforms.

        Args:
            context: MLflow's.
            model_input: ``(batch, samples)``, full scale 1, all of one rate.
            params: ``rate`` of the samples in Hz (0: the model's own), and ``denoise``.

        Returns:
            ``(batch, samples)`` at the model's own rate, aligned with the input.

        Raises:
            MlflowException: no samples, NaN or infinite samples, or an unknown rate.
        """
        chosen = params or {}
        enhancer = self._enhancers[bool(chosen.get("denoise", False))]
        rate = int(chosen.get("rate", 0)) or enhancer.model.sample_rate
        # Channels do not influence each other, so that a batch may travel as one recording of many channels.
        try:
            enhanced, _ = enhancer.enhance(np.asarray(model_input, np.float32).T, rate)
        except OvertoneError as error:  # the scoring server answers with the words of no other class
            raise MlflowException.invalid_parameter_value(str(error)) from None
        return np.ascontiguousarray(enhanced.T)


mlflow.models.set_model(EnhancerModel())
