"""Packed weights and quantised products: the arithmetic under a decoding step."""

from unrolled.kernels.formats import FORMATS, Packed, pack, unpack

__all__ = ["FORMATS", "Packed", "pack", "unpack"]
