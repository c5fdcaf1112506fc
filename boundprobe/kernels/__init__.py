"""Fast implementations of the operations of sequence models, chosen by name."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
