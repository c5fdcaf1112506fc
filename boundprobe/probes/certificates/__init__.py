"""Certified statements about the information in a state: T1, its confidence bounds and its assumptions."""
