"""Everything that people read of a comparison: Markdown, HTML and the terminal."""
