"""Which files may a student's code read? Those of Python and the system, and it may write none.

Landlock (Linux 5.13, landlock(7)) lets a process give up rights on the file system for itself and
its children. From its sixth version it also keeps signals and abstract sockets inside.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

CREATE, ADD_RULE, RESTRICT = 444, 445, 446  # the same numbers on every machine
EXECUTE, READ_FILE, READ_DIR = 1 << 0, 1 << 2, 1 << 3
PATH_BENEATH = 1
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights on files a version of Landlock knows."""
SCOPES = 0b11  # abstract sockets, signals
SYSTEM = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/proc/cpuinfo", "/proc/meminfo")


def version() -> int:
    """The kernel's version of Landlock; 0 if it has none."""
    if sys.platform != "linux":
        return 0
    return max(int(ctypes.CDLL(None).syscall(CREATE, None, 0, 1)), 0)


def readable() -> Iterator[str]:
    """What a student's code may read: never this package, nor anything else that isn't Python's."""
    yield from SYSTEM
    yield from DEVICES
    paths = sysconfig.get_paths()
    libraries = {paths[name] for name in ("purelib", "platlib")}
    yield from (paths["stdlib"], paths["platstdlib"])
    libraries |= {entry for entry in sys.path if Path(entry).name in ("site-packages",)}
    for folder in libraries:
        if Path(folder).is_dir():
            yield from (entry.path for entry in os.scandir(folder) if "unrolled" not in entry.name)


def ruleset() -> int:
    """A file descriptor that stands for those rights. Raises `OSError`."""
    known = version()
    rights = (1 << FILE_RIGHTS.get(known, 16)) - 1
    # From version 4 on TCP, from 6 on scopes: each a field more.
    fields = [rights] + ([0b11] if known >= 4 else []) + ([SCOPES] if known >= 6 else [])
    text = struct.pack(f"<{len(fields)}Q", *fields)
    libc = ctypes.CDLL(None, use_errno=True)
    rules = libc.syscall(CREATE, text, ctypes.c_size_t(len(text)), 0)
    if rules < 0:
        raise OSError(ctypes.get_errno(), "the kernel refuses a Landlock ruleset")
    for path in readable():
        add(libc, rules, path)
    os.set_inheritable(rules, False)
    return int(rules)


def add(libc: ctypes.CDLL, rules: int, path: str) -> None:
    """Let the ruleset read a file, or all beneath a folder; what isn't there needs no rule."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        folder = Path(path).is_dir()
        rights = EXECUTE | READ_FILE | (READ_DIR if folder else 0)
        rule = struct.pack("<Qi", rights, place)
        if libc.syscall(ADD_RULE, rules, PATH_BENEATH, rule, 0) != 0:
            raise OSError(ctypes.get_errno(), f"the kernel refuses a Landlock rule for {path}")
    finally:
        os.close(place)


def restrict(rules: int) -> None:
    """Keep only the ruleset's rights, for good. Raises `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.syscall(RESTRICT, rules, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel refuses to restrict this process")
