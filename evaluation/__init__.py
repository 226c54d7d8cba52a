"""Measures, statistics and the harness that scores (utterance, estimate) pairs of any system."""
