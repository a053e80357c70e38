"""A worker as the runner sees it: started, asked, and stopped while it isn't its turn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers.contender import Peer

HERE = Path(__file__).parents[1]


class Died(Exception):
    """A worker ended before it answered; the text is the end of what it said."""


@dataclass(frozen=True)
class Entrant:
    """A peer in a number format, on so many threads."""

    peer: Peer
    weights: str
    threads: int

    @property
    def name(self) -> str:
        """As in tables and files."""
        return f"{self.peer.name} | {self.weights}"


class Worker:
    """A process with one entrant. Between questions it is stopped: idle threads may spin."""

    def __init__(self, entrant: Entrant, models: Path) -> None:
        self.entrant = entrant
        threads, folder = str(entrant.threads), str(entrant.peer.folder(models, entrant.weights))
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 — closed with the worker
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "peers.worker", entrant.peer.name, entrant.weights, threads,
             folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            cwd=HERE,
            env=os.environ | {"OMP_NUM_THREADS": threads},
        )  # fmt: skip
        self.load_seconds: float = self._answer()["seconds"]

    def ask(self, do: str, **question: Any) -> dict[str, Any]:
        """The answer to one question."""
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        try:
            print(json.dumps({"do": do, **question}), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise self._died() from None
        found = self._answer()
        self._process.send_signal(signal.SIGSTOP)
        return found

    def close(self) -> None:
        """End the process, and wait until it has ended."""
        self._process.kill()
        self._process.wait()
        self._said.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._died()
        found: dict[str, Any] = json.loads(line)
        return found

    def _died(self) -> Died:
        code = self._process.wait()
        self._said.seek(0)
        lines = [line.strip() for line in self._said if line.strip()]
        return Died(f"exit {code}: {lines[-1][:300] if lines else 'nothing said'}")
