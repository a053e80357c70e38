"""How is a run seeded, and how is it configured?"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch


def set_seed(seed: int) -> None:
    """Seed Python's and PyTorch's generators, on every device."""
    random.seed(seed)
    torch.manual_seed(seed)


class CfgNode:
    """A configuration: attributes, which may be configurations themselves.

    >>> config = CfgNode(n_layer=2, trainer=CfgNode(max_iters=10))
    >>> config.merge_from_dict({"n_layer": 3})
    >>> config.merge_from_args(["--trainer.max_iters=20"])
    >>> config.to_dict()
    {'n_layer': 3, 'trainer': {'max_iters': 20}}
    """

    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)

    def __str__(self) -> str:
        return "\n".join(self._rows(0))

    def _rows(self, depth: int) -> list[str]:
        rows = []
        for name, value in self.__dict__.items():
            nested = isinstance(value, CfgNode)
            rows.append("    " * depth + (f"{name}:" if nested else f"{name}: {value}"))
            rows += value._rows(depth + 1) if nested else []
        return rows

    def to_dict(self) -> dict[str, object]:
        """The configuration as dictionaries."""
        return {
            name: value.to_dict() if isinstance(value, CfgNode) else value
            for name, value in self.__dict__.items()
        }

    def merge_from_dict(self, values: dict[str, object]) -> None:
        """Set attributes, new ones too."""
        self.__dict__.update(values)

    def merge_from_args(self, args: Sequence[str]) -> None:
        """Set attributes that exist from words like `--trainer.max_iters=20`.

        Raises `ValueError` for a word of another form and `AttributeError` for an unknown name.
        """
        for word in args:
            path, equals, text = word.removeprefix("--").partition("=")
            if not word.startswith("--") or not equals:
                raise ValueError(f"expected --name=value, got {word!r}")
            *outer, name = path.split(".")
            node: object = self
            for part in outer:
                node = getattr(node, part)
            setattr(node, name, _value(text, getattr(node, name)))


def _value(text: str, before: object) -> object:
    """The text as a truth value, a number or a word; what stands there says nothing if it is
    None.
    """
    if isinstance(before, str):
        return text
    if text in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
