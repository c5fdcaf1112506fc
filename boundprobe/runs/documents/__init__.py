"""Shape of every document that is read back: keys, types and ranges, checked before anything is made of it.

These classes check; what is read is the plain document.  Relations between its numbers are checked by the class that
reads it (``from_json``).  A key that is not written here is refused, so a new key of a document is added here as well.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
