"""Audio files and pipes, read and written in blocks."""
