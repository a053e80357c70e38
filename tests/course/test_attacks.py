"""Does an attack change a score, or harm the grader? At every level that this machine has."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from course.attacks import EVERYWHERE, IMPOSSIBLE, before, if_possible
from course.conftest import QUICK
from unrolled.course import frames, isolation, landlock, seccomp, session
from unrolled.course.bench import Subject
from unrolled.course.grade import TESTS, grade
from unrolled.course.session import Died, Process, Server
from unrolled.errors import BadInput, WorkFailed


@pytest.mark.parametrize("name", EVERYWHERE)
def test_an_attack_earns_nothing_and_the_next_submission_all(solution, blank, server, name):
    assert grade(before(EVERYWHERE[name], blank), "ann", server).score == 0
    assert grade(solution, "ann", server).score == 11


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_must_be_impossible_is(solution, any_server: Server, name: str):
    report = grade(if_possible(IMPOSSIBLE[name], solution), "ann", any_server)
    assert report.score == 0, f"{name} was possible at level {any_server.level}"


def test_that_test_would_notice_if_it_were_possible(solution, any_server: Server):
    assert grade(if_possible("import math", solution), "ann", any_server).score == 11


def test_constants_for_the_public_tests_earn_nothing(solution, server: Server):
    # What a public test shows of one student's numbers, handed in by another.
    told = grade(solution.replace("/ math.sqrt(size)", ""), "ann", server).outcomes[2].output
    assert "expected" in told
    value = float(told.partition("expected ")[2].partition(",")[0])
    constant = f"return torch.full(x.shape, {value!r})"
    cheat = solution.replace("batch, length, width = x.shape", constant)
    attention = [o for o in grade(cheat, "bob", server).outcomes if "SelfAtt" in o.test.part]
    assert [o.passed for o in attention] == [False] * 4


def test_an_endless_loop_in_one_function_costs_that_function(solution, server: Server):
    line = "    chances = F.softmax(logits[:, -1] / temperature, dim=-1)\n        idx"
    loop = solution.replace(line, "    while True: pass\n        idx")
    assert loop != solution
    report = grade(loop, "ann", server)
    assert {o.test.part for o in report.outcomes if not o.passed} == {"generate"}


def test_all_time_is_bounded(server: Server):
    limits = QUICK.__class__(load=1.0, call=0.2, total=1.0)
    report = grade("import time\ndef Embedding(*a): time.sleep(99)", "a", server, limits=limits)
    assert report.score == 0
    assert report.seconds < 30


def test_memory_beyond_the_limit_is_an_error_and_no_more(server: Server):
    source = "import torch\ndef big(): return torch.ones(25_000_000_000)\ndef one(): return 1"
    subject = Subject(server, source, 0, QUICK)
    with pytest.raises(Exception, match="memory"):
        subject.ask("call", method="big")
    assert subject.ask("call", method="one") == 1
    subject.end()


def test_printing_is_cut_off_and_not_read_to_its_end(server: Server):
    subject = Subject(server, "def talk():\n    while True: print('x' * 65536)", 0, QUICK)
    with pytest.raises(Died, match="printed more than 1,048,576 bytes"):
        subject.ask("call", method="talk")
    assert subject.process is not None
    assert subject.process.printed < 2 * QUICK.printed
    subject.end()


def test_the_server_comes_back_if_it_is_ended(solution):
    with Server(isolation.available()[0], QUICK) as server:
        server.process.kill()
        server.process.wait()
        assert grade(solution, "ann", server).score == 11


def test_a_server_that_does_not_start_says_why_and_leaves_nothing(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no such module >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    there = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(WorkFailed, match="the fork server didn't start: no such module"):
        Server("none")
    assert len(list(Path("/proc/self/fd").iterdir())) == there


def test_the_server_finds_packages_where_the_grader_does_and_nothing_else_of_its(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/a/site-packages:/b/source:/c/dist-packages/")
    monkeypatch.setenv("SECRET", "x")
    told = session.environment(Path("/package"))
    assert told["PYTHONPATH"] == "/package:/a/site-packages:/c/dist-packages/"
    assert "SECRET" not in told


def test_without_isolation_it_refuses_unless_told(monkeypatch):
    monkeypatch.setattr(isolation, "available", tuple)
    with pytest.raises(BadInput, match="neither bubblewrap nor Landlock"):
        isolation.strongest()
    assert isolation.strongest(allow_none=True) == "none"


def test_told_so_it_grades_without_any(solution, blank):
    with Server("none", QUICK) as server:
        assert grade(solution, "ann", server).score == 11
        assert grade(before("import os; os._exit(0)", blank), "ann", server).score == 0


def test_descriptors_and_processes_are_given_back(solution, server: Server):
    grade(solution, "ann", server)
    there = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        grade(solution, "ann", server)
    assert len(list(Path("/proc/self/fd").iterdir())) == there


BAD_HEADERS = [
    b"", b"null", b"[]", b'{"tensors": 1}', b"{" * 100_000, b"\xff\xfe",
    b'{"tensors": [["float32", [1]]]}', b'{"tensors": [["float32", [-1]]]}',
    b'{"tensors": [["object", []]]}', b'{"tensors": [["float32", [1e9]]]}',
    b'{"tensors": [["float64", [67108864, 67108864, 67108864]]]}',
    b'{"tensors": [["float32", ' + b"[1]" * 2000 + b"]]}",
    json.dumps({"tensors": [["bool", [0]]] * 2000}).encode(),
]  # fmt: skip


@pytest.mark.parametrize("header", BAD_HEADERS)
def test_a_header_that_is_none_is_forged(header: bytes):
    with pytest.raises(frames.Forged):
        frames.unpack(header, b"")


@pytest.mark.parametrize("dtype", frames.DTYPES)
def test_tensors_go_through_a_frame_unchanged(dtype: str):
    arrays = [np.arange(6).astype(dtype).reshape(2, 3).T, np.array(1).astype(dtype),
              np.zeros((0, 4), dtype)]  # fmt: skip
    sent = frames.pack({"id": 7}, arrays)
    header, body = frames.lengths(sent[:8])
    told, got = frames.unpack(sent[8 : 8 + header], sent[8 + header :])
    assert len(sent) == 8 + header + body
    assert told == {"id": 7}
    for a, b in zip(arrays, got, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("machine", seccomp.MACHINES)
def test_the_filter_is_what_the_kernel_would_decide(machine: str):
    """The bytecode, run by an interpreter of its own."""
    column, arch = seccomp.MACHINES[machine]
    code = seccomp.program(machine, pid=77)
    steps = [
        (int.from_bytes(code[i : i + 2], "little"), code[i + 2], code[i + 3],
         int.from_bytes(code[i + 4 : i + 8], "little"))
        for i in range(0, len(code), 8)
    ]  # fmt: skip

    def decide(number: int, first: int = 0, on: int = arch) -> int:
        at, a = 0, 0
        while True:
            op, yes, no, k = steps[at]
            if op == seccomp.RET:
                return k
            if op == seccomp.LD:
                a = {seccomp.NUMBER: number, seccomp.ARCH: on, seccomp.ARG0: first}[k]
                at += 1
                continue
            true = {seccomp.JEQ: a == k, seccomp.JGE: a >= k, seccomp.JSET: bool(a & k)}[op]
            at += 1 + (yes if true else no)

    refused = seccomp.ERRNO | seccomp.EPERM
    for numbers in seccomp.FORBIDDEN.values():
        number = numbers[column]
        if number is not None and number >= 0:
            assert decide(number) == refused
    assert decide(seccomp.CLONE[column], seccomp.CLONE_THREAD) == seccomp.ALLOW
    assert decide(seccomp.CLONE[column]) == refused
    assert decide(seccomp.CLONE3[column]) == seccomp.ERRNO | seccomp.ENOSYS
    for call in (seccomp.KILL_CALL, seccomp.TGKILL):
        assert [decide(call[column], pid) for pid in (77, 1, 0, 2**32 - 1)] == [
            seccomp.ALLOW, refused, refused, refused,
        ]  # fmt: skip
    reading, writing = ((0, 63), (1, 64))
    assert decide(reading[column]) == decide(writing[column]) == seccomp.ALLOW
    assert decide(reading[column], on=1) == seccomp.KILL
    if machine == "x86_64":
        assert decide(reading[column] | seccomp.X32) == refused


def test_every_test_can_be_lost_to_a_process_that_is_gone(server: Server, monkeypatch):
    def gone(self: Process, *_: object, **__: object) -> None:
        raise Died("gone")

    monkeypatch.setattr(Process, "ask", gone)
    assert not any(o.passed for o in grade("", "ann", server).outcomes)
    assert len(TESTS) == 22


def test_what_is_hidden_is_cut_out_of_what_may_be_read(tmp_path):
    for name in ("a/x.py", "a/hidden/y.py", "a/b/z.py", "c/w.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = dict(landlock.without(tmp_path, tmp_path / "a/hidden"))
    listed, whole = landlock.READ_DIR, landlock.READ_DIR | landlock.READ_FILE | landlock.EXECUTE
    assert {str(path.relative_to(tmp_path)): rights for path, rights in found.items()} == {
        ".": listed, "a": listed, "a/b": whole, "c": whole,
        "a/x.py": landlock.READ_FILE | landlock.EXECUTE,
    }  # fmt: skip


def test_a_submission_may_import_what_python_and_its_packages_have(solution, servers):
    more = "import colorsys, wave, mpmath, tabulate\nassert mpmath.mpf(1) == 1\n"
    assert grade(more + solution, "ann", servers("landlock")).score == 11
