"""How do the grader and a student's process speak? In frames: a JSON header, then raw tensor bytes.

A frame is 8 bytes (the header's length and the tensors' together, little-endian 32-bit each), the
header, and the tensors one after another in C order. The header's `tensors` lists [dtype, shape] of
each. The reader believes nothing: sizes are bounded before anything is allocated, and what is no
frame is `Forged`. Nothing here can run code, as unpickling would. Standard library and NumPy alone,
and no tensors of PyTorch: both sides import this file.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEAD = struct.Struct("<II")
MOST_HEADER = 1 << 20
MOST_BYTES = 1 << 26
MOST_TENSORS = 1024
DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in [
        "bool",
        "uint8",
        "int8",
        "int16",
        "int32",
        "int64",
        "float16",
        "float32",
        "float64",
    ]
}


class Forged(ValueError):
    """What came through the pipe is no frame of this protocol."""


def pack(header: dict[str, Any], tensors: list[NDArray[Any]]) -> bytes:
    """A frame as bytes. Raises `ValueError` if it would be too large to be read."""
    described = [[str(t.dtype.newbyteorder("=")), list(t.shape)] for t in tensors]
    text = json.dumps({**header, "tensors": described}).encode()
    bodies = [np.ascontiguousarray(t, dtype=t.dtype.newbyteorder("<")).tobytes() for t in tensors]
    size = sum(map(len, bodies))
    if len(text) > MOST_HEADER or size > MOST_BYTES or len(tensors) > MOST_TENSORS:
        raise ValueError(f"an answer of {size} bytes in {len(tensors)} tensors is too large")
    return b"".join([HEAD.pack(len(text), size), text, *bodies])


def lengths(head: bytes) -> tuple[int, int]:
    """Length of the header and of the tensors, of a frame's first 8 bytes."""
    header, body = HEAD.unpack(head)
    if header > MOST_HEADER or body > MOST_BYTES:
        raise Forged(f"a frame of {header} + {body} bytes")
    return header, body


def unpack(text: bytes, body: bytes) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """The header and the tensors. Raises `Forged` whatever is wrong with them."""
    try:
        header = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        raise Forged("a header that is not JSON") from None
    described = header.pop("tensors", None) if isinstance(header, dict) else None
    if not isinstance(described, list) or len(described) > MOST_TENSORS:
        raise Forged("a header without a list of tensors")
    tensors, start = [], 0
    for entry in described:
        match entry:
            case [str(name), [*shape]] if (
                name in DTYPES
                and len(shape) <= 16
                and all(type(n) is int and 0 <= n <= MOST_BYTES for n in shape)
            ):
                dtype = DTYPES[name]
            case _:
                raise Forged("a tensor of an unknown type or shape")
        size = math.prod(shape) * dtype.itemsize
        if start + size > len(body):
            raise Forged("tensors longer than what was sent")
        flat = np.frombuffer(body, dtype, math.prod(shape), start) if size else np.zeros(0, dtype)
        tensors.append(flat.reshape(shape))
        start += size
    if start != len(body):
        raise Forged("bytes that belong to no tensor")
    return header, tensors
