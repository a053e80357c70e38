"""Starting several processes in a test, as a user does: by torchrun, on a free port."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def start(processes: int, *words: object, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """`torchrun --standalone --nproc-per-node PROCESSES ...`, one thread each."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(ROOT / "src")])
    return subprocess.Popen(
        [*torchrun, "--nproc-per-node", str(processes), *options, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(processes: int, *words: object) -> str:
    """The same to its end, which must be a good one; returns standard output."""
    started = start(processes, *words)
    try:
        out, errors = started.communicate(timeout=240)
    finally:
        end(started)
    assert started.returncode == 0, errors[-4000:]
    return out


def end(started: subprocess.Popen[str]) -> None:
    """See that it is over, and its workers with it: torchrun takes them along."""
    if started.poll() is None:
        started.terminate()
        started.communicate(timeout=60)
