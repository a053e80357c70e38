"""How does an LSTM with hard gates run on a long string?

Its state (h, C) takes finitely many values. Each is stepped once with each symbol, from the gates,
and what comes out is a transition map over the LSTM's own states. Running it is then composing
functions, which is associative: a few symbols are one function, and two functions are one (Ladner
and Fischer 1980; Hillis and Steele 1986). For large LSTMs the map is made as far as the string
needs it, by steps that touch only the weights of units that are on.

Soft gates in floating point are a function of (h, C) to the bit too, and after few symbols mostly
come back to states they were in before; so their map is made in the same way, and thrown away when
it has grown too large.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Integer

from unrolled.automata.lstm import GATES, LSTM
from unrolled.errors import BadInput, WorkFailed

MAX_STATES = 2**20  # of (h, C), before the search for them is given up
SCANNED = 64  # states up to which functions are composed; more are walked through
SOFT_NUMBERS = 2**18  # units times states of soft gates that are kept
DENSE = 256  # units up to which a product with all weights is quicker than with those not 0
BLOCK = 2**18  # entries of the table of what a few symbols do
# The units that are on, their h (as many), and C of all.
State = tuple[Integer[np.ndarray, " _"], Float[np.ndarray, " _"], Float[np.ndarray, " hidden"]]


class SparseSteps:
    """Single steps of an LSTM with hard gates whose h is mostly 0.

    Args:
        lstm: with hard gates.
        inputs: x of each symbol, shape (symbols, inputs).

    Raises:
        BadInput: soft gates.
    """

    def __init__(self, lstm: LSTM, inputs: Float[np.ndarray, "symbols inputs"]) -> None:
        if lstm.gates != "hard":
            raise BadInput("only hard gates have finitely many states; soft ones run step by step")
        hidden = self.hidden = lstm.hidden_size
        parts = [(getattr(lstm, f"W_{g}"), getattr(lstm, f"b_{g}")) for g in GATES]
        v = (
            np.concatenate([np.zeros((len(inputs), hidden)), inputs], axis=1)
            if hidden <= 4096
            else None
        )
        base = np.zeros((len(inputs), 4, hidden))
        for gate, (W, b) in enumerate(parts):
            for k, x in enumerate(inputs):
                if v is not None:
                    base[k, gate] = W.times(v[k]) + b
                    continue
                from_x = W.columns >= hidden
                terms = W.values[from_x] * x[W.columns[from_x] - hidden]
                base[k, gate] = np.bincount(W.rows[from_x], terms, minlength=hidden) + b
        self.base = base.reshape(len(inputs), -1)
        flat = np.concatenate([gate * hidden + W.rows for gate, (W, _) in enumerate(parts)])
        columns = np.concatenate([W.columns for W, _ in parts])
        values = np.concatenate([W.values for W, _ in parts])
        order = np.argsort(columns, kind="stable")
        order = order[: np.searchsorted(columns[order], hidden)]
        self.flat, self.values = flat[order], values[order]
        self.starts = np.searchsorted(columns[order], np.arange(hidden + 1)).tolist()
        # Where f is 0 whatever comes, C is forgotten and no part of the state.
        self.kept = lstm.b_f > 0
        self.kept[lstm.W_f.rows] = True
        self.forgets = not self.kept.any()
        on = np.flatnonzero(lstm.h0)
        self.start: State = on, lstm.h0[on], np.where(self.kept, lstm.C0, 0.0)
        if self.forgets:
            self.prepare(base)

    def prepare(self, base: Float[np.ndarray, "symbols gates hidden"]) -> None:
        """What `touched_step` needs: all of it Python's own numbers, quicker one by one."""
        self.resting = base.transpose(0, 2, 1).tolist()
        h = np.sign(base[:, 2]) * (base[:, 1] > 0) * (base[:, 3] > 0)
        self.resting_on = [{int(q): float(row[q]) for q in row.nonzero()[0]} for row in h]
        self.readers: list[dict[int, list[float]]] = [{} for _ in range(self.hidden)]
        for j, readers in enumerate(self.readers):
            for k in range(self.starts[j], self.starts[j + 1]):
                gate, q = divmod(int(self.flat[k]), self.hidden)
                readers.setdefault(q, [0.0] * 4)[gate] = float(self.values[k])

    def touched_step(self, state: State, symbol: int) -> State:
        """The step where C is forgotten: only units that read one that is on can do otherwise than
        they do when all of h is 0.
        """
        sums: dict[int, list[float]] = {}
        resting = self.resting[symbol]
        for j, value in zip(state[0].tolist(), state[1].tolist(), strict=True):
            for q, (_, i, c, o) in self.readers[j].items():
                z = sums.get(q) or resting[q]
                sums[q] = [0.0, z[1] + i * value, z[2] + c * value, z[3] + o * value]
        found = {q: value for q, value in self.resting_on[symbol].items() if q not in sums}
        for q, (_, i, c, o) in sums.items():
            if i > 0 and o > 0 and c:
                found[q] = 1.0 if c > 0 else -1.0
        on = sorted(found)
        return np.array(on, dtype=np.int64), np.array([found[q] for q in on]), state[2]

    def step(self, state: State, symbol: int) -> State:
        """The units that are on, their h, and C (0 where it will be forgotten)."""
        if self.forgets:
            return self.touched_step(state, symbol)
        on, h, C = state
        z = self.base[symbol].copy()
        for j, value in zip(on.tolist(), h.tolist(), strict=True):
            here = slice(self.starts[j], self.starts[j + 1])
            z[self.flat[here]] += self.values[here] * value
        hidden = self.hidden
        gates = z > 0
        candidate = np.sign(z[2 * hidden : 3 * hidden])
        new = gates[hidden : 2 * hidden] * candidate + gates[:hidden] * C
        h_new = np.sign(new) * gates[3 * hidden :]
        on = h_new.nonzero()[0]
        return on, h_new[on], np.where(self.kept, new, 0.0)

    def key(self, state: State) -> bytes:
        """The same bytes for the same state."""
        tail = b"" if self.forgets else state[2].tobytes()
        return state[0].tobytes() + b"|" + state[1].tobytes() + b"|" + tail


