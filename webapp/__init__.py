"""The page on which one records or drops speech and hears it enhanced, and its HTTP and WebSocket interface."""

import os

# ONNX Runtime's own builds report to Microsoft unless this is set before they are loaded; nothing is to leave the host.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
