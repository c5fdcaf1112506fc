"""Training runs; ``config`` needs no torch."""
