"""Is every example in exactly one group, within the budget, with little padding?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.arrange import _carpet, buckets, cut, pack, packed_groups

SIZES = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), max_size=60)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(sizes=SIZES, columns=st.integers(1, 2), budget=st.integers(24, 80), seed=st.integers(0, 9))
def test_buckets_hold_every_example_once_and_no_batch_exceeds_the_budget(
    sizes, columns, budget, seed
):
    array = np.array(sizes, dtype=np.int64).reshape(-1, 2)[:, :columns]
    groups = buckets(array, budget, rng(seed))
    assert sorted(i for group in groups for i in group.tolist()) == list(range(len(sizes)))
    assert all(len(g) * array[g].max(axis=0).sum() <= budget for g in groups)


def padding(sizes: np.ndarray, groups: list[np.ndarray]) -> float:
    used = sum(len(g) * sizes[g].max(axis=0).sum() for g in groups)
    return float(1 - sizes.sum() / used)


def sentences(n: int, two: bool) -> np.ndarray:
    """Lengths as of sentences and their translations: correlated, none of them exact."""
    source = np.clip(rng(1).lognormal(3.3, 0.5, n), 3, 120).astype(int)
    target = np.clip(source * rng(2).normal(1.1, 0.12, n), 3, 140).astype(int)
    return np.stack([source, target], axis=1) if two else source[:, None]


@pytest.mark.parametrize(("two", "most"), [(True, 0.05), (False, 0.005)])
def test_little_of_a_batch_is_padding(two: bool, most: float):
    sizes = sentences(30_000, two)
    assert padding(sizes, buckets(sizes, 4096, rng())) < most
    in_order = np.array_split(np.arange(30_000), 400)
    assert padding(sizes, in_order) > 0.4, "these lengths pad a lot unless they are sorted"


def test_batches_are_nearly_full():
    sizes = sentences(30_000, True)
    filled = [len(g) * sizes[g].max(axis=0).sum() / 4096 for g in buckets(sizes, 4096, rng())]
    assert np.mean(filled) > 0.9


def test_a_carpet_goes_up_one_strip_and_back_down_the_next():
    sizes = np.array([[1, 5], [9, 5], [1, 2], [9, 8], [1, 8], [9, 2]])
    assert sizes[_carpet(sizes, 2)].tolist() == [[1, 2], [1, 5], [1, 8], [9, 8], [9, 5], [9, 2]]


def test_examples_of_equal_lengths_are_grouped_exactly():
    sizes = np.repeat([[3, 4], [3, 9], [7, 4]], 100, axis=0)
    assert padding(sizes, buckets(sizes, 70, rng())) < 0.02


def test_the_groups_and_their_order_change_with_the_generator():
    sizes = sentences(500, True)
    first, again, other = (
        [g.tolist() for g in buckets(sizes, 400, rng(seed))] for seed in (0, 0, 1)
    )
    assert first == again != other
    assert sorted(map(sorted, first)) != sorted(map(sorted, other))


@given(
    lengths=st.lists(st.integers(1, 40), max_size=20),
    longest=st.integers(1, 15),
    seed=st.integers(0, 99),
)
def test_pieces_tile_every_stretch_exactly(lengths, longest, seed):
    lengths = np.array(lengths, dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    begin, size = cut(starts, lengths, longest, rng(seed))
    tiles = [p for b, s in zip(begin, size, strict=True) for p in range(b, b + s)]
    assert tiles == list(range(lengths.sum()))
    assert all(1 <= s <= longest for s in size)
    assert set(starts) <= set(begin), "no piece spans two stretches"
    whole = lengths <= longest
    assert set(starts[whole]) <= set(begin[np.isin(size, lengths[whole])]), "what fits stays whole"


def test_the_cut_falls_on_every_phase_equally_often():
    n = 20_000
    _, size = cut(np.zeros(n, int), np.full(n, 25), 10, rng())
    phases = np.bincount(_first(size, 25), minlength=11)[1:]
    assert abs(phases - n / 10).max() < 5 * np.sqrt(n / 10)


def _first(size: np.ndarray, whole: int) -> np.ndarray:
    """The first piece of each stretch of length `whole`."""
    end = np.cumsum(size)
    return size[(end - size) % whole == 0]


@given(
    lengths=st.lists(st.integers(1, 16), max_size=60), capacity=st.sampled_from([16, 17, 24, 70])
)
def test_packed_rows_never_overflow_and_no_two_would_have_fitted_into_one_half_each(
    lengths, capacity
):
    lengths = np.array(sorted(lengths, reverse=True), dtype=np.int64)
    row_of = pack(lengths, capacity)
    used = np.bincount(row_of, weights=lengths) if len(lengths) else np.zeros(0)
    assert (used <= capacity).all()
    assert (used > 0).all(), "row numbers have no gaps"
    assert sum(u <= capacity / 2 for u in used) <= 1, "two half-empty rows would have been one"


def test_best_fit_prefers_the_fullest_row_with_room():
    assert pack(np.array([7, 6, 3, 2, 2]), 10).tolist() == [0, 1, 0, 1, 1]


@given(
    lengths=st.lists(st.integers(1, 10), min_size=1, max_size=80),
    rows=st.integers(1, 7),
    seed=st.integers(0, 9),
)
def test_packed_groups_hold_every_piece_once_and_full_rows_keep_to_themselves(lengths, rows, seed):
    lengths = np.array(lengths, dtype=np.int64)
    starts = np.arange(len(lengths)) * 100
    groups = packed_groups(starts, lengths, 10, rows, rng(seed))
    assert sorted(np.concatenate([g.starts for g in groups])) == starts.tolist()
    mixed = 0
    for g in groups:
        assert (lengths[g.starts // 100] == g.lengths).all()
        assert (np.unique(g.rows) == np.arange(g.rows[-1] + 1)).all()
        assert g.rows[-1] < rows
        assert np.bincount(g.rows, weights=g.lengths).max() <= 10
        mixed += len({bool(n == 10) for n in g.lengths}) == 2
    assert mixed <= 1


def test_rows_that_are_not_full_change_their_company_with_the_generator():
    lengths = np.arange(6, 12)
    starts = np.arange(6) * 100

    def companies(seed: int) -> set[frozenset[int]]:
        return {
            frozenset(g.starts.tolist()) for g in packed_groups(starts, lengths, 12, 2, rng(seed))
        }

    assert len({frozenset(companies(seed)) for seed in range(20)}) > 5
