"""Figures as pixels."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg


def figure_array(figure):
    """Render a figure into pixels ``(height, width, 3)``."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), dtype=np.uint8)[..., :3].copy()
