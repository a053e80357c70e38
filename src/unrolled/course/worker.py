"""What does a student's code answer? This runs in its process, and sends values, never verdicts.

Commands: `load` (run the file), `seed`, `new` (make an object), `load_state` (set its weights),
`call` (a function, an object or its method), `grads` (of a scalar that the answer is folded into).
Whatever the student's code does to this process, the grader believes none of it: it gets numbers,
and compares.
"""

from __future__ import annotations

import linecache
import os
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gtgpt.utils import CfgNode
from unrolled.course import frames, stand_ins

FILE = "my_llm_implementation.py"
Header = dict[str, Any]
Arrays = list[NDArray[Any]]


def serve(request: int, answer: int) -> None:
    """Answer one frame after another until the grader closes its end."""
    worker = Worker()
    while head := read(request, frames.HEAD.size):
        text, body = (read(request, size) for size in frames.lengths(head))
        header, tensors = frames.unpack(text, body)
        sent: Arrays = []
        try:
            value = worker.answer(header, tensors)
            told = {"id": header["id"], "value": encode(value, sent)}
        except BaseException as error:  # whatever it is: sys.exit too is an answer
            sent = []
            told = {"id": header["id"], "error": describe(error)}
        try:
            reply = frames.pack(told, sent)
        except ValueError as error:
            reply = frames.pack({"id": header["id"], "error": str(error)}, [])
        while reply:
            reply = reply[os.write(answer, reply) :]


def read(pipe: int, size: int) -> bytes:
    """That many bytes; fewer only where the pipe ends."""
    parts = b""
    while len(parts) < size and (part := os.read(pipe, size - len(parts))):
        parts += part
    return parts


class Worker:
    """The student's module and the objects made of it, by name."""

    def __init__(self) -> None:
        self.module = types.ModuleType(FILE.removesuffix(".py"))
        self.objects: dict[str, Any] = {}

    def answer(self, header: Header, tensors: Arrays) -> Any:
        """Carry out one command."""
        commands: dict[str, Callable[[Header, list[torch.Tensor]], Any]] = {
            "load": self.load,
            "seed": self.seed,
            "new": self.new,
            "load_state": self.load_state,
            "call": self.call,
            "grads": self.grads,
        }
        given = [torch.from_numpy(array.copy()) for array in tensors]
        return commands[header["command"]](header, given)

    def load(self, header: Header, _: list[torch.Tensor]) -> None:
        """Run the student's file as a module."""
        source: str = header["source"]
        linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
        self.module.__file__ = FILE
        sys.modules[self.module.__name__] = self.module
        exec(compile(source, FILE, "exec"), self.module.__dict__)
        torch.set_default_device(None)

    def seed(self, header: Header, _: list[torch.Tensor]) -> None:
        """Seed PyTorch's generator."""
        torch.manual_seed(header["seed"])

    def new(self, header: Header, tensors: list[torch.Tensor]) -> list[str]:
        """Make an object of a class, given configurations, and set its weights.

        `stand_ins` names the classes that others take the place of; `Table` is one that is always a
        stand-in. Answers as `load_state`.
        """
        configs = [CfgNode(**config) for config in header["configs"]]
        own = {part: getattr(self.module, part, None) for part in header["stand_ins"]}
        for part in own:
            setattr(self.module, part, stand_ins.PARTS[part])
        try:
            table = header["class"] == "Table"
            kind: Any = stand_ins.Table if table else getattr(self.module, header["class"])
            self.objects[header["name"]] = kind(*configs)
        finally:
            self.module.__dict__.update(own)
        return self.load_state(header, tensors)

    def load_state(self, header: Header, tensors: list[torch.Tensor]) -> list[str]:
        """Set the weights by name; answers the names that don't fit, either way."""
        state = dict(zip(header["keys"], tensors, strict=True))
        there = self.objects[header["name"]].load_state_dict(state, strict=False)
        return [*there.missing_keys, *there.unexpected_keys]

    def call(self, header: Header, tensors: list[torch.Tensor]) -> Any:
        """Call a function of the module, or an object or its method, without gradients."""
        with torch.no_grad():
            return self.invoke(header, tensors)

    def grads(self, header: Header, tensors: list[torch.Tensor]) -> list[torch.Tensor | None]:
        """Gradients of sum(answer × weights), one a parameter in the order of `keys`.

        The last tensor is the weights; `item` says which of several answers is meant.
        """
        model = self.objects[header["object"]]
        model.zero_grad(set_to_none=True)
        answer = self.invoke(header, tensors[:-1])
        if header.get("item") is not None:
            answer = answer[header["item"]]
        torch.autograd.backward((answer * tensors[-1]).sum())
        parameters = dict(model.named_parameters())
        return [parameters[key].grad for key in header["keys"]]

    def invoke(self, header: Header, tensors: list[torch.Tensor]) -> Any:
        """The call itself; arguments are tensors by number, objects by name, or plain values."""
        target = self.objects[header["object"]] if header.get("object") else self.module
        if header.get("object") and header.get("train") is not None:
            target.train(header["train"])

        def argument(value: Any) -> Any:
            if isinstance(value, dict) and "tensor" in value:
                return tensors[value["tensor"]]
            if isinstance(value, dict) and "object" in value:
                return self.objects[value["object"]]
            return value

        call: Any = getattr(target, header["method"]) if header.get("method") else target
        named = {name: argument(value) for name, value in header.get("named", {}).items()}
        return call(*map(argument, header.get("arguments", [])), **named)


def encode(value: Any, sent: Arrays) -> Header:
    """What a value is, in JSON; a tensor's numbers are appended to `sent`."""
    if isinstance(value, torch.Tensor):
        plain = torch.Tensor.as_subclass(value, torch.Tensor).detach()
        if plain.device.type == "meta" or plain.is_sparse or plain.dtype is torch.bfloat16:
            return {"other": f"a tensor on {plain.device} of {plain.dtype}"}
        array = plain.cpu().resolve_conj().resolve_neg().numpy()
        if str(array.dtype) not in frames.DTYPES:
            return {"other": f"a tensor of {plain.dtype}"}
        sent.append(np.ascontiguousarray(array).reshape(array.shape))
        return {"tensor": len(sent) - 1}
    if value is None:
        return {"none": True}
    if type(value) in (bool, int, float):
        return {"plain": value}
    if isinstance(value, tuple | list) and len(value) <= frames.MOST_TENSORS:
        return {"items": [encode(item, sent) for item in value]}
    return {"other": type(value).__name__[:100]}


def describe(error: BaseException) -> str:
    """The error's last line, and the last line of the student's file that it went through."""
    frames_ = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == FILE]
    where = f" (line {frames_[-1].lineno}: {(frames_[-1].line or '')[:200]})" if frames_ else ""
    if isinstance(error, SyntaxError) and error.filename == FILE:
        where = f" (line {error.lineno})"
    said = " ".join(str(error).split())[:500]
    return f"{type(error).__name__}: {said}{where}" if said else f"{type(error).__name__}{where}"
