"""A state of exactly so many bits at the cut: the module, its training, and its measurement against the ceiling."""
