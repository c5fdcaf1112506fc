"""Certified statements about the information in a state: T1, its confidence bounds and its assumptions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
