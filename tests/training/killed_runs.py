"""Trains in child processes and kills them: `killed_runs.py FOLDER KILLS ARCHITECTURE:SEED...`.

Prints a JSON object for each: how many kills there were in how many runs, and whether the weights
and the metrics of all are those of a run that was left alone. Run by test_kills.py, in a process of
one thread: only such a process may be forked once torch has been used.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from tests.training.test_checkpoint import trainer, untimed
from torch.utils import tensorboard  # noqa: F401 - imported before the forks, once for all

from unrolled.models import save
from unrolled.models.store import load_file

OPTIONS = {"max_steps": 40, "save_every": 3, "log_every": 4}


def train(run: Path, architecture: str) -> None:
    """Go on with a run to its end and write the weights."""
    made = trainer(run, architecture, "adamw", None, **OPTIONS)
    made.fit()
    save(made.model, run / "model.safetensors", made.step)
    made.log.__exit__(None, None, None)


def child(run: Path, architecture: str) -> int:
    """Start a process that trains; returns its number."""
    process = os.fork()
    if process == 0:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - it ends with the process
        train(run, architecture)
        os._exit(0)
    return process


def kill(folder: Path, architecture: str, seed: int, most: int) -> dict[str, object]:
    """Kill runs at random moments until there were enough kills; each run is let finish."""
    folder.mkdir()
    generator = random.Random(seed)
    start = time.monotonic()
    os.waitpid(child(folder / "whole", architecture), 0)
    whole = time.monotonic() - start
    kills = runs = 0
    same = metrics = True
    while kills < most:
        part, runs = folder / f"part{runs}", runs + 1
        while not (part / "model.safetensors").exists():
            process = child(part, architecture)
            if kills < most:
                time.sleep(generator.uniform(0, whole / 2))
                os.kill(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
            kills += os.WIFSIGNALED(status)
            if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
                raise SystemExit(f"a child failed after {kills} kills")
        a, b = (load_file(run / "model.safetensors") for run in (folder / "whole", part))
        same = same and a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)
        metrics = metrics and untimed(folder / "whole") == untimed(part)
    return {"kills": kills, "runs": runs, "same": same, "metrics": metrics}


def main() -> None:
    """One architecture after the other."""
    folder, most = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    found = {}
    for name in sys.argv[3:]:
        architecture, seed = name.split(":")
        found[name] = kill(folder / name.replace(":", "-"), architecture, int(seed), most)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
