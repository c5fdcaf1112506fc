"""Bounds that an answer table gives by itself, for a user's own task."""
