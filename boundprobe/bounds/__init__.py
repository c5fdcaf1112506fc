"""Lower bounds on the state and the window that a task takes; numpy only, all numbers in bits and tokens."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
