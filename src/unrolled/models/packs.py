"""Where are a run's packed weights kept? Beside its weights, in RUN/packed, a file a format.

    RUN/packed/int8.safetensors     every parameter by its name: a matrix as NAME.values,
                                    NAME.scales, NAME.groups and NAME.factors, as far as the format
                                    has them, anything else as it is

They are made when a format is first asked for, by `kernels.formats`. A file counts as long as it
was made by this version, of the very bytes that model.safetensors has now and of the model that
config.json names, and holds the bytes that were written; any other is made anew. It is read as a
map of memory: what is looked at is loaded, once for all processes, and the float32 weights are not.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from mmap import ACCESS_READ, mmap
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from unrolled.errors import BadInput, WorkFailed
from unrolled.kernels.formats import FORMATS, LANES, WHOLE, Packed, aligned
from unrolled.models.build import Model
from unrolled.models.decoder import Decoder
from unrolled.models.laid_out import multiplied
from unrolled.models.packed import PackedDecoder, pack_model, packed_decoder, refused
from unrolled.models.rounded import round_activations, round_weights
from unrolled.models.store import (
    CONFIG,
    WEIGHTS,
    load,
    model_config,
    read_config,
    write_atomically,
    writing,
)

FOLDER = "packed"
"""The folder in a run's own that holds its packed weights."""
VERSION = 6
"""Number of the formats' and the files' layout; a file of another is made anew."""
KINDS = {"f4": "F32", "u2": "U16", "i2": "I16", "i1": "I8", "u1": "U8"}
"""Types of arrays as safetensors calls them."""
LINE = 64
"""Bytes of a line of the cache."""
ABANDONED = 3600.0
"""Seconds after which a file that is half written has lost its writer."""
PIECE = 1 << 26
"""Bytes of a file that are mapped and hashed at once: after each a thread waits for Python's lock,
and gives the memory back.
"""
WORTH_COMPILING = 1 << 24
"""Weights from which on a model in float32 goes through the compiled step, too, where that can be:
then a step of few rows is up to three times as fast as PyTorch's (a prompt is not); smaller models
are quick before anything is compiled.
"""

Tell = Callable[[str], object]
Arrays = dict[str, Packed | np.ndarray]
Loaded = Model | PackedDecoder
"""A model as a run's folder gives it: PyTorch's, or one of packed weights."""


def silent(line: str) -> None:
    """Nobody is told."""


def load_packed(run: Path, weights: str, tell: Tell = silent) -> Loaded:
    """A run's model with its weights in a format of `FORMATS`.

    By the compiled step where that takes the model (in float32 only a large one); else by PyTorch
    with Ŵ, the matrices that the format stands for, in the place of W, and the activations of a
    decoder rounded as the step rounds them. `tell` is told, in a line each, when it is PyTorch and
    why, when weights are packed, and when a file of packed weights could not be used or kept.
    Raises `BadInput` for an unknown format, and as `load` does.
    """
    check_format(weights)
    run = Path(run)
    architecture, config = model_config(read_config(run), run / CONFIG)
    if weights == "float32" and multiplied(config) < WORTH_COMPILING:
        return load(run)
    reason: str | None = f"a model with architecture {architecture} has none"
    if architecture == "decoder":
        reason = refused(config)
        if reason is None:
            return packed_decoder(config, _ready(run, weights, tell), tell=tell)
    model = load(run)
    if weights != "float32":
        tell(f"{weights} by PyTorch, not by the compiled step: {reason}")
        factors = round_weights(model, weights)
        if weights in WHOLE and isinstance(model, Decoder):
            round_activations(model, factors)
    return model


def _ready(run: Path, weights: str, tell: Tell) -> Arrays:
    """`packs_of`, while numba sets itself up: that takes as long as the weights' digest."""
    from unrolled.kernels.compiling import get_ready

    if weights == "float32":
        return packs_of(run, weights, tell)
    stop = Event()
    with ThreadPoolExecutor(1) as aside:
        try:
            content = aside.submit(digest_of_file, run / WEIGHTS, stop)
            get_ready()
            return packs_of(run, weights, tell, content.result)
        finally:
            stop.set()  # an interrupt does not wait for the thread


def format_of(model: Loaded) -> str:
    """The format of a model's weights."""
    return str(getattr(model, "format", "float32"))


def check_format(weights: str) -> None:
    """Raise `BadInput` for a name that is no format's."""
    if weights not in FORMATS:
        raise BadInput(f"unknown format of weights {weights!r}: choose {', '.join(FORMATS)}")


