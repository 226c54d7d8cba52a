"""Waveforms from magnitude spectrograms: Griffin-Lim and its rivals."""
