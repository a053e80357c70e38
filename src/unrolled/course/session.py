"""How does the grader ask a student's code, and outlive whatever it does?

The grader's side of the pipe: a call has a time limit, what is printed has a size limit, and
whoever exceeds one, ends, or answers what is no frame is ended from outside. Nothing of PyTorch
here.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from unrolled.course import frames, isolation, set_folder
from unrolled.errors import WorkFailed, printable

Arrays = list[NDArray[Any]]


@dataclass(frozen=True)
class Limits:
    """Seconds on the wall's clock, and bytes."""

    load: float = 20.0
    call: float = 10.0
    total: float = 120.0
    printed: int = 1 << 20


class Died(Exception):
    """The student's process is no more; the message says why, for the student to read."""


class Refused(Exception):
    """The student's code raised; the message is what."""


def environment(*folders: Path) -> dict[str, str]:
    """What the fork server knows of this process's environment; it imports from the folders.

    And from where this process was told to find installed packages, NumPy and PyTorch maybe.
    """
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    told = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    installed = [path for path in told if path.rstrip("/").endswith("-packages")]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([*map(str, folders), *installed]),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


class Server:
    """The fork server's process; one serves many threads of the grader."""

    def __init__(self, level: str, limits: Limits | None = None) -> None:
        self.level, self.limits = level, limits or Limits()
        self.lock = threading.Lock()
        self.start()

    def start(self) -> None:
        """Start the process and wait until it has imported PyTorch. Raises `WorkFailed`."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        package, support = Path(__file__).parents[2], set_folder()
        command = [sys.executable, "-m", "unrolled.course.forks", str(theirs.fileno())]
        command += [self.level, str(int(self.limits.total) + 60)]
        if self.level == "bubblewrap":
            command = isolation.wrapped(command, [package, support])
        self.process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            env=environment(package, support),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        theirs.close()
        self.control = ours
        ours.settimeout(120)
        try:
            ready = ours.recv(4096)
        except TimeoutError:
            ready = b""
        if not ready:
            ours.close()
            self.process.kill()
            said = (self.process.communicate()[1] or b"").decode(errors="replace").split("\n")
            raise WorkFailed(f"the fork server didn't start: {(said[-2:] or [''])[0][:500]}")

    def order(self, what: dict[str, Any], descriptors: list[int]) -> dict[str, int]:
        """Give an order and wait for its answer; the server is started again if it has gone.

        Raises `WorkFailed` if the new one goes too.
        """
        with self.lock:
            for _ in range(2):
                with contextlib.suppress(OSError):
                    socket.send_fds(self.control, [json.dumps(what).encode()], descriptors)
                    if told := self.control.recv(4096):
                        answer: dict[str, int] = json.loads(told)
                        return answer
                self.close()
                self.start()
        raise WorkFailed("the fork server ends whenever it is asked; is there enough memory?")

    def close(self) -> None:
        """End the server, and with it whoever it forked."""
        self.control.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stderr:
            self.process.stderr.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


class Process:
    """One worker: a fork of the server that has run the student's file."""

    def __init__(self, server: Server, slot: int, limits: Limits) -> None:
        self.server, self.limits = server, limits
        self.number = self.printed = 0
        ask, self.request = os.pipe()
        self.answer, tell = os.pipe()
        self.output, out = os.pipe()
        try:
            self.pid = server.order({"order": "fork", "slot": slot}, [ask, tell, out])["pid"]
        finally:
            for descriptor in (ask, tell, out):
                os.close(descriptor)
        for descriptor in (self.request, self.answer, self.output):
            os.set_blocking(descriptor, False)

    def ask(
        self, command: str, tensors: Arrays, seconds: float, **header: Any
    ) -> tuple[dict[str, Any], Arrays]:
        """Send a command and wait for its answer. Raises `Died` or `Refused`."""
        self.number += 1
        sent = frames.pack({"id": self.number, "command": command, **header}, tensors)
        deadline = time.monotonic() + seconds
        try:
            self.exchange(sent, b"", 0, deadline)
            head = self.exchange(b"", b"", frames.HEAD.size, deadline)
            length, body = frames.lengths(head)
            rest = self.exchange(b"", b"", length + body, deadline)
            told, arrays = frames.unpack(rest[:length], rest[length:])
        except frames.Forged as error:
            raise Died(f"the process wrote to the grader's pipe: {error}") from None
        if told.get("id") != self.number:
            raise Died("the process wrote to the grader's pipe: an answer to no question")
        if "error" in told:
            raise Refused(printable(str(told["error"]))[:1000])
        if not isinstance(told.get("value"), dict):
            raise Died("the process wrote to the grader's pipe: an answer without a value")
        return told["value"], arrays

    def exchange(self, sent: bytes, got: bytes, size: int, deadline: float) -> bytes:
        """Write all of `sent`, or read `size` bytes, and watch what is printed meanwhile."""
        parts, missing = bytearray(got), size
        with selectors.DefaultSelector() as ready:
            if sent:
                ready.register(self.request, selectors.EVENT_WRITE)
            if size:
                ready.register(self.answer, selectors.EVENT_READ)
            if self.output >= 0:
                ready.register(self.output, selectors.EVENT_READ)
            while sent or missing:
                left = deadline - time.monotonic()
                events = ready.select(max(left, 0))
                if left <= 0:
                    raise Died("it took too long")
                for key, _ in events:
                    if key.fd == self.request:
                        sent = sent[self.write(sent) :]
                    elif key.fd == self.answer:
                        part = os.read(self.answer, min(missing, 1 << 20))
                        if not part:
                            raise Died("it ended the process")
                        parts += part
                        missing -= len(part)
                    elif not self.drain():
                        ready.unregister(self.output)
                        os.close(self.output)
                        self.output = -1
        return bytes(parts)

    def write(self, sent: bytes) -> int:
        """Write what fits into the pipe."""
        try:
            return os.write(self.request, sent[:65536])
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            raise Died("it ended the process") from None

    def drain(self) -> bool:
        """Take what was printed; false once there can be no more. Raises `Died` at the limit."""
        part = os.read(self.output, 65536)
        self.printed += len(part)
        if self.printed > self.limits.printed:
            raise Died(f"it printed more than {self.limits.printed:,} bytes")
        return bool(part)

    def end(self) -> None:
        """End the process, if it hasn't ended, and free what it was reached by."""
        for descriptor in (self.request, self.answer, self.output):
            if descriptor >= 0:
                os.close(descriptor)
        self.server.order({"order": "end", "pid": self.pid}, [])
