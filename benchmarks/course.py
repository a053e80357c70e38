"""How long does grading take? 100 submissions with 20 calls each, and with all of the 22 tests.

Each submission is a fresh fork of the server. The limit: a fork of a process with PyTorch and the
end of it cost some 23 ms, so 100 of them on two cores at least 1.2 s, whatever is asked.
Run: `python benchmarks/course.py`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from unrolled.course.batch import grade_folder
from unrolled.course.bench import Bench, Subject
from unrolled.course.export import NAME
from unrolled.course.isolation import available
from unrolled.course.notebook import build_notebooks
from unrolled.course.session import Server
from unrolled.course.tests_of_parts import SMALL, full

SUBMISSIONS, CALLS, JOBS = 100, 20, 2


def twenty_calls(server: Server, source: str, slot: int) -> None:
    """One submission: made, 18 calls of attention, and ended."""
    subject = Subject(server, source, slot, server.limits)
    bench = Bench(subject, slot, False)
    x = bench.rng.normal(size=(2, 4, 8))
    for _ in range(2):
        bench.make("GenericSelfAttention", SMALL)
    for _ in range(CALLS - 2):
        assert isinstance(bench.call("GenericSelfAttention", x, full(x)), np.ndarray)
    subject.end()


def main() -> None:
    """Print medians of three."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = (build_notebooks(folder).solution / NAME).read_text("utf-8")
        (folder / "all").mkdir()
        for number in range(SUBMISSIONS):
            (folder / f"all/{number}.py").write_text(f"{source}# {number}\n")
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        print(f"import torch in a process of its own: {time.perf_counter() - start:.2f} s")
        for level in available():
            calls, whole = [], []
            for turn in range(3):
                with Server(level) as server, ThreadPoolExecutor(JOBS) as pool:
                    start = time.perf_counter()
                    list(pool.map(lambda n: twenty_calls(server, source, n % JOBS), range(100)))
                    calls.append(time.perf_counter() - start)
                start = time.perf_counter()
                results = grade_folder(folder / "all", folder / f"{level}{turn}", level, jobs=JOBS)
                whole.append(time.perf_counter() - start)
                assert {result["score"] for result in results} == {11}
            each, tests = statistics.median(calls), statistics.median(whole)
            print(f"{level:<12} 20 calls {each:.1f} s, all tests, start included, {tests:.1f} s")


if __name__ == "__main__":
    main()
