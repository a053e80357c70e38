"""Fifty kills at random moments, and not one bit of the weights is different."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
KILLS = 10
RUNS = ["decoder:1", "encoder:2", "encoder-decoder:3", "lstm:4", "decoder:5"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of each run: all in one process, whose start takes as long as a few of them."""
    script = Path(__file__).with_name("killed_runs.py")
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path_factory.mktemp("killed")), str(KILLS), *RUNS],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    return results


@pytest.mark.parametrize("run", RUNS)
def test_a_run_killed_ten_times_at_random_ends_with_the_bits_of_one_left_alone(
    found: dict[str, Any], run: str
) -> None:
    assert found[run]["kills"] == KILLS
    assert found[run]["same"]
    assert found[run]["metrics"]
