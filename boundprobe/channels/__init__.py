"""States whose information about the answers is known: what a method of measuring memory is held against."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
