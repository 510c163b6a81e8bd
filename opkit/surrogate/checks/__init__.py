"""What a surrogate knows about its own errors, and what follows from it."""
