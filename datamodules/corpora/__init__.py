"""A folder of speech: its manifest, its recordings, their loudness, and its preparation."""
