"""Compiled arithmetic: packed weights under a decoding step, attention under one of training."""

from unrolled.kernels.formats import FORMATS, Packed, pack, unpack

__all__ = ["FORMATS", "Packed", "no_numba", "pack", "unpack"]


def no_numba() -> str | None:
    """Why nothing can be compiled here; None: it can."""
    try:
        import numba

        _ = numba.njit  # an interrupted import leaves a module that is empty
    except (
        ImportError,
        OSError,
        AttributeError,
    ) as error:  # also where NumPy's version doesn't fit
        return f"numba can't be used ({error}): pip install 'unrolled[fast]'"
    return None