class SoftSteps:
    """Single steps of an LSTM with soft gates: of few units one product and one tanh, with sigma(z)
    by tanh(z / 2); of many the step of the equations.

    Args:
        lstm: with soft gates.
        inputs: x of each symbol, shape (symbols, inputs).
    """

    def __init__(self, lstm: LSTM, inputs: Float[np.ndarray, "symbols inputs"]) -> None:
        hidden = self.hidden = lstm.hidden_size
        self.lstm, self.inputs = lstm, inputs
        self.start: State = np.arange(hidden), lstm.h0, lstm.C0
        if hidden > DENSE:
            return
        halves = {"f": 0.5, "i": 0.5, "o": 0.5, "C": 1.0}
        W = np.concatenate([getattr(lstm, f"W_{g}").dense * half for g, half in halves.items()])
        b = np.concatenate([getattr(lstm, f"b_{g}") * half for g, half in halves.items()])
        self.base = inputs @ W[:, hidden:].T + b
        self.recurrent = np.ascontiguousarray(W[:, :hidden].T)

    def step(self, state: State, symbol: int) -> State:
        """All units, their h, and C."""
        units, h, C = state
        if self.hidden > DENSE:
            new, h = self.lstm.step(self.inputs[symbol], h, C)[4:]
            return units, h, new
        z = np.tanh(h @ self.recurrent + self.base[symbol])
        f, i, o = (0.5 + 0.5 * z[: 3 * self.hidden]).reshape(3, -1)
        new = f * C + i * z[3 * self.hidden :]
        return units, o * np.tanh(new), new

    def key(self, state: State) -> bytes:
        """The same bytes for the same state."""
        return state[1].tobytes() + state[2].tobytes()


class TransitionMap:
    """An LSTM as a table over its own states, made as far as it is asked for.

    `states[s]` is a state (units on, their h, C); `table[s][a]` the number of the state that symbol
    a leads to, or -1 while nobody has asked. State 0 is the start, until a map of soft gates has
    grown too large and is begun anew from the state it is in.
    """

    def __init__(self, lstm: LSTM, inputs: Float[np.ndarray, "symbols inputs"]) -> None:
        self.soft = lstm.gates == "soft"
        self.most = SOFT_NUMBERS // max(lstm.hidden_size, 32) if self.soft else MAX_STATES
        self.steps = SoftSteps(lstm, inputs) if self.soft else SparseSteps(lstm, inputs)
        self.symbols = len(inputs)
        self.states: list[State] = []
        self.table: list[list[int]] = []
        self.numbers: dict[bytes, int] = {}
        self.number(self.steps.start)

    def number(self, state: State) -> int:
        """The state's number, a new one if it has none."""
        key = self.steps.key(state)
        found = self.numbers.get(key)
        if found is None:
            found = self.numbers[key] = len(self.states)
            if found == self.most:
                raise WorkFailed(f"the LSTM takes more than {MAX_STATES:,} states; is C bounded?")
            self.states.append(state)
            self.table.append([-1] * self.symbols)
        return found

    def next(self, s: int, symbol: int) -> int:
        """Where a symbol leads, from the gates the first time."""
        if self.table[s][symbol] < 0:
            state = self.steps.step(self.states[s], symbol)
            if self.soft and len(self.states) >= self.most:
                for kept in (self.states, self.table, self.numbers):
                    kept.clear()
                return self.number(state)
            self.table[s][symbol] = self.number(state)
        return self.table[s][symbol]

    def close(self, most: int) -> bool:
        """Find all states, unless there are more than `most`."""
        for s in self.unfinished():
            if len(self.states) > most:
                return False
            for symbol in range(self.symbols):
                self.next(s, symbol)
        return len(self.states) <= most

    def unfinished(self) -> Iterator[int]:
        """The states with a symbol nobody has asked for, new ones among them."""
        s = 0
        while s < len(self.states):
            if -1 in self.table[s]:
                yield s
            s += 1

    def final(self, codes: Integer[np.ndarray, " time"], start: int = 0) -> int:
        """The state after a string of symbol numbers."""
        if len(codes) > 4 * BLOCK // self.symbols and self.close(SCANNED):
            return scan(np.array(self.table), codes, start)
        table, s = self.table, start
        for symbol in codes.tolist():
            t = table[s][symbol]
            s = t if t >= 0 else self.next(s, symbol)
        return s

    def along(
        self, codes: Integer[np.ndarray, " time"], start: int = 0
    ) -> Integer[np.ndarray, " time"]:
        """The states after each symbol of a string."""
        if len(codes) > BLOCK and self.close(SCANNED):
            return scan_along(np.array(self.table), codes, start)
        result = np.zeros(len(codes), dtype=np.int64)
        s = start
        for t, symbol in enumerate(codes.tolist()):
            s = self.next(s, symbol)
            result[t] = s
        return result


