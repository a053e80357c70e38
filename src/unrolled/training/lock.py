"""Who trains in a run's folder? One process at a time: the system's file lock says so (flock(2)).

The system itself takes the lock away from a process that has died, however it died.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from unrolled.errors import BadInput
from unrolled.models.store import writing

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run's folder, made if it is missing, against every other process that would train.

    Raises `BadInput` while another one holds it. Of the processes that torchrun starts, the first
    holds it for all; where a file system has no locks, nobody is kept out.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    path = folder / LOCK
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    with file:
        if not _take(file, path):
            raise BadInput(
                f"{folder} is in use: another process is training there; wait for its end, stop "
                "it, or choose another folder"
            )
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _take(file: IO[str], path: Path) -> bool:
    """Whether the lock is ours now, and still that of the path: its last holder removed it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:
        return True
