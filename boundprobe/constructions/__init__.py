"""Weights that a theorem writes down: Theorems 4.3 and 4.6 as programs, and a compiler from programs to models.

``construct`` builds the model, ``verify_small_case`` and ``verify`` check it on inputs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
