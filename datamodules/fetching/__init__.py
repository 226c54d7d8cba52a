"""Public corpora: their catalogue, downloads and archives."""
