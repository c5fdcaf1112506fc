"""A user's own task: loaded, checked, and wrapped as a task of the package."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
