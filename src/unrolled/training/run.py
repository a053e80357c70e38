"""What is a run on disk? A folder with weights, config, tokenizer, metrics, and what made them.

model.safetensors   the final weights
config.json         task, architecture, seed and every option
environment.json    versions, machine, and the command
tokenizer*.json     the tokenizer
metrics.jsonl       a line every few steps; tensorboard/ holds the same
loss.png            the curve of the loss
packed/             the weights in other formats, where one was asked for
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from unrolled.data import Tokenizer
from unrolled.errors import BadInput
from unrolled.models.build import ARCHITECTURES
from unrolled.models.packs import FOLDER as PACKED
from unrolled.models.store import CONFIG, WEIGHTS, read_config, write_json, writing
from unrolled.training.checkpoint import FOLDER
from unrolled.training.config import RunConfig
from unrolled.training.lock import LOCK
from unrolled.training.log import EVENTS, METRICS
from unrolled.training.parallel import launched, size

ENVIRONMENT = "environment.json"
CURVE = "loss.png"
FORMAT = 1
PACKAGES = ("unrolled", "torch", "numpy", "tokenizers", "safetensors", "sacrebleu")


def create(
    folder: Path,
    config: RunConfig,
    tokenizer: Tokenizer,
    command: Sequence[str],
    *,
    data: Mapping[str, str],
    overwrite: bool,
) -> None:
    """Make a run's folder and write down all that is known before training.

    `data` are the hashes of the files that are trained on. Raises `BadInput` if something stands
    there already; `overwrite` replaces a run, and nothing but a run. Raises `WorkFailed` where the
    system lets nothing be written.
    """
    check_place(folder, overwrite=overwrite)
    with writing(folder):
        if filled(folder):
            clear(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.save(folder)
    write_json(folder / ENVIRONMENT, {**environment(command), "data": dict(data)})
    # Last: a folder with a config is a run that can be resumed.
    write_json(folder / CONFIG, config.to_json())


def check_place(folder: Path, *, overwrite: bool) -> None:
    """Raise `BadInput` unless nothing stands at a run's place, or `overwrite` and a run does."""
    with writing(folder):
        taken = folder.exists() and (not folder.is_dir() or filled(folder))
    if taken:
        if not overwrite:
            raise BadInput(
                f"{folder} exists already: choose another --out, or --overwrite replaces the run"
            )
        if not folder.is_dir():
            raise BadInput(f"{folder} is no folder: --overwrite replaces a run, and only a run")
        check_own(folder)


def filled(folder: Path) -> bool:
    """Whether a folder holds anything but its lock."""
    return folder.exists() and any(path.name != LOCK for path in folder.iterdir())


def check_own(folder: Path) -> None:
    """Raise `BadInput` unless a folder is certainly a run of ours, of this format or earlier."""
    config = read_config(folder)
    parts = (config.get(name) for name in ("model", "data", "training"))
    ours = config.get("architecture") in list(ARCHITECTURES) and isinstance(config.get("task"), str)
    if not (ours and all(isinstance(part, dict) for part in parts)):
        raise BadInput(
            f"{folder} is not a run: its {CONFIG} does not say task, architecture, model, data and "
            "training"
        )


def clear(folder: Path) -> None:
    """Remove a run's own files from its folder. Raises `BadInput` if it is no run's folder."""
    check_own(folder)
    for name in (WEIGHTS, METRICS, ENVIRONMENT, CURVE, "tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink(missing_ok=True)
    for name in (EVENTS, FOLDER, PACKED):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / CONFIG).unlink()


def environment(command: Sequence[str]) -> dict[str, object]:
    """Versions of everything that numbers depend on, the machine, and the command."""
    return {
        "format": FORMAT,
        "command": shlex.join(command),
        "python": platform.python_version(),
        "packages": {name: installed(name) for name in PACKAGES},
        "system": platform.platform(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "torch_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "processes": size(),
        "launch": launched(),
    }


def differences(folder: Path, data: Mapping[str, str]) -> list[str]:
    """What is not as it was when the run began, and keeps its weights from being the same bits.

    Raises `BadInput` if the data is not the same.
    """
    then = _then(folder)
    before, versions = then["data"], then["packages"]
    for name in sorted(before.keys() | data.keys()):
        if before.get(name) != data.get(name):
            raise BadInput(
                f"{name} is not what the run was trained on so far: it can go on with the same "
                "data alone"
            )
    now = environment([])
    then.setdefault("processes", 1)
    names = ("processor", "threads", "torch_capability", "processes")
    same = {name: then.get(name) for name in names}
    changed = [f"{k} {v!r} then, {now[k]!r} now" for k, v in same.items() if v != now[k]]
    if versions.get("torch") != installed("torch"):
        changed.append(f"torch {versions.get('torch')} then, {installed('torch')} now")
    return changed


def made_by_this_launch(folder: Path, config: RunConfig) -> bool:
    """Whether the torchrun that started this process has begun this run in the folder before."""
    try:
        then = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))["launch"]
        begun = load_config(folder)
        model = replace(config.model, vocab_size=begun.model.vocab_size)  # it came with the data
        return then == launched() != "" and replace(config, model=model) == begun
    except (OSError, ValueError, KeyError, TypeError):  # BadInput is a ValueError
        return False


def trained_on(folder: Path) -> dict[str, str]:
    """Hashes of the files that a run is trained on, by name; none for an imported one."""
    data: dict[str, str] = _then(folder)["data"]
    return data


def _then(folder: Path) -> dict[str, Any]:
    """environment.json: what was there when the run began."""
    try:
        then = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
        if isinstance(then["data"], dict) and isinstance(then["packages"], dict):
            return dict(then)
        reason = "data and packages are objects"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error)
    raise BadInput(f"{folder / ENVIRONMENT} can't be read: {reason}")


def installed(name: str) -> str | None:
    """Version of an installed package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's own name, where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def load_config(folder: Path) -> RunConfig:
    """The config of a run. Raises `BadInput` if the folder is none, or of a later format."""
    return RunConfig.from_json(read_config(folder), folder / CONFIG)
