"""Runs a command in a pipe and in a terminal, for tests that compare what they are shown."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Sequence
from pathlib import Path


def piped_and_shown(words: Sequence[str], *, stderr: bool) -> tuple[bytes, bytes]:
    """What the command prints into a pipe, and what a pseudo-terminal shows of it.

    `stderr`: whether the terminal shows standard error too.
    """
    source = str(Path(__file__).parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    piped = subprocess.run(words, env=environment, capture_output=True, check=True).stdout
    master, slave = pty.openpty()
    errors = slave if stderr else subprocess.DEVNULL
    with subprocess.Popen(words, env=environment, stdout=slave, stderr=errors) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                piece = os.read(master, 1 << 16)
            except OSError:  # the other end of a pseudo-terminal has closed
                break
            if not piece:
                break
            shown += piece
    os.close(master)
    assert process.returncode == 0
    return piped, shown.replace(b"\r\n", b"\n")
