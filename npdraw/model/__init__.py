"""The model: whether, where and what to draw, and the image that the drawing explains."""
