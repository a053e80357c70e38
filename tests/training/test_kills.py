"""Fifty kills at random moments, and not one bit of the weights is different."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KILLS = 10
RUNS = [("decoder", 1), ("encoder", 2), ("encoder-decoder", 3), ("lstm", 4), ("decoder", 5)]


@pytest.mark.parametrize(("architecture", "seed"), RUNS)
def test_a_run_killed_ten_times_at_random_ends_with_the_bits_of_one_left_alone(
    tmp_path: Path, architecture: str, seed: int
) -> None:
    script = Path(__file__).with_name("killed_runs.py")
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(seed), architecture, str(KILLS)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["kills"] == KILLS
    assert result["same"]
    assert result["metrics"]
