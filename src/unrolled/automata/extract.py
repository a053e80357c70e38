"""Which automaton does a trained LSTM follow?

Two guesses correct each other (after Omlin and Giles 1996; Weiss, Goldberg and Yahav 2018): L* asks
the LSTM about strings, and clusters of the LSTM's own states, followed from h0, C0, make a second
automaton. Where the two part the LSTM decides: either L* has a counterexample, or the clusters were
too coarse and are halved. At last all strings up to a length are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from unrolled.automata.dfa import DFA
from unrolled.automata.language import difference
from unrolled.automata.learn import MAX_STRINGS, String, Teacher, l_star, part
from unrolled.automata.lstm import LSTM
from unrolled.errors import BadInput

if TYPE_CHECKING:
    import torch

HALVINGS = 12
MAX_CLUSTERS = 500


@dataclass(frozen=True)
class Extracted:
    """The automaton found.

    Args:
        dfa: the automaton, minimal.
        parts_on: the shortest string found on which the LSTM does otherwise; None if there is none
            of up to `longest` symbols.
        longest: the length up to which all strings were compared.
        clusters: how many clusters of the LSTM's own states gave the same language; None if no
            clustering did.
    """

    dfa: DFA
    parts_on: String | None
    longest: int
    clusters: int | None


class Network:
    """An LSTM that answers whether it accepts strings, in float64."""

    def __init__(
        self,
        lstm: LSTM,
        inputs: Mapping[str, Sequence[float]],
        readout: tuple[npt.ArrayLike, float],
    ) -> None:
        self.lstm = lstm
        self.alphabet = tuple(inputs)
        self.inputs = np.array([list(inputs[a]) for a in self.alphabet], dtype=np.float64)
        self.weights, self.bias = (
            np.asarray(readout[0], dtype=np.float64).ravel(),
            float(readout[1]),
        )
        expected = (len(self.alphabet), lstm.input_size)
        if self.inputs.shape != expected or self.weights.shape != (lstm.hidden_size,):
            raise BadInput(
                f"expected inputs of length {lstm.input_size} and {lstm.hidden_size} readout "
                f"weights, got {self.inputs.shape} and {self.weights.shape}"
            )

    def reads(self, h: Float[np.ndarray, "batch hidden"]) -> list[bool]:
        """Whether each h is accepted."""
        yes: list[bool] = (h @ self.weights + self.bias >= 0).tolist()
        return yes

    def accepts(self, words: list[String]) -> list[bool]:
        """Whether each string is accepted; strings of one length are run together."""
        number = {a: k for k, a in enumerate(self.alphabet)}
        result = [False] * len(words)
        by_length: dict[int, list[int]] = {}
        for k, word in enumerate(words):
            by_length.setdefault(len(word), []).append(k)
        for length, places in by_length.items():
            h = np.tile(self.lstm.h0, (len(places), 1))
            C = np.tile(self.lstm.C0, (len(places), 1))
            codes = np.array([[number[a] for a in words[k]] for k in places], dtype=np.int64)
            for t in range(length):
                C, h = self.lstm.step(self.inputs[codes[:, t]], h, C)[4:]
            for k, yes in zip(places, self.reads(h), strict=True):
                result[k] = yes
        return result

    def clusters(self, radius: float) -> DFA | None:
        """The automaton of the states that can be reached, each taken for the first within `radius`
        (in every h and C, and accepted alike) that was met; None if there are too many.
        """
        states = np.concatenate([self.lstm.h0, self.lstm.C0])[None]
        accepted = self.reads(self.lstm.h0[None])
        table: list[list[int]] = []
        hidden = self.lstm.hidden_size
        while len(table) < len(states):
            here = np.tile(states[len(table)], (len(self.alphabet), 1))
            C, h = self.lstm.step(self.inputs, here[:, :hidden], here[:, hidden:])[4:]
            row = []
            for state, yes in zip(np.concatenate([h, C], axis=1), self.reads(h), strict=True):
                gaps = np.abs(states - state).max(axis=1, initial=0)
                gaps[np.array(accepted) != yes] = np.inf
                k = int(gaps.argmin())
                if gaps[k] > radius:
                    k = len(states)
                    states, accepted = np.vstack([states, state]), [*accepted, yes]
                row.append(k)
            table.append(row)
            if len(states) > MAX_CLUSTERS:
                return None
        final = [k for k, yes in enumerate(accepted) if yes]
        return DFA.from_table(np.array(table), final, self.alphabet)


def extract(
    lstm: LSTM | torch.nn.LSTM,
    inputs: Mapping[str, Sequence[float]],
    readout: tuple[npt.ArrayLike, float],
    longest: int = 10,
    most: int = 100,
) -> Extracted:
    """The automaton that an LSTM follows.

    Args:
        lstm: an LSTM of one layer, this room's or torch's.
        inputs: x of each symbol.
        readout: weights on h and a bias; accepted where their sum is at least 0.
        longest: all strings up to this length are compared.
        most: states after which the search stops; what was found then is given with a string on
            which it is wrong.

    Raises:
        BadInput: sizes that don't fit, or more than a million strings to compare.
    """
    if not isinstance(lstm, LSTM):
        lstm = LSTM.from_torch(lstm)
    network = Network(lstm, inputs, readout)
    total = sum(len(network.alphabet) ** n for n in range(longest + 1))
    if total > MAX_STRINGS:
        raise BadInput(f"{total:,} strings of up to {longest} symbols; choose a shorter length")
    teacher = Teacher(network.accepts)
    radius, agreed = 1.0, None

    def counterexample(dfa: DFA) -> String | None:
        nonlocal radius, agreed
        agreed = None
        for _ in range(HALVINGS):
            clustered = network.clusters(radius)
            if clustered is None:
                break
            word = difference(dfa, clustered)
            if word is None:
                agreed = len(clustered.states)
                break
            if teacher([word])[0] != dfa.accepts(word):
                return word
            radius /= 2
        return part(teacher, dfa, longest)

    dfa, word = l_star(teacher, network.alphabet, counterexample, most)
    if word is not None:
        word = part(teacher, dfa, longest) or word
    answer: Any = dfa.minimal()[0]
    return Extracted(answer, word, longest, agreed)
