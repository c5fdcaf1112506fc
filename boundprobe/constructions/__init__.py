"""Weights written down, not trained: Theorems 4.3 and 4.6 as programs, and a compiler from programs to models.

``construction`` has ``construct``, ``verify`` what checks it; ``sizes`` needs no torch.
"""
