"""What does a compiled automaton consist of, and how is it used?

An LSTM, the symbols' inputs, a readout on h, and the boxes that prove for strings of any length
that the three accept what the automaton accepts (`receipts/check.py`, kind `automaton.lstm`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from unrolled.automata.dfa import DFA
from unrolled.automata.lstm import LSTM, Steps, numbers
from unrolled.automata.scan import TransitionMap
from unrolled.errors import BadInput, WorkFailed
from unrolled.receipts import Receipt, check


@dataclass(frozen=True, eq=False)
class Compiled:
    """An automaton in the gates of an LSTM; accepting where readout.h + bias >= 0.

    Args:
        dfa: the automaton as it was given.
        lstm: its gates.
        inputs: x of each symbol, shape (symbols, inputs), in the order of the alphabet.
        readout: weights on h.
        readout_bias: and the bias.
        evidence: the boxes of the receipt.
        construction: how it was made, in words.
        sharpness: by what soft gates multiply the hard ones' weights; 1 for hard gates.
    """

    dfa: DFA
    lstm: LSTM
    inputs: Float[np.ndarray, "symbols inputs"]
    readout: Float[np.ndarray, " hidden"]
    readout_bias: float
    evidence: dict[str, Any]
    construction: str
    sharpness: float = 1

    @property
    def margin(self) -> float:
        """By how much every C, h and readout may be off in each step; 0 for hard gates."""
        return float(self.evidence.get("margin", 0))

    @cached_property
    def own_states(self) -> TransitionMap:
        """The map of an LSTM with hard gates over its own states, from the gates."""
        return TransitionMap(self.lstm, self.inputs)

    def run(self, string: str | Sequence[str], dtype: Any = np.float64) -> Steps:
        """The gates and states after each symbol, each (time, hidden), step by step.

        Raises:
            BadInput: a symbol outside the alphabet.
        """
        x: Any = self.inputs.astype(dtype)[self.dfa.encode(string)]
        return self.lstm(x)

    def read(self, h: Float[np.ndarray, "... hidden"]) -> Bool[np.ndarray, ...]:
        """Whether the readout accepts each h."""
        sums = h @ self.readout.astype(h.dtype) + h.dtype.type(self.readout_bias)
        return np.asarray(sums >= 0)

    def accepts(self, string: str | Sequence[str]) -> bool:
        """Whether the LSTM accepts a string, by the transition map of its own states, in float64.

        Raises:
            BadInput: a symbol outside the alphabet.
        """
        soft = self.lstm.gates == "soft"  # whose map may have been thrown away
        own = TransitionMap(self.lstm, self.inputs) if soft else self.own_states
        on, values, _ = own.states[own.final(self.dfa.encode(string))]
        return bool(values @ self.readout[on] + self.readout_bias >= 0)

    def accepts_along(self, string: str | Sequence[str]) -> Bool[np.ndarray, " time"]:
        """Whether the LSTM accepts each prefix that ends with a symbol of the string."""
        if self.lstm.gates == "soft":
            return self.read(self.run(string).h)
        states = self.own_states.along(self.dfa.encode(string))
        known = [
            bool(values @ self.readout[on] + self.readout_bias >= 0)
            for on, values, _ in self.own_states.states
        ]
        return np.asarray(np.array(known)[states])

    def receipt(self, progress: Callable[[int, int], object] | None = None) -> Receipt:
        """The receipt, kind `automaton.lstm`, already checked.

        Args:
            progress: called with how many transitions of how many have been checked.

        Raises:
            check.Refuted: the boxes don't prove it, which is a defect of the construction.
            WorkFailed: the proof takes more work than the checker does for a file of its size.
        """
        try:
            parts = self.dfa.given(), self.answer(), self.evidence
            return Receipt.prove("automaton.lstm", *parts, progress)
        except check.Malformed as error:
            raise WorkFailed(
                f"no checker would read the receipt: {error}; hard gates or fewer letters take less"
            ) from None

    def answer(self) -> dict[str, Any]:
        """The LSTM, the inputs and the readout as a receipt writes them down."""
        codes = {a: numbers(x) for a, x in zip(self.dfa.alphabet, self.inputs, strict=True)}
        readout = {"weights": numbers(self.readout), "bias": numbers([self.readout_bias])[0]}
        return {**self.lstm.document(), "input_codes": codes, "readout": readout}

    def export_torch(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file with the names of `torch.nn.LSTM`, the readout and the states.

        `lstm.weight_ih_l0` and so on load into `torch.nn.LSTM(inputs, hidden, batch_first=True)`;
        `readout.weight` (1, hidden) and `readout.bias` (1,) into `torch.nn.Linear`; `h0` and `C0`
        (1, hidden) and `inputs` (symbols, inputs) are there too, the alphabet in the metadata.

        Raises:
            BadInput: hard gates, or a place that can't be written.
        """
        import json

        import torch
        from safetensors.torch import save_file

        layer = self.lstm.to_torch(torch.float64)
        parts = {f"lstm.{name}": value for name, value in layer.state_dict().items()}
        extra = {
            "readout.weight": self.readout[None],
            "readout.bias": np.array([self.readout_bias]),
            "h0": self.lstm.h0[None],
            "C0": self.lstm.C0[None],
            "inputs": self.inputs,
        }
        parts |= {name: torch.from_numpy(np.array(value)) for name, value in extra.items()}
        if not Path(path).parent.is_dir():
            raise BadInput(f"can't write {path}: there is no such folder; choose another place")
        try:
            save_file(parts, path, {"alphabet": json.dumps(list(self.dfa.alphabet))})
        except Exception as error:  # safetensors' own type, which says nothing about the cause
            raise BadInput(f"can't write {path}: {error}; choose another place") from None
