"""h_t = W^T h_{t-1}: spectrum, growth, and gradients through time."""

from unrolled.recurrences.matrix import Matrix
from unrolled.recurrences.power import State, gradient, power
from unrolled.recurrences.spectrum import Spectrum, spectrum
from unrolled.recurrences.verdict import Verdict, verdict

__all__ = ["Matrix", "Spectrum", "State", "Verdict", "gradient", "power", "spectrum", "verdict"]