def blocks(
    table: Integer[np.ndarray, "states symbols"], codes: Integer[np.ndarray, " time"]
) -> tuple[Integer[np.ndarray, "functions states"], Integer[np.ndarray, " blocks"], int]:
    """What each string of a length does to each state; which one each block is; the length."""
    states, symbols = table.shape
    functions, length = table.T.astype(np.uint8), 1
    while len(functions) ** 2 * states <= BLOCK and 2 * length <= len(codes):
        # [first string, second string, state]: after the first, the second.
        functions = functions[:, functions].transpose(1, 0, 2).reshape(-1, states)
        length *= 2
    whole = len(codes) // length
    grid = codes[: whole * length].reshape(whole, length)
    which = grid[:, 0].astype(np.int32)
    for k in range(1, length):
        which *= symbols
        which += grid[:, k]
    return functions, which, length


def compose(functions: Integer[np.ndarray, "n states"]) -> Integer[np.ndarray, "half states"]:
    """Functions two by two: first the even one, then the odd one."""
    return np.take_along_axis(functions[1::2], functions[: len(functions) // 2 * 2 : 2], axis=1)


def scan(
    table: Integer[np.ndarray, "states symbols"], codes: Integer[np.ndarray, " time"], start: int
) -> int:
    """The state after the string, by composing what its parts do."""
    functions, which, length = blocks(table, codes)
    parts = functions[which]
    rest = codes[len(which) * length :].tolist()
    late: list[Integer[np.ndarray, " states"]] = []
    while len(parts) > 1:
        if len(parts) % 2:
            late.append(parts[-1])
        parts = compose(parts)
    state = start
    for function in [*parts, *reversed(late)]:
        state = int(function[state])
    for symbol in rest:
        state = int(table[state, symbol])
    return state


def scan_along(
    table: Integer[np.ndarray, "states symbols"], codes: Integer[np.ndarray, " time"], start: int
) -> Integer[np.ndarray, " time"]:
    """The states after each symbol: where each block starts, then all blocks side by side."""
    functions, which, length = blocks(table, codes)
    current = starts(functions[which], start)
    result = np.zeros((len(which), length), dtype=np.uint8)
    grid = codes[: len(which) * length].reshape(-1, length)
    narrow = table.astype(np.uint8)
    for k in range(length):
        current = narrow[current, grid[:, k]]
        result[:, k] = current
    tail, state = [], int(current[-1]) if len(current) else start
    for symbol in codes[len(which) * length :].tolist():
        state = int(table[state, symbol])
        tail.append(state)
    return np.concatenate([result.reshape(-1), np.array(tail, dtype=np.uint8)])


def starts(functions: Integer[np.ndarray, "n states"], start: int) -> Integer[np.ndarray, " n"]:
    """The state before each function, by a scan over pairs."""
    if len(functions) <= 1:
        return np.full(len(functions), start, dtype=np.uint8)
    result = np.zeros(len(functions), dtype=np.uint8)
    pairs = starts(compose(functions), start)
    result[0 : 2 * len(pairs) : 2] = pairs
    result[1 : 2 * len(pairs) : 2] = np.take_along_axis(
        functions[0 : 2 * len(pairs) : 2], pairs[:, None].astype(np.int64), axis=1
    )[:, 0]
    if len(functions) % 2:
        result[-1] = functions[-2][result[-2]]
    return result
