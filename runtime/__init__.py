"""What runs without torch: models, streams, audio files, errors; numpy, soxr, soundfile and onnxruntime only."""
