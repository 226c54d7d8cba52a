"""A DNN on FFT frames: its causal form and its form as first published."""
