"""A spectrogram autoencoder: its causal form and its form as first published."""
