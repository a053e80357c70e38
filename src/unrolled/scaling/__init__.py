"""Scaling laws: fit them to runs, know how far to believe them, split a budget by them."""

from unrolled.scaling.allocate import Allocation, Decoder, SixN, allocate
from unrolled.scaling.approaches import side_by_side
from unrolled.scaling.fit import Fit, fit
from unrolled.scaling.law import Law
from unrolled.scaling.published import LAWS, PUBLISHED, Published, find_law
from unrolled.scaling.runs import Runs, read_runs
from unrolled.scaling.sweep import sweep

__all__ = [
    "LAWS",
    "PUBLISHED",
    "Allocation",
    "Decoder",
    "Fit",
    "Law",
    "Published",
    "Runs",
    "SixN",
    "allocate",
    "find_law",
    "fit",
    "read_runs",
    "side_by_side",
    "sweep",
]
