"""Sequence models whose state at the cut is an object; names and sizes need no torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
