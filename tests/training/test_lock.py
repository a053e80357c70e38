"""One process trains in a folder; one that has died keeps nobody out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from unrolled.errors import BadInput
from unrolled.training.lock import LOCK, locked

HOLD = """
import sys, time
from pathlib import Path
from unrolled.training.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def take(folder: Path) -> bool:
    try:
        with locked(folder):
            return True
    except BadInput:
        return False


def test_a_lock_keeps_others_out_until_it_is_let_go(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with locked(folder):
        assert not take(folder)
        with pytest.raises(BadInput, match="another process is training there"), locked(folder):
            pass
    assert take(folder)
    assert list(folder.iterdir()) == []


def test_a_process_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert not take(tmp_path)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert (tmp_path / LOCK).exists()
        assert take(tmp_path)


def test_a_lock_whose_file_was_taken_away_does_not_count(tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / LOCK).unlink()
        assert take(tmp_path)


def test_the_first_process_of_torchrun_holds_it_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked(tmp_path):
        monkeypatch.setenv("RANK", "1")
        assert take(tmp_path)
    monkeypatch.setenv("RANK", "0")
    assert take(tmp_path)
