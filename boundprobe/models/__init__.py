"""Sequence models whose state at the cut is an object; ``spec`` needs no torch."""
