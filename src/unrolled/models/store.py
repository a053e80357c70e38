"""How does a model get onto disk and back? Weights as safetensors beside the run's config.json."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unrolled.errors import BadInput, WorkFailed
from unrolled.models.build import ARCHITECTURES, Model, build
from unrolled.models.config import ModelConfig

FORMAT = 1
"""Number of the run folder's layout; readers accept this and what came before."""
WEIGHTS = "model.safetensors"
CONFIG = "config.json"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Work on a file or folder; what the system refuses is `WorkFailed` with the path."""
    try:
        yield
    except OSError as error:
        raise WorkFailed(f"can't write {path}: {error}") from error


def write_atomically(path: Path, write: Any) -> None:
    """Let `write(temporary path)` make a file, then give it its name: whole or not at all.

    Raises `WorkFailed` when the disk is full or the folder can't be written; what stood at `path`
    stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        write(temporary)
        temporary.chmod(mode)  # safetensors makes files that only their owner reads
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise WorkFailed(f"can't write {path}: {error}") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: object) -> None:
    """JSON, indented, whole or not at all."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def parameters(model: Model) -> dict[str, Tensor]:
    """Every weight once, by name; a tied matrix appears under its first name only."""
    return {name: weight.detach() for name, weight in model.named_parameters()}


def save(model: Model, path: Path, step: int = 0) -> None:
    """Write a model's weights as safetensors, and at which step of training they stood."""
    save_weights(parameters(model), path, step)


def save_weights(weights: dict[str, Tensor], path: Path, step: int = 0) -> None:
    """The same for weights that no model holds, by our names."""
    weights = {name: weight.contiguous() for name, weight in weights.items()}
    # One key only: with several, their order in the file, and so its bytes, would be chance.
    metadata = {"unrolled": json.dumps({"format": FORMAT, "step": step})}
    write_atomically(path, lambda temporary: save_file(weights, temporary, metadata))


def saved_step(path: Path) -> int | None:
    """The step of the weights in a file of ours; None where there is no such file."""
    try:
        with safe_open(path, "pt") as file:
            return int(json.loads(file.metadata()["unrolled"])["step"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def read_config(run: Path) -> dict[str, Any]:
    """The run folder's config.json.

    Raises `BadInput` when the folder is none of ours, or of a later format.
    """
    path = run / CONFIG
    if not run.is_dir():
        raise BadInput(f"no run folder at {run}; `unrolled train TASK --out {run}` makes one")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{run} is not a run folder: it has no {CONFIG}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path} can't be read: {error}") from None
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise BadInput(f"{path} is not a run's config: it has no format number")
    if config["format"] > FORMAT:
        raise BadInput(
            f"{path} has format {config['format']}, this version reads up to {FORMAT}: "
            "update unrolled"
        )
    return config


def model_config(config: dict[str, Any], path: Path) -> tuple[str, ModelConfig]:
    """The architecture and the model's part of a run's config; an unknown key is an error."""
    architecture, fields = config.get("architecture"), config.get("model")
    if architecture not in list(ARCHITECTURES) or not isinstance(fields, dict):
        raise BadInput(f"{path} names no architecture of {', '.join(ARCHITECTURES)} with a model")
    try:
        return architecture, ModelConfig(**fields)
    except TypeError as error:
        raise BadInput(f"{path}, model: {error}") from None


def load(run: Path | str) -> Model:
    """The trained model of a run folder, in evaluation mode.

    For a decoder, `model(tokens)` returns the logits [batch, time, vocab]. Raises `BadInput` for a
    folder that is no run, and for weights that are cut short, foreign or of other shapes than the
    config says.
    """
    run = Path(run)
    architecture, config = model_config(read_config(run), run / CONFIG)
    with Undrawn():
        model = build(architecture, config)
    load_weights(model, run / WEIGHTS)
    return model.eval()


class Undrawn(TorchFunctionMode):
    """Parameters hold whatever was in memory: numbers drawn for 135M of them take a second."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Leave out the calls of torch.nn.init that draw."""
        kwargs = kwargs or {}
        if func in (nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_):
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def load_weights(model: Model, path: Path) -> None:
    """Copy a file's weights into a model that has exactly those, by name and shape."""
    try:
        weights = load_file(path)
    except FileNotFoundError:
        raise BadInput(
            f"{path} does not exist: the run was stopped before its end, "
            f"`unrolled resume {path.parent}` goes on with it"
        ) from None
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path} is not a whole safetensors file: {error}") from None
    own = parameters(model)
    for kind, names in (
        ("lacks", own.keys() - weights.keys()),
        ("adds", weights.keys() - own.keys()),
    ):
        if names:
            raise BadInput(f"{path} does not fit the config: it {kind} {sorted(names)[0]!r}")
    for name, weight in own.items():
        if weight.shape != weights[name].shape:
            raise BadInput(
                f"{path} does not fit the config: {name} is {list(weights[name].shape)}, "
                f"expected {list(weight.shape)}"
            )
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(weights[name])
