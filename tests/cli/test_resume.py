import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.conftest import TINY
from unrolled.cli import main


def test_a_finished_run_whose_weights_are_damaged_gets_them_back(
    sort_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(sort_run, run)
    (run / "model.safetensors").write_bytes(b"damaged")
    assert main(["resume", str(run)]) == 0
    whole = (sort_run / "model.safetensors").read_bytes()
    assert (run / "model.safetensors").read_bytes() == whole


def test_a_finished_run_is_refused_with_what_to_do(
    sort_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["resume", str(sort_run)]) == 2
    assert "a larger --training.max-steps" in capsys.readouterr().err


LONG = ["train", "sort", *TINY, "--training.max-steps=400", "--training.evaluate-every=20"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert main([*LONG, "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_usable_and_resumes_to_the_same_bits(
    number: signal.Signals, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "unrolled", *LONG, "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step"):
            os.kill(process.pid, number)
            break
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert main(["translate", str(out), "201102"]) == 0
    assert main(["resume", str(out)]) == 0
    weights = [folder / "model.safetensors" for folder in (whole, out)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
