"""FNO: Fourier neural operators."""
