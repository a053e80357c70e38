"""How is a student's code kept from the machine? By the strongest means that the machine allows.

Four levels, strongest first:

- `bubblewrap`: the fork server lives in name spaces of its own (no network, own processes, a
read-only
  system, a small tmpfs), and each student's process in it moreover as below;
- `uid`: the process gives up root for a user id of its own, then Landlock and seccomp;
- `landlock`: Landlock and seccomp alone, where the grader isn't root;
- `none`: limits on resources only, used when the instructor insists.

Every level has limits on memory, processor time, processes and file sizes.
"""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from unrolled.course import landlock, seccomp
from unrolled.errors import BadInput

LEVELS = ("bubblewrap", "uid", "landlock", "none")
FIRST_UID = 64_000
MEMORY = 2 << 30
"""Bytes that a student's process may have beyond the fork server's."""
PR_SET_PDEATHSIG = 1


def strongest(allow_none: bool = False) -> str:
    """The strongest level of this machine. Raises `BadInput` where there is none and none may
    be.
    """
    levels = available()
    if levels:
        return levels[0]
    if allow_none:
        return "none"
    raise BadInput(
        "this machine has neither bubblewrap nor Landlock (Linux 5.13), so a submission could read "
        "and write whatever you can; grade on one that has, or say --no-isolation"
    )


@functools.cache
def available() -> tuple[str, ...]:
    """The levels that work here, strongest first, without `none`."""
    if not seccomp.supported():
        return ()
    found = ["bubblewrap"] if bubblewrap_works() else []
    if landlock.version() >= 1:
        found += ["uid", "landlock"] if os.geteuid() == 0 else ["landlock"]
    return tuple(found)


def bubblewrap_works() -> bool:
    """Whether bubblewrap is there and may make its name spaces."""
    if shutil.which("bwrap") is None:
        return False
    done = subprocess.run(
        wrapped([sys.executable, "-S", "-c", ""], []), capture_output=True, check=False
    )
    return done.returncode == 0


def wrapped(command: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The command inside bubblewrap, which sees `folders` and Python though they lie under /tmp."""
    words = ["bwrap", "--die-with-parent", "--new-session"]
    words += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    if os.geteuid() == 0:  # enough of root to become somebody else, and to end them
        words += ["--cap-drop", "ALL"]
        for right in ("CAP_SETUID", "CAP_SETGID", "CAP_KILL"):
            words += ["--cap-add", right]
    else:
        words += ["--unshare-user"]
    words += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for hidden in ("/tmp", "/var/tmp", "/dev/shm"):
        if Path(hidden).is_dir():
            words += ["--size", str(16 << 20), "--tmpfs", hidden]
    seen = [*folders, Path(sys.prefix), Path(sys.base_prefix)]
    for folder in seen:
        words += ["--ro-bind", str(folder), str(folder)]
    return [*words, "--", *command]


def limits(memory: int, seconds: int) -> None:
    """Bound this process: address space, processor time, files, processes; no core dumps."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    space = pages * resource.getpagesize() + memory
    for what, most in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_NPROC, 64),
    ):
        hard = resource.getrlimit(what)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (bound, bound))


def confine(level: str, slot: int, rules: int | None, seconds: int) -> None:
    """Give up, for good, all that a student's code has no use for. Raises `OSError`.

    `rules` is a ruleset of Landlock, None where the kernel has none; `slot` numbers the processes
    that run at the same time, each of which gets a user id of its own.
    """
    os.setsid()
    limits(MEMORY, seconds)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write of a file fails, and is no end
    if level in ("bubblewrap", "uid") and os.geteuid() == 0:
        uid = FIRST_UID + slot
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if level == "none":
        return
    if rules is not None:
        landlock.restrict(rules)
        os.close(rules)
    seccomp.restrict()
