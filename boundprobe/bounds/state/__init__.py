"""Bounds on the state at the cut: S1 to S5 and absent answers."""
