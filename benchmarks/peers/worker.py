"""A contender in a process of its own: asked by a line of JSON, answered by one.

    python -m peers.worker PEER WEIGHTS THREADS FOLDER

So no two share a pool of threads, and a process's peak memory is that of one model.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from peers.contender import PEERS, Contender

PR_SET_PDEATHSIG = 1
"""Of Linux's prctl(2)."""


def main() -> None:
    """Load, say how long it took, answer until the questions end."""
    # A stopped process doesn't see its questions end: the system ends it with its parent.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    name, weights, threads, folder = sys.argv[1:]
    (peer,) = (peer for peer in PEERS if peer.name == name)
    start = time.perf_counter()
    contender = peer.code().load(Path(folder), weights, int(threads), **peer.options)
    tell(answers, {"seconds": time.perf_counter() - start})
    for line in sys.stdin:
        tell(answers, answer(contender, json.loads(line)))


def tell(answers: Any, found: dict[str, Any]) -> None:
    """One line."""
    print(json.dumps(found), file=answers, flush=True)


def answer(contender: Contender, asked: dict[str, Any]) -> dict[str, Any]:
    """What a question's `do` names; the time is that of the contender's work alone."""
    if asked["do"] == "peak":
        return {"megabytes": peak_megabytes()}
    start = time.perf_counter()
    if asked["do"] == "log_probs":
        rows = [contender.log_probs(tokens, asked["first"]) for tokens in asked["texts"]]
        np.save(asked["to"], np.concatenate(rows))
        return {"seconds": time.perf_counter() - start}
    found = contender.generate(asked["prompts"], asked["beam_size"], asked["new_tokens"])
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "tokens": [[int(token) for token in row] for row in found]}


def peak_megabytes() -> float:
    """Most memory that this program has had, 2^20 bytes each.

    From Linux's own table: what `getrusage` says is at least what the parent had.
    """
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmHWM")


if __name__ == "__main__":
    main()
