"""Measures of an estimate against its target."""
