"""Which system calls may a student's code make? A filter of the kernel's, written as its own
bytecode.

seccomp(2) runs a program of classic BPF before each call. This one refuses, with EPERM, whatever
reaches another process, the network, or the kernel itself: a process may compute, and use what it
has open. Sources: linux/seccomp.h, linux/filter.h, the kernel's syscall tables.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

LD, JEQ, JGE, JSET, RET = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS = 1, 38
NUMBER, ARCH, ARG0 = 0, 4, 16
CLONE_THREAD = 0x00010000
X32 = 0x40000000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2

# (x86-64, AArch64); None where the machine doesn't have the call.
FORBIDDEN: dict[str, tuple[int | None, int]] = {
    "socket": (41, 198), "socketpair": (53, 199), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "connect": (42, 203), "sendto": (44, 206),
    "sendmsg": (46, 211), "sendmmsg": (307, 269), "recvmsg": (47, 212),
    "fork": (57, -1), "vfork": (58, -1), "execve": (59, 221), "execveat": (322, 281),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "kcmp": (312, 272), "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274), "ioprio_set": (251, 30), "prlimit64": (302, 261),
    "setrlimit": (160, 164), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "open_tree": (428, 428),
    "mount_setattr": (442, 442), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "shmget": (29, 194), "shmat": (30, 196), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "reboot": (169, 142), "swapon": (167, 224), "acct": (163, 89),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "sethostname": (170, 161),
    "personality": (135, 92), "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53),
    "chown": (92, -1), "fchown": (93, 55), "lchown": (94, -1), "fchownat": (260, 54),
    "setxattr": (188, 5), "utimensat": (280, 88), "mknod": (133, -1), "mknodat": (259, 33),
    "setuid": (105, 146), "setgid": (106, 144), "setgroups": (116, 159), "setresuid": (117, 147),
    "setresgid": (119, 149), "setpgid": (109, 154), "setsid": (112, 157),
}  # fmt: skip
CLONE, CLONE3, KILL_CALL, TGKILL = (56, 220), (435, 435), (62, 129), (234, 131)
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


def program(machine: str, pid: int) -> bytes:
    """The filter's bytecode for a process that may signal itself alone."""
    column, arch = MACHINES[machine]
    code: list[tuple[int, int, int, int]] = []

    def refuse(errno: int = EPERM) -> None:
        code.append((RET, 0, 0, ERRNO | errno))

    code += [(LD, 0, 0, ARCH), (JEQ, 1, 0, arch), (RET, 0, 0, KILL), (LD, 0, 0, NUMBER)]
    if machine == "x86_64":
        code.append((JGE, 0, 1, X32))  # the same calls by other numbers
        refuse()
    for numbers in FORBIDDEN.values():
        number = numbers[column]
        if number is not None and number >= 0:
            code.append((JEQ, 0, 1, number))
            refuse()
    code.append((JEQ, 0, 1, CLONE3[column]))  # its flags lie in memory, out of a filter's reach
    refuse(ENOSYS)
    code += [(JEQ, 0, 4, CLONE[column]), (LD, 0, 0, ARG0), (JSET, 1, 0, CLONE_THREAD)]
    refuse()
    code.append((RET, 0, 0, ALLOW))
    for numbers in (KILL_CALL, TGKILL):
        code += [(JEQ, 0, 4, numbers[column]), (LD, 0, 0, ARG0), (JEQ, 1, 0, pid)]
        refuse()
        code.append((RET, 0, 0, ALLOW))
    code.append((RET, 0, 0, ALLOW))
    return b"".join(struct.pack("<HBBI", op, yes, no, k) for op, yes, no, k in code)


def supported() -> bool:
    """Whether this machine's calls are known and its kernel has filters."""
    if platform.system() != "Linux" or platform.machine() not in MACHINES:
        return False
    return bool(ctypes.CDLL(None).prctl(21, 0, 0, 0, 0) >= 0)  # PR_GET_SECCOMP


def restrict() -> None:
    """Put the filter on this process, for good. Raises `OSError` if the kernel refuses."""
    text = program(platform.machine(), os.getpid())
    buffer = ctypes.create_string_buffer(text, len(text))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    libc = ctypes.CDLL(None, use_errno=True)
    filled = Program(len(text) // 8, ctypes.addressof(buffer))
    for call in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(filled), 0, 0),
    ):
        if libc.prctl(*call) != 0:
            raise OSError(ctypes.get_errno(), "the kernel refuses the filter of system calls")
