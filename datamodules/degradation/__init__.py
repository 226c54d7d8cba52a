"""Wideband speech to narrowband: steps, the conditions that combine them, filters, codecs, noise and rooms."""
