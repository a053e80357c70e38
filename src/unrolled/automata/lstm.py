"""What does an LSTM compute, in the notation of the problem set?

    f_t = σ(W_f [h_{t-1}, x_t] + b_f)        forget gate        (2)
    i_t = σ(W_i [h_{t-1}, x_t] + b_i)        input gate         (3)
    C̃_t = tanh(W_C [h_{t-1}, x_t] + b_C)     candidate          (4)
    C_t = f_t * C_{t-1} + i_t * C̃_t          cell state         (5)
    o_t = σ(W_o [h_{t-1}, x_t] + b_o)        output gate        (6)
    h_t = o_t * tanh(C_t)                    hidden state       (7)

(Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.) Soft gates are the real
σ and tanh; hard gates are σ(z) = 1 if z > 0 else 0 and tanh(z) = sign(z), 0 at 0. Weights are kept
sparse: an automaton of 100,000 states has few of them a unit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int

from unrolled.errors import BadInput

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array")
GATES = "fiCo"
DENSE_UNITS = 4_096  # above, no matrix is ever written out
SMALL = 2**16  # entries of a matrix that is quicker to multiply written out


@dataclass(frozen=True, eq=False)
class Matrix:
    """A sparse matrix: values[k] stands at rows[k], columns[k], and 0 elsewhere."""

    shape: tuple[int, int]
    rows: Int[np.ndarray, " entries"]
    columns: Int[np.ndarray, " entries"]
    values: Float[np.ndarray, " entries"]

    @classmethod
    def of(cls, shape: tuple[int, int], entries: Iterable[tuple[int, int, float]] = ()) -> Matrix:
        """From entries (row, column, value), no place twice."""
        table = np.array(list(entries), dtype=np.float64).reshape(-1, 3)
        order = np.lexsort((table[:, 1], table[:, 0]))
        rows, columns = table[order, :2].T.astype(np.int64)
        return cls(shape, rows, columns, table[order, 2])

    @classmethod
    def from_dense(cls, values: npt.ArrayLike) -> Matrix:
        """From the matrix written out."""
        dense = np.asarray(values, dtype=np.float64)
        if dense.ndim != 2:
            raise BadInput(f"a weight matrix has two axes, got shape {dense.shape}")
        rows, columns = dense.nonzero()
        height, width = dense.shape
        return cls((height, width), rows, columns, dense[rows, columns])

    @cached_property
    def dense(self) -> Float[np.ndarray, "rows columns"]:
        """The matrix written out; raises `BadInput` above 4,096 rows."""
        if self.shape[0] > DENSE_UNITS:
            raise BadInput(
                f"{self.shape[0]:,} units: matrices are written out up to {DENSE_UNITS:,}"
            )
        result = np.zeros(self.shape)
        result[self.rows, self.columns] = self.values
        return result

    def times(self, v: Array) -> Array:
        """The product with each vector of a NumPy array or torch tensor (..., columns)."""
        if isinstance(v, np.ndarray):
            if self.shape[0] * self.shape[1] <= SMALL:
                return cast(Array, v @ self.dense.T.astype(v.dtype))
            result = np.zeros((*v.shape[:-1], self.shape[0]), dtype=v.dtype)
            if len(self.rows):
                terms = v[..., self.columns] * self.values.astype(v.dtype)
                starts = np.flatnonzero(np.diff(self.rows, prepend=-1))
                result[..., self.rows[starts]] = np.add.reduceat(terms, starts, axis=-1)
            return cast(Array, result)
        import torch

        tensor = cast(torch.Tensor, v)
        if self.shape[0] <= DENSE_UNITS:
            return cast(Array, tensor @ torch.from_numpy(self.dense).T.to(tensor))
        place = torch.from_numpy(np.stack([self.rows, self.columns])).to(tensor.device)
        matrix = torch.sparse_coo_tensor(
            place, torch.from_numpy(self.values).to(tensor), self.shape, check_invariants=False
        )
        flat = torch.sparse.mm(matrix, tensor.reshape(-1, self.shape[1]).T).T
        return cast(Array, flat.reshape(*tensor.shape[:-1], self.shape[0]))

    def document(self) -> dict[str, Any]:
        """As a receipt writes it down."""
        entries = zip(self.rows.tolist(), self.columns.tolist(), numbers(self.values), strict=True)
        return {"shape": list(self.shape), "entries": [list(entry) for entry in entries]}


def numbers(values: npt.ArrayLike) -> list[int | float]:
    """Python's numbers, whole ones as integers."""
    return [int(x) if x.is_integer() else x for x in np.asarray(values, np.float64).tolist()]


class Steps(NamedTuple):
    """What an LSTM did on strings; each (..., time, hidden): the gates, then C and h."""

    f: Any
    i: Any
    candidate: Any
    o: Any
    C: Any
    h: Any


