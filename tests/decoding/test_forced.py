"""Are the log-probabilities of given texts those of a table, whatever stands side by side?"""

from __future__ import annotations

import math
import random

import pytest
import torch
from tests.decoding.tiny import Tiny

from unrolled.decoding import forced
from unrolled.decoding.forced import forced as score
from unrolled.decoding.scorers import TableScorer

TABLE = torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.6, 0.3], [0.4, 0.25, 0.35]])


def test_each_token_has_its_place_in_the_table() -> None:
    scorer = TableScorer(TABLE, end_token=0)
    rows = [([1], [2, 1, 0]), ([2, 1], []), ([2], [2]), ([1, 2], [0, 0, 0, 1])]
    wanted = [[0.3, 0.25, 0.1], [], [0.35], [0.4, 0.2, 0.2, 0.5]]
    found = list(score(scorer, rows))
    assert [len(row) for row in found] == [3, 0, 1, 4]
    for row, values in zip(found, wanted, strict=True):
        assert row == pytest.approx([math.log(p) for p in values], abs=1e-6)


def test_rows_do_not_depend_on_who_stands_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)
    rows = [([draw.randrange(5)], draw.choices(range(5), k=draw.randrange(6))) for _ in range(40)]
    alone = [next(score(Tiny(5, 3), [row])) for row in rows]
    monkeypatch.setattr(forced, "ROWS_TOGETHER", 7)
    assert list(score(Tiny(5, 3), rows)) == alone
