"""Training on streams of equations."""
