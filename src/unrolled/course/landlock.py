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


def readable() -> Iterator[tuple[Path, int]]:
    """What a student's code may read, with its rights: the system and Python, without this
    package.
    """
    paths = sysconfig.get_paths()
    roots = {*SYSTEM, *DEVICES, *(paths[name] for name in ("stdlib", "purelib", "platlib"))}
    roots |= {entry for entry in sys.path if Path(entry).name.endswith("-packages")}
    hidden = Path(__file__).resolve().parents[1]
    for root in sorted(roots):
        if Path(root).exists():
            yield from without(Path(root).resolve(), hidden)


def without(path: Path, hidden: Path) -> Iterator[tuple[Path, int]]:
    """The path and all beneath it, but for what is hidden there.

    The folders above it can be listed: without that Python wouldn't find the hidden one's
    neighbours.
    """
    if path == hidden:
        return
    if path in hidden.parents:
        yield path, READ_DIR
        for child in path.iterdir():
            yield from without(child, hidden)
    else:
        yield path, EXECUTE | READ_FILE | (READ_DIR if path.is_dir() else 0)


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
    for path, allowed in readable():
        add(libc, rules, path, allowed)
    os.set_inheritable(rules, False)
    return int(rules)


def add(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    """Give rights to a file, or to all beneath a folder; what can't be opened needs no rule."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
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
