"""Decoders: from states to scores of every answer at once, frozen once they are fitted."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
