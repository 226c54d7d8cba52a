"""Corpora, degradations and the one DataModule that every architecture shares."""
