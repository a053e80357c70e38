"""Do the tests' own checks of types and shapes see what they should?"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any, Literal, TypeVar

import jaxtyping
import numpy as np
import pytest
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from type_checker import may_hold_an_array

SOURCE = """
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from nowhere import Unknown

Pair = tuple[Float[Tensor, "batch"], Float[Tensor, "batch"]]


def added(x: Float[Tensor, "batch"], y: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    return x + y


def widened(x: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    return x.repeat(2)


def of_a_pair(pair: Pair) -> None: ...


def half(number: float, unknown: Unknown | None = None) -> float:
    return number / 2


def wrong(number: int) -> str:
    return number


def batches(x: Float[Tensor, "batch"]) -> Iterator[Float[Tensor, "batch"]]:
    yield x
    yield x.repeat(2)


def called(x: Float[Tensor, "batch"], size: int) -> Float[Tensor, "batch"]:
    widened_too(x, x.repeat(size))
    return x


def widened_too(x: Float[Tensor, "batch"], y: Float[Tensor, "widened"]) -> None: ...


def zeros(size: int) -> Float[Tensor, "{size}"]:
    return torch.zeros(max(size, 2))


def counted(end: int) -> Iterator[int]:
    yield from range(end)


def outer() -> Callable[[object], object]:
    def inner(text: str) -> str:
        return text

    return inner


@dataclass(frozen=True)
class Point:
    x: float

    @classmethod
    def at(cls, x: float) -> float:
        return cls(x).x

    @staticmethod
    def doubled(x: int) -> int:
        return 2 * x

    @property
    def name(self) -> str:
        return self.x


class Origin(Point):
    pass


@dataclass(frozen=True, init=False)
class Unit(Point):
    def __init__(self, x: int) -> None:
        super().__init__(x / x)


@dataclass
class Rows:
    first: Float[Tensor, "batch"]
    second: Float[Tensor, "batch"]
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A file that was imported as the package's are."""
    folder = tmp_path_factory.mktemp("imported")
    (folder / "shapely.py").write_text(SOURCE)
    sys.path.insert(0, str(folder))
    try:
        with jaxtyping.install_import_hook("shapely", "type_checker.typechecked"):
            yield importlib.import_module("shapely")
    finally:
        sys.path.remove(str(folder))
        del sys.modules["shapely"]


TWO, THREE = torch.zeros(2), torch.zeros(3)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.added(TWO, THREE),
        lambda m: m.widened(TWO),
        lambda m: m.of_a_pair((TWO, THREE)),
        lambda m: m.Rows(TWO, THREE),
        lambda m: m.added(TWO, y=TWO[None]),
        lambda m: m.added(TWO, [0.0, 0.0]),
        lambda m: m.batches(TWO[None]),
        lambda m: m.zeros(1),
    ],
)
def test_a_size_is_the_same_wherever_its_name_stands(
    module: ModuleType, call: Callable[[Any], object]
) -> None:
    with pytest.raises(TypeCheckError):
        call(module)


def test_every_call_has_sizes_of_its_own(module: ModuleType) -> None:
    for x in (TWO, THREE):
        assert module.added(x, x).shape == x.shape
        assert module.called(x, 1) is x
        assert module.called(x, 2) is x
        assert len([*module.batches(x)]) == 2
        assert module.zeros(len(x)).shape == x.shape
        module.of_a_pair((x, x))
        module.Rows(x, x)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.half("1"),
        lambda m: m.wrong(1),
        lambda m: next(m.counted("1")),
        lambda m: m.outer()(1),
        lambda m: m.Point("1"),
        lambda m: m.Origin("1"),
        lambda m: m.Unit(1.0),
        lambda m: m.Point.at("1"),
        lambda m: m.Point.doubled("1"),
        lambda m: m.Point(1.0).name,
    ],
)
def test_types_are_checked_where_no_array_stands(
    module: ModuleType, call: Callable[[Any], object]
) -> None:
    with pytest.raises(TypeCheckError):
        call(module)


def test_what_is_right_is_let_through(module: ModuleType) -> None:
    assert module.half(3) == 1.5
    assert list(module.counted(2)) == [0, 1]
    assert module.outer()("a") == "a"
    assert module.Point(1).x == module.Point.at(1) == module.Origin(1).x == module.Unit(2).x
    assert module.Point.doubled(1) == 2


Row = Float[Tensor, "row"]
Rows = TypeVar("Rows", bound=list[Row])
Number = TypeVar("Number", int, float)


@pytest.mark.parametrize(
    "hint",
    [
        Row,
        Row | None,
        list[Row],
        tuple[int, Row],
        Mapping[str, list[Row]],
        Callable[[Row], int],
        Callable[..., Row],
        Float[np.ndarray, ""],
        Rows,
        "a text that nobody resolved",
    ],
)
def test_an_array_is_found_wherever_it_stands(hint: Any) -> None:
    assert may_hold_an_array(hint)


@pytest.mark.parametrize(
    "hint",
    [
        *(int, Tensor, None, Any, int | None, dict[str, list[int]], tuple[int, ...], Number),
        *(Callable[..., int], Callable[[int], str], Literal["a"]),
    ],
)
def test_none_is_found_where_there_is_none(hint: Any) -> None:
    assert not may_hold_an_array(hint)
