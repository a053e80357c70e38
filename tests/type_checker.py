"""The type checker that the package's functions run under in the tests.

jaxtyping's own decorator has every call bound to the signature, its arguments checked twice, and a
room made in which names of axes have their sizes: most of the time of tests that call small
functions often. Here beartype checks each call once, in such a room if an array stands in the
signature; elsewhere it would stay empty.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

# PEP 484: where a float is expected, an int will do.
typechecked = beartype(
    conf=BeartypeConf(is_pep484_tower=True, violation_type=jaxtyping.TypeCheckError)
)
_jaxtyped = jaxtyping.jaxtyped


def jaxtyped(decorated: Any = None, *, typechecker: Callable[[Any], Any]) -> Any:
    """What jaxtyping's import hook is to put on functions and classes in place of its own."""
    if decorated is None:
        return functools.partial(jaxtyped, typechecker=typechecker)
    if not inspect.isclass(decorated):
        return _checked(decorated, typechecker)
    written = vars(decorated).get("__init__")  # by `dataclass`, if it isn't checked already
    if dataclasses.is_dataclass(decorated) and written and not hasattr(written, "__wrapped__"):
        decorated.__init__ = _checked(written, typechecker)
    return decorated


def _checked(function: Any, typechecker: Callable[[Any], Any]) -> Any:
    hints = {name: _resolved(hint, function) for name, hint in function.__annotations__.items()}
    arrays = any(map(may_hold_an_array, hints.values()))
    computed = any("{" in str(hint) for hint in hints.values())  # from the arguments' values
    if arrays and (computed or inspect.isgeneratorfunction(function)):  # beartype alone can't
        return _jaxtyped(function, typechecker=typechecker)
    function.__annotations__ = hints
    checked = typechecker(function)
    if not arrays:
        return checked

    @functools.wraps(function)
    def in_a_room(*args: Any, **kwargs: Any) -> Any:
        with _jaxtyped("context"):
            return checked(*args, **kwargs)

    return in_a_room


def _resolved(hint: Any, function: types.FunctionType) -> Any:
    """What a hint written as text means; Any, as with jaxtyping, if that isn't known (yet)."""
    alone = types.SimpleNamespace(__annotations__={"hint": hint})
    try:
        return typing.get_type_hints(alone, function.__globals__, include_extras=True)["hint"]
    except Exception:
        return Any


def may_hold_an_array(hint: Any) -> bool:
    """Does checking a value against this look at an array's shape? Yes, if in doubt."""
    if isinstance(hint, list):  # the parameters of a Callable
        return any(map(may_hold_an_array, hint))
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return False
    if origin is typing.Annotated:
        return may_hold_an_array(typing.get_args(hint)[0])
    if origin is not None:
        return any(map(may_hold_an_array, typing.get_args(hint)))
    if isinstance(hint, typing.TypeVar):
        return any(map(may_hold_an_array, (hint.__bound__, *hint.__constraints__)))
    if inspect.isclass(hint):
        return issubclass(hint, jaxtyping.AbstractArray)
    return hint not in (None, Any, typing.NoReturn, typing.Self, ...)
