"""The spectral convolution: truncated transform, mixing of channels, transform back."""

from opkit.kernels.spectral_conv.dispatch import Choice, choose_backend
from opkit.kernels.spectral_conv.functional import spectral_conv

__all__ = ["Choice", "choose_backend", "spectral_conv"]