@dataclass(frozen=True, eq=False)
class LSTM:
    """One layer in the set's notation; weights of shape (hidden, hidden + inputs) on [h, x].

    Args:
        gates: "hard" or "soft".
        W_f, b_f, W_i, b_i, W_C, b_C, W_o, b_o: the eight parameters; `from_arrays` takes arrays.
        h0, C0: the states before the first symbol.

    Raises:
        BadInput: shapes that don't fit each other.
    """

    gates: Literal["hard", "soft"]
    W_f: Matrix
    b_f: Float[np.ndarray, " hidden"]
    W_i: Matrix
    b_i: Float[np.ndarray, " hidden"]
    W_C: Matrix
    b_C: Float[np.ndarray, " hidden"]
    W_o: Matrix
    b_o: Float[np.ndarray, " hidden"]
    h0: Float[np.ndarray, " hidden"]
    C0: Float[np.ndarray, " hidden"]

    def __post_init__(self) -> None:
        if self.gates not in ("hard", "soft"):
            raise BadInput(f'gates are "hard" or "soft", got {self.gates!r}')
        for name in ("W_f", "W_i", "W_C", "W_o"):
            if getattr(self, name).shape != self.W_f.shape:
                raise BadInput(
                    f"{name} has shape {getattr(self, name).shape}, W_f {self.W_f.shape}"
                )
        for name in ("b_f", "b_i", "b_C", "b_o", "h0", "C0"):
            shape = getattr(self, name).shape
            if shape != (self.hidden_size,):
                raise BadInput(f"{name} has shape {shape}, expected ({self.hidden_size},)")
        if self.input_size < 1:
            raise BadInput(f"weights on [h, x] are wider than they are high, got {self.W_f.shape}")

    @classmethod
    def from_arrays(
        cls,
        gates: Literal["hard", "soft"],
        W_f: npt.ArrayLike,
        b_f: npt.ArrayLike,
        W_i: npt.ArrayLike,
        b_i: npt.ArrayLike,
        W_C: npt.ArrayLike,
        b_C: npt.ArrayLike,
        W_o: npt.ArrayLike,
        b_o: npt.ArrayLike,
        h0: npt.ArrayLike = (),
        C0: npt.ArrayLike = (),
    ) -> LSTM:
        """From matrices and vectors written out, lists or arrays; h0 and C0 are 0 unless given."""
        W = [Matrix.from_dense(values) for values in (W_f, W_i, W_C, W_o)]
        b = [np.asarray(values, dtype=np.float64) for values in (b_f, b_i, b_C, b_o)]
        parts = [part for pair in zip(W, b, strict=True) for part in pair]
        zero = np.zeros(len(b[0]))
        start = (np.asarray(v, dtype=np.float64) if np.size(v) else zero for v in (h0, C0))
        return cls(gates, *cast(Any, parts), *start)

    @property
    def hidden_size(self) -> int:
        """The number of units."""
        return self.W_f.shape[0]

    @property
    def input_size(self) -> int:
        """The length of x."""
        return self.W_f.shape[1] - self.W_f.shape[0]

    def step(self, x: Array, h: Array, C: Array) -> tuple[Array, Array, Array, Array, Array, Array]:
        """Equations (2)-(7): f, i, C̃, o, C and h after one symbol.

        Args:
            x: shape (..., inputs), NumPy or torch.
            h: shape (..., hidden), of the same kind.
            C: likewise.
        """
        sigmoid, tanh, join = functions(x, self.gates)
        v = join([h, x])
        z = [
            W.times(v) + like(b, v)
            for W, b in ((self.W_f, self.b_f), (self.W_i, self.b_i), (self.W_C, self.b_C))
        ]
        f, i, candidate = sigmoid(z[0]), sigmoid(z[1]), tanh(z[2])
        new_C = f * C + i * candidate
        o = sigmoid(self.W_o.times(v) + like(self.b_o, v))
        return f, i, candidate, o, new_C, o * tanh(new_C)

    def __call__(self, x: Array) -> Steps:
        """Run strings from h0, C0; all gates and states after every symbol.

        Args:
            x: shape (..., time, inputs), a NumPy array or a torch tensor of floats.

        Raises:
            BadInput: the last axis isn't as long as the inputs, or the numbers aren't floats.
        """
        value = cast(Any, x)
        if value.shape[-1] != self.input_size or len(value.shape) < 2:
            raise BadInput(f"expected (..., time, {self.input_size}), got {tuple(value.shape)}")
        if "float" not in str(value.dtype):
            raise BadInput(f"expected inputs of a float type, got {value.dtype}")
        zero = value[..., 0:1, 0].sum(-1)[..., None] * 0  # 0, shaped as the batch, if time is 0 too
        h, C = zero + like(self.h0, value), zero + like(self.C0, value)
        if not value.shape[-2]:
            empty = (zero + like(self.h0, value))[..., None, :][..., :0, :]
            return Steps(*[empty] * 6)
        taken = []
        for t in range(value.shape[-2]):
            taken.append(self.step(value[..., t, :], h, C))
            C, h = taken[-1][4:]
        return Steps(*(stack(part, value) for part in zip(*taken, strict=True)))

    def to_torch(self, dtype: Any = None) -> torch.nn.LSTM:
        """`torch.nn.LSTM`, batch first, that computes the same from the states (h0, C0).

        torch keeps the gates in the order i, f, g, o, and two biases; the second is 0 here.

        Raises:
            BadInput: hard gates, which torch doesn't have; no unit, or more than 4,096.
        """
        import torch

        if self.gates == "hard":
            raise BadInput('torch has no hard gates; compile with gates="soft"')
        if not self.hidden_size:
            raise BadInput("torch has no LSTM of 0 units, and this automaton needs none")
        layer = torch.nn.LSTM(self.input_size, self.hidden_size, batch_first=True, dtype=dtype)
        order = (
            (self.W_i, self.b_i),
            (self.W_f, self.b_f),
            (self.W_C, self.b_C),
            (self.W_o, self.b_o),
        )
        dense = np.concatenate([W.dense for W, _ in order])
        with torch.no_grad():
            part = dict(layer.named_parameters())
            part["weight_hh_l0"].copy_(torch.from_numpy(dense[:, : self.hidden_size]))
            part["weight_ih_l0"].copy_(torch.from_numpy(dense[:, self.hidden_size :]))
            part["bias_ih_l0"].copy_(torch.from_numpy(np.concatenate([b for _, b in order])))
            part["bias_hh_l0"].zero_()
        return layer

    @classmethod
    def from_torch(cls, layer: torch.nn.LSTM, gates: Literal["hard", "soft"] = "soft") -> LSTM:
        """The one layer of a `torch.nn.LSTM`, its weights as they are.

        Raises:
            BadInput: several layers, two directions, or a projection.
        """
        if layer.num_layers != 1 or layer.bidirectional or layer.proj_size:
            raise BadInput("expected a torch.nn.LSTM of one layer, one direction, no projection")
        part = {
            name: value.detach().cpu().double().numpy() for name, value in layer.named_parameters()
        }
        W = np.concatenate([part["weight_hh_l0"], part["weight_ih_l0"]], axis=1)
        b = part["bias_ih_l0"] + part["bias_hh_l0"] if layer.bias else np.zeros(len(W))
        (W_i, W_f, W_C, W_o), (b_i, b_f, b_C, b_o) = np.split(W, 4), np.split(b, 4)
        return cls.from_arrays(gates, W_f, b_f, W_i, b_i, W_C, b_C, W_o, b_o)

    def document(self) -> dict[str, Any]:
        """The weights as a receipt writes them down."""
        result: dict[str, Any] = {
            "gates": self.gates,
            "h0": numbers(self.h0),
            "C0": numbers(self.C0),
        }
        for gate in GATES:
            result[f"W_{gate}"] = getattr(self, f"W_{gate}").document()
            result[f"b_{gate}"] = numbers(getattr(self, f"b_{gate}"))
        return result


