"""What the independent checks of all kinds share."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]


def whole(*values: Any) -> bool:
    return all(type(value) is int for value in values)


def plural(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")
