"""Hugging Face models: sizes of their states from a configuration alone, and the states themselves.

Sizes need neither torch nor transformers; models need both (``pip install 'boundprobe[hf]'``).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
