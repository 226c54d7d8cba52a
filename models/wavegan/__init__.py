"""A WaveGAN: its causal form, its form as first published, and their critics."""
