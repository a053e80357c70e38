"""The commands under torchrun: trained, killed, interrupted, refused, scored, translated."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.torchrun import end, run, start

from cli.conftest import TINY
from unrolled.cli import main

TRAIN = ["train", "sort", *TINY, "--training.max-steps=60", "--training.save-every=10"]
TRAIN += ["--training.evaluate-every=20", "--training.log-every=5", "--model.dropout=0.1"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes, and what else can be asked of them while they are there."""
    home = tmp_path_factory.mktemp("home")
    draw = random.Random(0)
    lines = ["".join(draw.choice("012") for _ in range(6)) for _ in range(600)]
    lines[4] = lines[570] = ""
    (home / "in.txt").write_text("\n".join(lines) + "\n")
    (home / "bad.txt").write_text("201102\n20110\n")
    run_folder, decoder = str(home / "run"), str(home / "decoder")
    translate = ["translate", run_folder, "--input", str(home / "in.txt")]
    commands = {
        "train": [*TRAIN, "--out", run_folder],
        "again": [*TRAIN, "--out", run_folder],
        "other": [*TRAIN, "--out", run_folder, "--seed", "5"],
        "seeds": [*TRAIN, "--out", str(home / "seeds"), "--seed", "{rank}"],
        "nan": [*TRAIN, "--out", str(home / "nan"), "--training.learning-rate=1e30"],
        "evaluate": ["evaluate", run_folder, "--json"],
        "decoder": ["train", "sort", "--architecture", "decoder", *TINY, "--out", decoder],
        "packed": ["evaluate", decoder, "--json", "--weights", "int8"],
        "file": [*translate, "--output", str(home / "out.txt")],
        "printed": translate,
        "bad": ["translate", run_folder, "--input", str(home / "bad.txt")],
        "finished": ["resume", run_folder],
    }
    (home / "commands.json").write_text(json.dumps(list(commands.values())))
    script = Path(__file__).with_name("shared_commands.py")
    run(2, script, home / "commands.json", home / "left")
    for rank in (0, 1):
        left = json.loads((home / f"left.{rank}").read_text())
        (home / f"left.{rank}").write_text(json.dumps(dict(zip(commands, left, strict=True))))
    return home


def left(home: Path, name: str) -> list[dict[str, Any]]:
    """What a command left in each process."""
    return [json.loads((home / f"left.{rank}").read_text())[name] for rank in (0, 1)]


def test_only_the_first_process_prints(home: Path) -> None:
    first, second = left(home, "train")
    assert (first["code"], second["code"]) == (0, 0)
    assert "2 processes (ddp)" in first["err"]
    assert "finished: 60 steps" in first["out"]
    assert (second["out"], second["err"]) == ("", "")
    assert json.loads((home / "run/environment.json").read_text())["processes"] == 2


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("again", 2, "is finished, at step 60"),
        ("other", 2, "exists already"),
        ("seeds", 2, "process 1 has other options than process 0"),
        ("nan", 1, "the loss is"),
        ("bad", 2, "bad.txt, line 2: sort takes 6 digits"),
        ("finished", 2, "is finished, at step 60"),
    ],
)
def test_what_goes_wrong_ends_all_processes_and_one_says_it(
    name: str, code: int, said: str, home: Path
) -> None:
    first, second = left(home, name)
    assert (first["code"], second["code"]) == (code, code)
    assert said in first["err"].splitlines()[-1]
    assert (first["out"], second["out"]) == ("", "")
    assert "Traceback" not in first["err"] + second["err"]
    assert second["err"] == "" or name in ("seeds", "bad")  # there, each machine says it once


def test_scores_are_those_of_one_process(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["evaluate", str(home / "run"), "--json"]) == 0
    first, second = left(home, "evaluate")
    assert first["out"] == capsys.readouterr().out
    assert second["out"] == ""


def test_packed_weights_are_packed_by_one_and_cost_what_they_cost_one_process(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = left(home, "packed")
    assert (first["code"], second["code"]) == (0, 0)
    assert first["err"].count("packing the weights") == 1
    assert (second["out"], second["err"]) == ("", "")
    capsys.readouterr()
    assert main(["evaluate", str(home / "decoder"), "--json", "--weights", "int8"]) == 0
    alone, together = json.loads(capsys.readouterr().out), json.loads(first["out"])
    assert together.pop("weights") == alone.pop("weights") == "int8"
    assert together == pytest.approx(alone, rel=1e-4)  # float32's own sums are PyTorch's


def test_a_file_is_translated_to_the_bytes_of_one_process(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["translate", str(home / "run"), "--input", str(home / "in.txt")]
    assert main([*words, "--output", str(tmp_path / "out.txt")]) == 0
    alone = (tmp_path / "out.txt").read_bytes()
    assert (home / "out.txt").read_bytes() == alone
    lines = alone.decode().split("\n")
    assert (len(lines), lines[4], lines[570], lines[600]) == (601, "", "", "")
    first, second = left(home, "printed")
    assert first["out"].encode() == alone
    assert second["out"] == ""
    capsys.readouterr()
    assert main([*words]) == 0
    assert capsys.readouterr().out.encode() == alone


def at_step(process: subprocess.Popen[str], step: int) -> None:
    """Wait until a run says that it has come to a step."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.split()[:2] == ["step", str(step)]:
            return
    raise AssertionError("".join(seen))


def workers(process: subprocess.Popen[str]) -> list[int]:
    """The processes that torchrun has started."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(word) for word in path.read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers in /proc")
def test_a_worker_killed_is_restarted_and_the_weights_are_the_same_bits(
    home: Path, tmp_path: Path
) -> None:
    words = ["-m", "unrolled", *TRAIN, "--out", tmp_path / "run"]
    process = start(2, *words, options=("--max-restarts", "1"))
    try:
        at_step(process, 20)
        os.kill(workers(process)[-1], signal.SIGKILL)
        _, errors = process.communicate(timeout=240)
    finally:
        end(process)
    assert process.returncode == 0, errors
    assert "going on from step" in errors
    weights = [folder / "run/model.safetensors" for folder in (home, tmp_path)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_an_interrupted_torchrun_leaves_a_run_that_one_process_resumes(tmp_path: Path) -> None:
    words = [*TRAIN, "--training.max-steps=4000", "--training.parallel=fsdp"]
    process = start(2, "-m", "unrolled", *words, "--out", tmp_path / "run")
    try:
        at_step(process, 20)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=240)
    finally:
        end(process)
    assert "interrupted: " in out, errors
    assert main(["translate", str(tmp_path / "run"), "201102"]) == 0
    step = int(out.partition("interrupted: ")[2].split()[0].replace(",", ""))
    longer = f"--training.max-steps={step + 2}"
    assert main(["resume", str(tmp_path / "run"), longer]) == 0
