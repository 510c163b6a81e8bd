"""The spectral convolution."""