def like(values: Float[np.ndarray, " n"], other: Array) -> Array:
    """The numbers as `other` is: NumPy or torch, its type and device."""
    if isinstance(other, np.ndarray):
        return cast(Array, values.astype(other.dtype))
    import torch

    return cast(Array, torch.from_numpy(values).to(cast(torch.Tensor, other)))


def stack(parts: tuple[Any, ...], other: object) -> Any:
    """The steps along a new axis, the last but one."""
    if isinstance(other, np.ndarray):
        return np.stack(parts, axis=-2)
    import torch

    return torch.stack(parts, dim=-2)


def functions(x: object, gates: str) -> tuple[Any, Any, Any]:
    """σ, tanh and joining along the last axis, for NumPy or torch."""
    if isinstance(x, np.ndarray):
        if gates == "hard":
            return (
                (lambda z: (z > 0).astype(z.dtype)),
                np.sign,
                lambda v: np.concatenate(v, axis=-1),
            )
        # By way of tanh, which no z overflows.
        return (lambda z: 0.5 + 0.5 * np.tanh(z / 2)), np.tanh, lambda v: np.concatenate(v, axis=-1)
    import torch

    if gates == "hard":
        return (lambda z: (z > 0).to(z.dtype)), torch.sign, lambda v: torch.cat(v, dim=-1)
    return torch.sigmoid, torch.tanh, lambda v: torch.cat(v, dim=-1)
