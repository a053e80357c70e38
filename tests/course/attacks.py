"""Submissions that attack the grader. Each is put before a version without solutions: 0 points."""

from __future__ import annotations

import textwrap
from pathlib import Path

import unrolled.course.tests_of_parts as secret

HERE = Path(secret.__file__)

EVERYWHERE: dict[str, str] = {
    "ends its process": "import os; os._exit(0)",
    "exits": "import sys; sys.exit()",
    "prints a result": 'print(\'{"score": 11, "tests": []}\', flush=True)',
    "patches what compares": """
        import builtins, torch, numpy
        torch.allclose = torch.equal = numpy.allclose = lambda *a, **k: True
        builtins.abs = builtins.isinstance = lambda *a: True
        """,
    "patches the worker": """
        import sys
        worker = sys.modules["unrolled.course.worker"]
        worker.encode = lambda value, sent: {"plain": True, "passed": True, "score": 11}
        worker.describe = lambda error: "passed"
        """,
    "answers what equals everything": """
        class Yes:
            __eq__ = __ne__ = __lt__ = __gt__ = __le__ = lambda *a: True
            __bool__ = lambda self: True
            shape, dtype = (2, 5, 8), "float32"
        import gtgpt.model
        for name in ("DummyEmbedding", "DummyMultiHeadedSelfAttention", "DummyBlock"):
            getattr(gtgpt.model, name).__call__ = lambda *a, **k: Yes()
        """,
    "answers a tensor that lies": """
        import torch, gtgpt.model
        class Liar(torch.Tensor):
            @classmethod
            def __torch_function__(cls, func, types, args=(), kwargs=None):
                return True
            def numpy(self): raise SystemExit
        for name in ("DummyEmbedding", "DummyMultiHeadedSelfAttention", "DummyBlock"):
            getattr(gtgpt.model, name).__call__ = (
                lambda self, x, *a, **k: torch.zeros(2, 5, 8).as_subclass(Liar))
        """,
    "forges frames": """
        import os, struct, json
        told = json.dumps({"id": 2, "value": {"items": []}, "passed": True, "tensors": []}).encode()
        for number in range(3, 64):
            try: os.write(number, struct.pack("<II", len(told), 0) + told)
            except OSError: pass
        """,
    "forges a frame of 4 GB": """
        import os
        for number in range(3, 64):
            try: os.write(number, b"\\xff" * 64)
            except OSError: pass
        """,
    "forges a frame that is deeper than can be followed": """
        import os, struct
        told = '{"id": 2, "tensors": [], "value": ' + '{"items": [' * 400 + ']}' * 400 + '}'
        for number in range(3, 64):
            try: os.write(number, struct.pack("<II", 24, 0) + b'{"id":1,"value":{}, "t":1}'[:24]
                          + struct.pack("<II", len(told), 0) + told.encode())
            except OSError: pass
        """,
    "answers what is deeper than can be followed": """
        import sys
        sys.modules["unrolled.course.worker"].encode = lambda value, sent: eval(
            '{"items": [' * 60 + ']}' * 60)
        """,
    "raises what a terminal would obey": """
        class Embedding:
            def __init__(self, *a): raise ValueError("[/red]\\x1b[2J\\ud800[bold]")
        Encoder = GenericSelfAttention = Embedding
        raise ValueError("[/red]\\x1b[2J\\ud800[bold]")
        """,
    "never ends": "while True: pass",
    "ignores signals and never ends": """
        import signal
        for number in range(1, 65):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        while True: pass
        """,
    "prints without end": "while True: print('x' * 100_000)",
    "allocates 100 GB": "import torch; torch.ones(25_000_000_000)",
    "allocates without end": "rows = []\nwhile True: rows.append(bytearray(1 << 26))",
    "starts threads without end": """
        import threading, time
        while True: threading.Thread(target=time.sleep, args=(9,)).start()
        """,
    "raises in the collector": """
        import sys, atexit
        atexit.register(lambda: open("results.json", "w").write('{"score": 11}'))
        sys.excepthook = sys.unraisablehook = lambda *a: None
        """,
}

IMPOSSIBLE: dict[str, str] = {
    "reads the tests": f'open("{HERE}").read()',
    "lists the tests": f'import os; os.listdir("{HERE.parent}")',
    "reads the system's users": 'open("/etc/passwd").read()',
    "reads its parent's memory": 'import os; open(f"/proc/{os.getppid()}/mem", "rb").read(1)',
    "reads its parent's environment": 'import os; open(f"/proc/{os.getppid()}/environ").read()',
    "finds a test in memory": """
        import sys, gc
        found = [m for m in sys.modules if "reference" in m and "unrolled" in m or "tests_of" in m]
        found += [o for o in gc.get_objects() if type(o).__name__ == "Bench"]
        assert found
        """,
    "finds a test on the stack": """
        import sys
        frame, names = sys._getframe(), []
        while frame: names += [*frame.f_locals, *frame.f_globals]; frame = frame.f_back
        assert {"expected", "secret", "TESTS"} & set(names)
        """,
    "writes a result": 'open("/tmp/results.json", "w").write("11")',
    "writes 10 GB": 'open("/tmp/large", "wb").write(bytes(1 << 20))',
    "writes into memory that is a file": 'import os; os.write(os.memfd_create("x"), b"1")',
    "makes a folder": 'import os; os.mkdir("/dev/shm/x")',
    "opens a socket": "import socket; socket.socket()",
    "opens a pair of sockets": "import socket; socket.socketpair()",
    "forks": "import os; os.fork() or os._exit(0)",
    "runs a program": 'import subprocess; subprocess.run(["/bin/true"], check=True)',
    "ends its parent": "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
    "ends everyone": "import os, signal; os.kill(-1, signal.SIGTERM)",
    "becomes root": "import os; os.setuid(0)",
    "raises its limits": """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        """,
    "looks into another process": """
        import ctypes
        assert ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0
        """,
}


def before(attack: str, version: str) -> str:
    """The version with the attack before it, as it is imported."""
    return f"{textwrap.dedent(attack)}\n{version}"


def if_possible(attack: str, solution: str) -> str:
    """The solution, if the attack raises nothing."""
    body = textwrap.indent(textwrap.dedent(attack).strip(), "    ")
    return (
        f"try:\n{body}\n    possible = True\nexcept BaseException:\n    possible = False\n"
        f"if possible:\n{textwrap.indent(solution, '    ')}"
    )
