"""Bounds on the state at the cut: S1 to S5 and absent answers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
