"""Attention on slots, against NumPy in float64."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

import numba
from numba.core.registry import CPUDispatcher

from unrolled import kernels
from unrolled.kernels.heads import attend


@numba.njit
def attended(queries, keys, values, table, lengths, together, group, scores, ones, out):
    count = len(queries) * group
    for i in range(0, count, together):
        which = (i, min(i + together, count), group, 2)
        attend(queries, keys, values, table, 1, lengths, which, scores, ones, out)


def run(queries, keys, values, slots, lengths=None, together=4, group=1):
    """Each row's queries and answers stand behind two numbers of somebody else's."""
    out = np.full((len(queries), queries.shape[1] + 3), np.nan, np.float32)
    around = np.pad(queries, ((0, 0), (2, 1)), constant_values=np.nan)
    table = np.stack([np.full_like(slots, 10**6), slots])
    ones, scores = np.ones(len(slots), np.float32), np.full((4, len(slots) + 8), np.nan, np.float32)
    lengths = np.full(len(queries), len(slots), np.int32) if lengths is None else lengths
    attended(around, keys, values, table, lengths, together, group, scores, ones, out)
    assert np.isnan(out[:, [0, 1, -1]]).all()
    return out[:, 2:-1]


@pytest.mark.parametrize("size", [2, 6, 8, 16, 20, 40, 64, 100])
@pytest.mark.parametrize("length", [1, 5, 8, 17, 120])
def test_attention_on_slots_is_softmax_of_the_scores(size: int, length: int) -> None:
    rng = np.random.default_rng(size * length)
    pool = rng.standard_normal((2, 130, 3 * size)).astype(np.float32)
    keys, values = pool[:, :, size : 2 * size]
    queries = 3 * rng.standard_normal((3, size)).astype(np.float32)
    slots = rng.permutation(130)[:length].astype(np.int32)
    scores = queries.astype(np.float64) @ keys[slots].T / np.sqrt(size)
    shares = np.exp(scores - scores.max(1, keepdims=True))
    exact = shares / shares.sum(1, keepdims=True) @ values[slots]
    np.testing.assert_allclose(run(queries, keys, values, slots), exact, rtol=0, atol=3e-6)


@pytest.mark.parametrize("size", [6, 16, 64, 100])
@pytest.mark.parametrize("group", [1, 2, 3])
def test_queries_that_pass_together_have_the_bits_of_each_alone(size: int, group: int) -> None:
    rng = np.random.default_rng(size + group)
    keys, values = rng.standard_normal((2, 90, size)).astype(np.float32)
    queries = rng.standard_normal((9, group * size)).astype(np.float32)
    slots, lengths = rng.permutation(90).astype(np.int32), rng.integers(1, 91, 9).astype(np.int32)
    alone = [
        run(one[None, part : part + size], keys, values, slots[:length])[0]
        for one, length in zip(queries, lengths, strict=True)
        for part in range(0, group * size, size)
    ]
    for together in (1, 2, 3, 4):
        found = run(queries, keys, values, slots, lengths, together, group)
        assert np.array_equal(found.reshape(-1, size), alone)


def test_which_slots_a_row_has_does_not_change_a_bit() -> None:
    rng = np.random.default_rng(0)
    keys, values = rng.standard_normal((2, 40, 24)).astype(np.float32)
    queries = rng.standard_normal((2, 24)).astype(np.float32)
    first = run(queries, keys, values, np.arange(33, dtype=np.int32))
    moved = rng.permutation(40)
    again = run(queries, keys[moved], values[moved], np.argsort(moved)[:33].astype(np.int32))
    assert np.array_equal(first, again)


def test_large_scores_neither_overflow_nor_hide_what_is_no_number() -> None:
    keys = np.array([[1000.0, 0], [-1000.0, 0], [999.0, 0]], np.float32)
    values = np.array([[1.0, 2], [3, 4], [5, 6]], np.float32)
    queries = np.array([[100.0, 0]], np.float32)
    slots = np.arange(3, dtype=np.int32)
    np.testing.assert_array_equal(run(queries, keys, values, slots), values[:1])
    for wrong in (np.nan, np.inf):
        queries[0, 0] = wrong
        assert np.isnan(run(queries, keys, values, slots)).all()


def test_no_two_compiled_functions_have_one_name() -> None:
    """Kept code is linked by name, and a number that another process may have given to another."""
    found: dict[tuple[str, str], Any] = {}
    for info in pkgutil.iter_modules(kernels.__path__, "unrolled.kernels."):
        for value in vars(importlib.import_module(info.name)).values():
            if isinstance(value, CPUDispatcher):
                function = value.py_func
                name = (function.__module__, function.__qualname__)
                assert found.setdefault(name, value) is value, name
    assert ("unrolled.kernels.heads", "attend") in found
