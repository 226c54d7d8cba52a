"""The corpus that espeak-ng speaks, for the demo and the tests."""
