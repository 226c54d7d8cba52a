"""What runs without torch: models, streams, audio files, errors; numpy, soxr, soundfile and onnxruntime only."""

import os

# ONNX Runtime's own builds report to Microsoft unless this is set before they are loaded; nothing is to leave the host.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