def packs_of(
    run: Path, weights: str, tell: Tell = silent, content: Callable[[], str] | None = None
) -> Arrays:
    """A decoder's parameters in a format: from the file beside the run, made first if need be.

    `content` gives the digest of the run's weights where somebody is at it already. Raises
    `BadInput` for a run whose weights can't be read or don't fit its config.
    """
    if weights == "float32":
        return made(run, weights)
    file = run / FOLDER / f"{weights}.safetensors"
    told: dict[str, Any] = {}
    try:
        told, packs = read_packs(file)
        line = f"{file} was made of other weights, or by another version: packing the weights again"
    except FileNotFoundError:
        line = f"packing the weights of {run} in {weights}, for this time and the next ones"
    except Unusable as error:
        line = f"{file} {error}: packing the weights again"
    made_of = {
        "version": VERSION,
        "weights": weights,
        "model": asdict(model_config(read_config(run), run / CONFIG)[1]),
        "of": content() if content else digest_of_file(run / WEIGHTS),
    }
    if told == made_of:
        return packs
    tell(line)
    packs = made(run, weights)
    try:
        with writing(file.parent):
            file.parent.mkdir(exist_ok=True)
            for left in file.parent.glob(".*.part"):
                if time.time() - left.stat().st_mtime > ABANDONED:
                    left.unlink()
        write_packs(file, packs, made_of)
    except WorkFailed as error:
        tell(f"the packed weights are not kept for the next time: {error}")
    return packs


def made(run: Path, weights: str) -> Arrays:
    """The same from the run's own weights."""
    model = load(run)
    assert isinstance(model, Decoder)
    return pack_model(model, weights)


class Unusable(Exception):
    """A file of packed weights that is damaged, or of something else."""


def write_packs(file: Path, packs: Arrays, made_of: dict[str, Any]) -> None:
    """Write packed weights, and what they were made of; whole or not at all.

    Raises `WorkFailed` where the system lets nothing be written.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, value in packs.items():
        if isinstance(value, Packed):
            parts = value._asdict().items()
            arrays |= {f"{name}.{part}": array for part, array in parts if array.size}
        else:
            arrays[name] = value
    told = json.dumps({**made_of, "content": digest(arrays)}, sort_keys=True)
    write_atomically(file, lambda path: write_arrays(path, arrays, {"unrolled": told}))


def write_arrays(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """A safetensors file whose data begin on a line of the cache, and mapped so do most arrays.

    The package's own writer begins anywhere, and what begins within a line is read slower.
    """
    header: dict[str, Any] = {"__metadata__": metadata}
    order, place = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name)), 0
    for name in order:
        array, start = arrays[name], place
        place += array.nbytes
        kind = KINDS[array.dtype.str[1:]]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [start, place]}
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % LINE)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(np.ascontiguousarray(arrays[name]).data)


def read_packs(file: Path) -> tuple[dict[str, Any], Arrays]:
    """What the packed weights of a file were made of, and they themselves, mapped into memory.

    Raises `FileNotFoundError` where there is none, and `Unusable` for one that is not as it was
    written.
    """
    try:
        with safe_open(file, "pt") as opened:
            told = json.loads((opened.metadata() or {})["unrolled"])
            content = told.pop("content")
        arrays = {name: aligned(tensor.numpy()) for name, tensor in load_file(file).items()}
    except FileNotFoundError:
        raise
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError):
        raise Unusable("is damaged") from None
    if digest(arrays) != content:
        raise Unusable("is damaged")
    packs: Arrays = {}
    for name, array in arrays.items():
        whole, _, part = name.rpartition(".")
        if part == "values":
            scales = arrays.get(f"{whole}.scales", np.empty(0, np.float32))
            groups = arrays.get(f"{whole}.groups", np.empty((0, 0, 2 * LANES), np.int16))
            factors = arrays.get(f"{whole}.factors", np.empty(0, np.float32))
            packs[whole] = Packed(array, scales, groups, factors)
        elif part not in Packed._fields:
            packs[name] = array
    return told, packs


def digest(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of arrays: names, types, shapes and bytes."""
    sha = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        sha.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def digest_of_file(path: Path, stop: Event | None = None) -> str:
    """SHA-256 of a file, or of as much as was read when it is to stop.

    Raises `BadInput` for a file that can't be read.
    """
    try:
        sha, size = hashlib.sha256(), path.stat().st_size
        with path.open("rb") as file:
            for first in range(0, size, PIECE):
                if stop and stop.is_set():
                    break
                length = min(PIECE, size - first)
                with mmap(file.fileno(), length, access=ACCESS_READ, offset=first) as piece:
                    sha.update(piece)
        return sha.hexdigest()
    except FileNotFoundError:
        raise BadInput(
            f"{path} does not exist: the run was stopped before its end, "
            f"`unrolled resume {path.parent}` goes on with it"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: it has become shorter meanwhile
        raise BadInput(f"{path} can't be read: {error}") from None
