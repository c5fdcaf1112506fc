"""States whose information about the answers is known: what a method of measuring memory is held against."""

from boundprobe.testing.channels.base import AbstractChannel
from boundprobe.testing.channels.joint import LinearHash, XorPairs, XorStorage
from boundprobe.testing.channels.machine import EnumeratedMachine
from boundprobe.testing.channels.noise import Rotated, SignNoise
from boundprobe.testing.channels.storage import Erasure, Null, SymmetricStorage, WholeStateLoss, WholeStateSwap
from boundprobe.testing.channels.streams import KeyValueStream, TokenStream
from boundprobe.testing.channels.superposition import Superposition

__all__ = [
    "AbstractChannel",
    "EnumeratedMachine",
    "Erasure",
    "KeyValueStream",
    "LinearHash",
    "Null",
    "Rotated",
    "SignNoise",
    "Superposition",
    "SymmetricStorage",
    "TokenStream",
    "WholeStateLoss",
    "WholeStateSwap",
    "XorPairs",
    "XorStorage",
]
