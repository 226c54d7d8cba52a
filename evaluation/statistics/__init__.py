"""Intervals, bootstrap and tests over speakers."""
