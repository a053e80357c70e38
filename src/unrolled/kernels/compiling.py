"""How do the kernels become machine code, and who hears of it?

Numba compiles a function when it is first called with arguments of a kind, which takes seconds, and
keeps the result beside the source for the next process. Only what Python calls need be kept: the
functions under it are compiled into it.
"""

from __future__ import annotations

import ctypes
import hashlib
import inspect
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import event

Tell = Callable[[str], object]
_PRCTL, _ASK, _TILES = 158, 0x1023, 18  # arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA


def compiled(function: Callable[..., Any]) -> Any:
    """A function that other compiled ones call; under it nothing of Python runs.

    What wraps it for the checks of shapes in tests is taken off: numba reads the bare function. As
    in NumPy, a division by zero is no error: a loop that could stop for one runs on no vectors.
    """
    return numba.njit(nogil=True, error_model="numpy")(inspect.unwrap(function))


def kept(function: Callable[..., Any]) -> Any:
    """The same for one that Python calls: its machine code is kept on the disk.

    Numba looks up what it has kept by the function's own code, its file and what it closes over; a
    change in another file would not be seen. So it must close over `sources()`.
    """
    bare = inspect.unwrap(function)
    try:
        return numba.njit(nogil=True, error_model="numpy", cache=True)(bare)
    except RuntimeError:  # no folder to keep it in: neither beside the source nor in the home
        return compiled(bare)


def sources() -> str:
    """A fingerprint of all files of this room, and of what the system permits."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    parts = [*(file.read_bytes() for file in files), str(may_use_tiles()).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


@cache
def may_use_tiles() -> bool:
    """Whether this process may use the registers of `amx`: Linux wants to be asked, once.

    A processor that has none of them says no too; for code made where it was yes they would be
    an illegal instruction.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    try:
        return bool(ctypes.CDLL(None).syscall(_PRCTL, _ASK, _TILES) == 0)
    except (OSError, AttributeError):
        return False


def get_ready() -> None:
    """Let numba and this room be read, and numba set itself up: half a second of a new process."""
    import unrolled.kernels.step  # noqa: F401  it imports this file

    numba.njit()(lambda: None)()


@contextmanager
def telling(tell: Tell | None) -> Iterator[None]:
    """Say in one line when something is compiled meanwhile, not when it is read from the disk."""
    if tell is None:
        yield
        return
    listener = _Listener(tell)
    event.register("numba:compile", listener)
    try:
        yield
    finally:
        event.unregister("numba:compile", listener)


class _Listener(event.Listener):
    """Tells once."""

    def __init__(self, tell: Tell) -> None:
        self.tell: Tell | None = tell

    def on_start(self, event: Any) -> None:
        """The first function of this call that must be compiled."""
        if self.tell is not None:
            self.tell("compiling the kernels for this machine: once, some seconds")
            self.tell = None

    def on_end(self, event: Any) -> None:
        """Nobody waits for this."""
