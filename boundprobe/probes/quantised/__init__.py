"""The state rounded to a few bits an entry: encoder-decoder pairs that are run, and upper bounds on their entropy."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
