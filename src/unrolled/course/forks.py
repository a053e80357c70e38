"""How does each submission get a fresh process without importing PyTorch again? By a fork.

This is the fork server, a program of its own: it imports PyTorch once, with one thread, and forks a
worker for each order that comes through its socket. It never has a test or an expected value, so
there is nothing of the kind in a worker's memory either. Orders: `fork` with three descriptors
(requests, answers, what is printed) and `end`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
from typing import Any

from unrolled.course import isolation, landlock, worker

OFTEN = (
    *("abc", "collections", "contextlib", "copy", "dataclasses", "enum", "functools", "inspect"),
    *("itertools", "json", "math", "operator", "random", "re", "statistics", "string", "time"),
    *("typing", "warnings", "einops", "tqdm.auto"),
)
"""Modules that students import, had before a worker loses the right to read where they may lie."""


def main() -> None:
    """Serve the socket that is file descriptor number argv[1]."""
    import torch
    import torch.utils.data

    from gtgpt import trainer  # noqa: F401  the student's file imports it

    for name in OFTEN:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    torch.set_num_threads(1)
    level, seconds = sys.argv[2], int(sys.argv[3])
    rules = landlock.ruleset() if level != "none" and landlock.version() else None
    torch.nn.functional.cross_entropy(torch.zeros(1, 2), torch.zeros(1).long())
    gc.collect()
    gc.freeze()  # else the collector's marks would copy every page in every worker
    children: set[int] = set()
    control = socket.socket(fileno=int(sys.argv[1]))
    control.send(b'{"ready": true}')
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 4096, 3)
        if not message:
            return
        order = json.loads(message)
        if order["order"] == "fork":
            told = fork(order, descriptors, control, level, rules, seconds)
            children.add(told["pid"])
        elif order["pid"] in children:
            children.remove(order["pid"])
            told = end(order["pid"])
        else:  # of a server before this one, with which it ended
            told = {"status": 0}
        control.send(json.dumps(told).encode())


def fork(
    order: dict[str, Any],
    descriptors: list[int],
    control: socket.socket,
    level: str,
    rules: int | None,
    seconds: int,
) -> dict[str, int]:
    """A worker that listens to the descriptors; answers its process id."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            control.close()
            request, answer, printed = move(descriptors)
            isolation.confine(level, order["slot"], rules, seconds)
            os.dup2(printed, 1)
            os.dup2(printed, 2)
            os.close(printed)
            worker.serve(request, answer)
            code = 0
        finally:
            os._exit(code)
    for descriptor in descriptors:
        os.close(descriptor)
    return {"pid": pid}


def move(descriptors: list[int]) -> tuple[int, int, int]:
    """The three descriptors as they are; standard input becomes empty."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    request, answer, printed = descriptors
    return request, answer, printed


def end(pid: int) -> dict[str, int]:
    """End a worker and all of its session; answers how it ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return {"status": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}


if __name__ == "__main__":
    main()
