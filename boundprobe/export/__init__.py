"""The generators for use elsewhere: files, a PyTorch dataset, a Hugging Face dataset."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
