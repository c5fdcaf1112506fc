"""Properties of an answer table (prefix by query): its rows, and two inputs that a window confuses."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
