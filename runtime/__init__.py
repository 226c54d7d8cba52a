"""What runs without torch: audio files, resampling, errors; numpy, soxr and soundfile only."""
