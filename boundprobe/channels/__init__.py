"""States whose information about the answers is known: what a method of measuring memory is held against."""

from boundprobe.channels.base import AbstractChannel
from boundprobe.channels.joint import LinearHash, XorPairs, XorStorage
from boundprobe.channels.machine import EnumeratedMachine
from boundprobe.channels.noise import Rotated, SignNoise
from boundprobe.channels.storage import Erasure, Null, SymmetricStorage, WholeStateLoss, WholeStateSwap
from boundprobe.channels.streams import KeyValueStream, TokenStream
from boundprobe.channels.superposition import Superposition

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
