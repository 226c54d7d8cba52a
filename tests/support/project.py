"""Where the checkout is that the tests belong to."""

from pathlib import Path

PROJECT = Path(__file__).parents[2]
