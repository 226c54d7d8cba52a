"""`overtone data`: fetch, prepare and inspect corpora."""
