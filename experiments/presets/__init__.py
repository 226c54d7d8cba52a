"""Presets and the limits of the winner rule."""
