"""What loops that numba compiles are made with; only backends import it, because numba need not be there."""
