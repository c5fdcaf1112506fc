"""All bounds of one task in one object, and the catalogue of theorems behind them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
