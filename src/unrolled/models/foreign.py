"""How do weights of another program become ours? Names and shapes are settled before any is read.

A `Source` is a file or folder that was understood: our config for it, its layout, and a function
that reads one tensor. What a source has and our models have not is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from unrolled.errors import BadInput
from unrolled.models.config import ModelConfig
from unrolled.models.decoder import Decoder
from unrolled.models.layouts import Layout, join, sizes

T = TypeVar("T", int, float, bool, str)
Progress = Callable[[int, int], None]
"""Called with how many tensors are done, and of how many."""


@dataclass(frozen=True)
class Source:
    """Weights of another program."""

    where: str
    """The path, for messages."""
    config: ModelConfig
    layout: Layout
    shapes: Mapping[str, tuple[int, ...]]
    """Of every tensor that is there."""
    read: Callable[[str], Tensor]
    """One of them, in float32."""
    unbiased: frozenset[str] = field(default_factory=frozenset)
    """Last parts of their module names that have no bias where ours have one: it is 0."""

    def lacks_bias(self, name: str) -> bool:
        """Whether this tensor is a bias that the source's kind of model does not have."""
        return name.endswith(".bias") and name.split(".")[-2] in self.unbiased


def gather(source: Source, progress: Progress | None = None) -> dict[str, Tensor]:
    """Every weight of our model, by our name, in float32.

    Memory: the model, and one tensor besides. Raises `BadInput` for a tensor that is missing, of
    another shape than the config says, or that our model has no place for.
    """
    check_size(source)
    expected = shapes(source.config)
    check(source, expected)
    weights: dict[str, Tensor] = {}
    for done, (ours, shape) in enumerate(expected.items(), 1):
        parts = [_part(source, name, ours, i) for i, name in enumerate(source.layout.theirs(ours))]
        weight = join(ours, parts, source.layout, source.config)
        if ours == "stack.position_embedding.weight":
            weight = weight[: shape[0]].clone()  # the context may be asked to be shorter
        weights[ours] = weight
        if progress is not None:
            progress(done, len(expected))
    return weights


def shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The parameters of our decoder, without making them."""
    with torch.device("meta"):
        model = Decoder(config)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def check_size(source: Source) -> None:
    """Refuse a config of quite another size, before anything of that size is made."""
    (embedding,) = source.layout.theirs("stack.embedding.weight")
    config = source.config
    if embedding not in source.shapes:
        raise BadInput(f"{source.where} does not fit its config: it lacks {embedding!r}")
    _same_shape(source, embedding, (config.vocab_size, config.hidden_size))
    if config.num_layers > len(source.shapes):
        raise BadInput(
            f"{source.where} does not fit its config: {config.num_layers} layers, and "
            f"{len(source.shapes)} tensors in all"
        )


def check(source: Source, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a source whose tensors are not those of its layout, by the first that isn't."""
    placed = set()
    for ours, shape in expected.items():
        theirs = source.layout.theirs(ours)
        rows = sizes(ours, source.config) if len(theirs) > 1 else [shape[0]]
        for name, count in zip(theirs, rows, strict=True):
            placed.add(name)
            if source.lacks_bias(name):
                continue
            if name not in source.shapes:
                raise BadInput(f"{source.where} does not fit its config: it lacks {name!r}")
            wanted = (count, *shape[1:])
            if source.layout.turned(ours):
                wanted = wanted[::-1]
            _same_shape(source, name, wanted)
    spare = {"head.linear.weight"} - expected.keys()  # a tied matrix, saved a second time
    placed |= {name for ours in spare for name in source.layout.theirs(ours)}
    for name in sorted(source.shapes.keys() - placed):
        if not name.endswith(source.layout.buffers or ("\0",)):
            raise BadInput(
                f"{source.where} holds {name!r}, which a {source.layout.name} model as unrolled "
                "knows it does not have"
            )


def _same_shape(source: Source, name: str, wanted: tuple[int, ...]) -> None:
    found = source.shapes[name]
    shortened = "wpe" in name or "position_embd" in name
    fits = found[1:] == wanted[1:] and found[0] >= wanted[0] if shortened else found == wanted
    if not fits:
        raise BadInput(
            f"{source.where} does not fit its config: {name} is {list(found)}, "
            f"expected {list(wanted)}"
        )


def _part(source: Source, name: str, ours: str, index: int) -> Tensor:
    if source.lacks_bias(name):
        theirs = source.layout.theirs(ours)
        module = ours.removesuffix(".bias")
        fused = len(theirs) > 1
        count = sizes(ours, source.config)[index] if fused else source.config.hidden_size
        assert fused or module.endswith((".out", ".down"))
        return torch.zeros(count)
    return source.read(name)


class Fields:
    """Settings of a source, read by name and type; a wrong type is `BadInput` by that name."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values, self.where = values, where

    def get(self, name: str, default: T | None = None) -> T:
        """The setting, or the default where it is absent or null; without one it must be there."""
        value: Any = self.values.get(name)
        if value is None:
            if default is None:
                raise BadInput(f"{self.where} lacks {name!r}")
            return default
        kind: type[Any] = int if default is None else type(default)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise BadInput(
                f"{self.where}: {name} should be of type {kind.__name__}, and is {value!r}"
            )
        return cast(T, value)

    def refuse(self, name: str, *accepted: object) -> None:
        """Raise `BadInput` if the setting is there and none of the accepted values."""
        value = self.values.get(name)
        if value is not None and value not in accepted:
            shown = " or ".join(map(repr, accepted))
            only = f": only {shown} can be represented" if accepted else ""
            raise BadInput(f"{self.where}: {name} is {value!r}{only or ', not supported'}")
