"""Diagonal cuts (D1; docs/theory/bounds.md): states, windows and hybrids under one theorem; all numbers in bits."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
