"""The command `unrolled`: finds the command's file, reads its options, maps errors to exit codes.

Each command is a frozen dataclass whose fields are its options and whose `run()` returns the exit
code: 0 answered, 1 the work failed or a receipt was refuted, 2 bad input. A command's file is
imported only when that command is called, so `unrolled check` starts without torch.
"""

from __future__ import annotations

import difflib
import gc
import importlib
import io
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from unrolled import __version__
from unrolled.cli.output import writes_unicode
from unrolled.errors import BadInput, WorkFailed


class Entry(NamedTuple):
    """Where a command lives and what it is for."""

    target: str  # "module:Class"
    help: str


COMMANDS: dict[str, Entry] = {
    "automaton": Entry("unrolled.cli.automaton:Automaton", "an LSTM that follows an automaton"),
    "check": Entry("unrolled.cli.check:Check", "verify receipts again, trusting nobody"),
    "course": Entry("unrolled.cli.course:Course", "the problem set: build, export, grade, package"),
    "graph": Entry("unrolled.cli.graph:GraphCommand", "attention as message passing on a graph"),
    "neuron": Entry("unrolled.cli.neuron:Neuron", "one threshold neuron, or the proof of none"),
    "probe": Entry("unrolled.cli.probe:Probe", "where a run's gradients vanish or explode"),
    "recurrence": Entry("unrolled.cli.recurrence:Recurrence", "whether h_t = W^T h_{t-1} explodes"),
    "tasks": Entry("unrolled.cli.tasks:Tasks", "list what there is to train on"),
    "train": Entry("unrolled.cli.train:Train", "train a model on a task"),
    "resume": Entry("unrolled.cli.resume:Resume", "go on with a run that was stopped"),
    "plan": Entry("unrolled.cli.plan:MakePlan", "what training at some size would need"),
    "scaling": Entry("unrolled.cli.scaling:Scaling", "fit scaling laws, split a budget by them"),
    "evaluate": Entry("unrolled.cli.answer:Evaluate", "score a run on held-out data"),
    "translate": Entry("unrolled.cli.answer:Translate", "translate sentences with a run"),
    "generate": Entry("unrolled.cli.answer:Generate", "continue a prompt with a run"),
    "export": Entry("unrolled.cli.weights:Export", "write a run for Hugging Face or as ONNX"),
    "import": Entry("unrolled.cli.weights:Import", "make a run of weights from elsewhere"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code instead of raising."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else "--help"
    if isinstance(sys.stdout, io.TextIOWrapper) and not writes_unicode():
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        for number, word in enumerate(arguments, 1):
            if not is_unicode(word):
                raise BadInput(f"word {number} is not valid Unicode, which UTF-8 spells: {word!r}")
        code = dispatch(name, arguments[1:])
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # a command's --help
        return stop.code if isinstance(stop.code, int) else 0
    except BadInput as error:
        if os.environ.get("LOCAL_RANK", "0") != "0":
            return 2  # under torchrun the first process of each machine says it for all
        return complain(name, error, 2)
    except WorkFailed as error:
        return complain(name, error, 1)
    except KeyboardInterrupt:
        return complain(name, "interrupted", 130)
    except BrokenPipeError:
        # The reader (`| head`) has gone; without this the interpreter complains again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return complain(name, error, 1)
    except (MemoryError, RuntimeError) as error:
        if not re.search("allocate memory|out of memory", str(error)) and not isinstance(
            error, MemoryError
        ):
            raise
        return complain(name, "out of memory: a smaller model or batch needs less", 1)


def is_unicode(text: str) -> bool:
    """Whether it has no lone surrogate, Python's stand-in for a byte that is no UTF-8."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def dispatch(name: str, arguments: list[str]) -> int:
    """Import the command's class, parse its options and run it."""
    if name in ("-h", "--help", "help"):
        print(overview())
        return 0
    if name in ("-V", "--version"):
        print(f"unrolled {__version__}")
        return 0
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "`unrolled --help` lists the commands"
        raise BadInput(f"unknown command {name!r}; {hint}")
    code: int = command_of(name).main(arguments)
    return code


def command_of(name: str) -> Any:
    """The command's class, from its file.

    Hundreds of thousands of objects are made for good when a file is first imported, PyTorch's and
    others'. Going through them again and again for garbage would take a sixth of a start, and once
    more at the end half a second.
    """
    module, _, attribute = COMMANDS[name].target.partition(":")
    if module not in sys.modules and gc.isenabled():
        gc.disable()
        try:
            importlib.import_module(module)
        finally:
            gc.freeze()
            gc.enable()
    return getattr(importlib.import_module(module), attribute)


def complain(name: str, error: object, code: int) -> int:
    """One line on standard error, whatever the message looked like."""
    message = f"unrolled {name}: {' '.join(str(error).split())}"
    print(message.encode(errors="backslashreplace").decode(), file=sys.stderr)
    return code


def overview() -> str:
    """The text of `unrolled --help`."""
    width = max((len(name) for name in COMMANDS), default=0)
    rows = "\n".join(f"  {name:<{width}}  {entry.help}" for name, entry in COMMANDS.items())
    return (
        "unrolled: sequence models, and the exact machinery under them\n\n"
        f"usage: unrolled COMMAND [options]\n\n{rows}\n\n"
        "`unrolled COMMAND --help` shows a command's options, with an example."
    )
