"""Threads that meet: nobody goes on before all have come, and nobody waits for the dead."""

from __future__ import annotations

import os
import threading
import warnings

import numpy as np
import pytest

pytest.importorskip("numba")

import numba

from unrolled.kernels.compiling import telling
from unrolled.kernels.team import Team, meet, share

PHASES = 2_000


@numba.njit(nogil=True)
def phases(seen, wrong, barrier, thread, threads):
    """Each thread writes its own place; after each meeting all places must show the phase."""
    due = 0
    for phase in range(1, PHASES):
        seen[thread, 0] = phase
        due += threads
        meet(barrier, due)
        for other in range(threads):
            wrong[thread] += seen[other, 0] != phase
        due += threads
        meet(barrier, due)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_after_a_meeting_everybody_sees_what_all_have_written(threads: int) -> None:
    seen, wrong = np.zeros((threads, 16), np.int64), np.zeros(threads, np.int64)
    team = Team(threads)
    for _ in range(3):
        team.run(lambda *who: phases(seen, wrong, *who), threads)
    assert wrong.sum() == 0
    assert (seen[:, 0] == PHASES - 1).all()


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 100, 576])
@pytest.mark.parametrize("unit", [1, 2, 16, 64])
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_shares_are_everything_once_and_cut_at_units(count: int, unit: int, threads: int) -> None:
    parts = [share.py_func(count, unit, thread, threads) for thread in range(threads)]
    assert [i for first, last in parts for i in range(first, last)] == list(range(count))
    assert all(first % unit == 0 or first == count for first, _ in parts)
    units = [-(-(last - first) // unit) for first, last in parts]
    assert max(units) - min(units) <= 1


@pytest.mark.parametrize("failing", [0, 1])
def test_one_thread_that_fails_leaves_nobody_waiting(failing: int) -> None:
    seen, wrong = np.zeros((2, 16), np.int64), np.zeros(2, np.int64)
    team, ended = Team(2), threading.Event()

    def work(barrier: np.ndarray, thread: int, threads: int) -> None:
        if thread == failing:
            raise KeyboardInterrupt if failing == 0 else MemoryError
        phases(seen, wrong, barrier, thread, threads)
        ended.set()

    with pytest.raises((KeyboardInterrupt, MemoryError)):
        team.run(work, 2)
    assert ended.wait(30)
    team.run(lambda *who: phases(seen, np.zeros(2, np.int64), *who), 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_gets_threads_of_its_own() -> None:
    seen, wrong = np.zeros((2, 16), np.int64), np.zeros(2, np.int64)
    team = Team(2)
    team.run(lambda *who: phases(seen, wrong, *who), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads: those are what this is about
        child = os.fork()
    if not child:
        try:
            team.run(lambda *who: phases(seen, wrong, *who), 2)
        finally:
            os._exit(0 if wrong.sum() == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_who_waits_for_a_compilation_is_told_once_and_only_then() -> None:
    @numba.njit
    def doubled(x):
        return 2 * x

    told: list[str] = []
    with telling(told.append):
        doubled(1)
        doubled(1.0)
    assert len(told) == 1
    assert "compiling" in told[0]
    with telling(told.append):
        doubled(2)
    assert len(told) == 1
