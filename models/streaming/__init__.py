"""What causal models are made of: history, causal layers, the spectral frame."""
