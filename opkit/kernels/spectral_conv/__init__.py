"""The spectral convolution: truncated transform, mixing of channels, transform back."""

from opkit.kernels.spectral_conv.dispatch import choose_backend, describe
from opkit.kernels.spectral_conv.functional import spectral_conv

__all__ = ["choose_backend", "describe", "spectral_conv"]
