"""Principal modes of the outputs, and Gaussian processes of their coefficients."""
