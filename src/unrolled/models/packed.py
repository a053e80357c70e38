"""How is a decoder run with packed weights? By the compiled step of `kernels`, fed from here.

    packed = PackedDecoder.of(model, "int8")                a `Decoder`, its matrices packed here
    packed = packed_decoder(model.config, packs)            or from packs made before, by name
    slots, log_probs = packed.start([[5, 3], [7]])          prompts of any lengths, no padding
    log_probs = packed.step(slots, parents, tokens)         row i continues row parents[i]
    refusal(model)                                          why a model can't go this way, or None

`packs` names every parameter as the `Decoder` does (`stack.blocks.0.attention.qkv.weight`): what
`matrices` lists as a `Packed`, all of one format, the rest as float32 arrays. An embedding of its
own (not tied to the head) may be either. Arrays are used where they are, not copied, and must not
change. Where numba is missing or a model is refused, the ordinary `Decoder` with Ŵ
(`kernels.formats.unpack`) in the place of W gives the same answers, but for the rounding of
activations to 8 bits in the integer formats.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Int32, Integer
from torch import Tensor

from unrolled.errors import BadInput
from unrolled.kernels.formats import LANES, Packed, empty, groups, pack, quantised, unpack
from unrolled.models.attention import rotary_table
from unrolled.models.batch import IGNORED, Batch, segments
from unrolled.models.config import ModelConfig
from unrolled.models.slots import Slots
from unrolled.models.stack import check_tokens, sinusoids

if TYPE_CHECKING:
    from unrolled.models.decoder import Decoder

Packs = Mapping[str, Packed | np.ndarray]
EMBEDDING, HEAD = "stack.embedding.weight", "head.linear.weight"
LAYER = ("attention.qkv", "attention.out", "mlp.up", "mlp.down")
"""The matrices of a block, in the step's order."""
BLOCK = 128
"""Positions of prompts that go through a step together."""
WORTH_A_THREAD = 1 << 18
"""Products of a step (rows × weights) for which another thread is woken."""


def refusal(model: Any) -> str | None:
    """Why a model does not run on packed weights by the compiled step; None: it does."""
    config = getattr(model, "config", None)
    if not isinstance(config, ModelConfig) or type(model).__name__ != "Decoder":
        return f"{type(model).__name__} has no compiled step, only a Decoder has"
    if any(hasattr(block, "cross") and block.cross is not None for block in model.stack.blocks):
        return "cross-attention has no compiled step"
    device = model.stack.embedding.weight.device.type
    if device != "cpu":
        return f"the compiled step runs on a processor, and the model is on {device}"
    return refused(config)


def refused(config: ModelConfig) -> str | None:
    """The same of any decoder of this config, before there is one."""
    if config.pattern is not None:
        return f"sparse attention ({config.attention}) has no compiled step"
    return no_numba()


def no_numba() -> str | None:
    """Why nothing can be compiled here; None: it can."""
    try:
        import numba  # noqa: F401
    except ImportError as error:  # also where its version and NumPy's don't fit
        return f"numba can't be used ({error}): pip install 'unrolled[fast]'"
    return None


def matrices(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """Name and shape [outputs, inputs] of every matrix that a step multiplies by."""
    hidden, mlp = config.hidden_size, config.mlp_size
    wide = (config.num_heads + 2 * config.kv_heads) * config.head_size
    up = mlp * (2 if config.activation == "swiglu" else 1)
    shapes = ((wide, hidden), (hidden, hidden), (up, hidden), (hidden, mlp))
    found = {
        f"stack.blocks.{layer}.{name}.weight": shape
        for layer in range(config.num_layers)
        for name, shape in zip(LAYER, shapes, strict=True)
    }
    found[EMBEDDING if config.tie_embeddings else HEAD] = (config.vocab_size, hidden)
    return found


def multiplied(config: ModelConfig) -> int:
    """Weights that a step multiplies by."""
    return sum(outputs * inputs for outputs, inputs in matrices(config).values())


def pack_model(model: Decoder, weights: str) -> dict[str, Packed | np.ndarray]:
    """A decoder's parameters as `packed_decoder` takes them, the matrices in a format.

    Raises `BadInput` for an unknown format, and weights that are no numbers.
    """
    packed = {*matrices(model.config), EMBEDDING}
    arrays = ((n, p.detach().float().numpy()) for n, p in model.named_parameters())
    return {name: pack(array, weights) if name in packed else array for name, array in arrays}


def packed_decoder(
    config: ModelConfig, packs: Packs, *, threads: int | None = None, tell: Any = None
) -> PackedDecoder:
    """A decoder from its packs; see the head of this file.

    `threads`: as many as PyTorch has, unless given. `tell` is called with a line when the kernels
    must be compiled first, which happens once on a machine. Raises `BadInput` where a matrix is
    missing or of another shape or format than the rest.
    """
    return PackedDecoder(config, packs, threads=threads, tell=tell)


class PackedDecoder:
    """A decoder that reads packed weights; steps of it are exact to the bit, row by row."""

    def __init__(
        self, config: ModelConfig, packs: Packs, *, threads: int | None = None, tell: Any = None
    ) -> None:
        reason = no_numba()
        if reason is not None:
            raise BadInput(reason)
        from unrolled.kernels.team import Team

        self.config, self.packs, self.tell = config, packs, tell
        self.vocab_size = config.vocab_size
        self.format = _checked(config, packs)
        self.threads = threads or min(torch.get_num_threads(), os.cpu_count() or 1)
        self.team = Team(self.threads)
        self.model = _laid_out(config, packs)
        self.embedding = _embedding(config, packs)
        self.added: Float32[np.ndarray, "positions hidden"] | None = None
        if config.positions == "learned":
            self.added = _array(
                packs, "stack.position_embedding.weight", config.max_positions, config.hidden_size
            )
        elif config.positions == "sinusoidal":
            self.added = sinusoids(config).numpy()
        self.weights = multiplied(config)
        self._most = (0, 0)  # rows, and rows whose logits are wanted
        self._largest: list[np.ndarray] = []
        self._work: dict[tuple[int, int], Any] = {}
        self._lock = RLock()

    @classmethod
    def of(
        cls, model: Decoder, weights: str, *, threads: int | None = None, tell: Any = None
    ) -> PackedDecoder:
        """Pack a decoder's weights. Raises `BadInput` where `refusal` has a reason."""
        reason = refusal(model)
        if reason is not None:
            raise BadInput(reason)
        return cls(model.config, pack_model(model, weights), threads=threads, tell=tell)

    def start(self, sources: Sequence[Sequence[int]]) -> tuple[Slots, Float[Tensor, "rows vocab"]]:
        """Read the prompts; the log-probabilities of what follows each."""
        if not sources or not all(sources):
            raise BadInput("every source needs at least one token")
        lengths = [len(source) for source in sources]
        flat = torch.tensor([token for source in sources for token in source])
        check_tokens(flat[None], self.config, max(lengths))
        slots = Slots(self.config, lengths)
        tokens = flat.numpy()
        owner = np.repeat(np.arange(len(sources), dtype=np.int32), lengths)
        ends = np.cumsum(lengths)
        seen = (np.arange(len(tokens)) - (ends - lengths)[owner] + 1).astype(np.int32)
        log_probs = torch.empty(len(sources), self.vocab_size)
        for first in range(0, len(tokens), BLOCK):
            part = slice(first, first + BLOCK)
            due = (ends > first) & (ends <= first + BLOCK)
            wanted = (ends[due] - 1 - first).astype(np.int32)
            found = self._read(slots, tokens[part], owner[part], seen[part], wanted)
            log_probs[torch.from_numpy(due)] = found
        return slots, log_probs

    def step(
        self, slots: Slots, parents: Int[Tensor, " rows"], tokens: Int[Tensor, " rows"]
    ) -> Float[Tensor, "rows vocab"]:
        """One token more in every row; row i continues row `parents[i]` of the call before."""
        which = parents.numpy()
        if which.size and not 0 <= which.min() <= which.max() < len(slots.lengths):
            wrong = which.max() if which.min() >= 0 else which.min()
            raise BadInput(f"there is no row {wrong} of {len(slots.lengths)} to continue")
        check_tokens(tokens[None], self.config, int(slots.lengths[which].max(initial=0)) + 1)
        slots.go_on(which)
        rows = np.arange(len(which), dtype=np.int32)
        return self._read(slots, tokens.numpy(), rows, slots.lengths, rows)

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats, summed over the batch's targets, as `Decoder.loss` has it."""
        nats = [self._nats(*sequence) for sequence in segments(batch)]
        return torch.tensor(math.fsum(nats), dtype=torch.float64)

    def _nats(self, tokens: list[int], targets: list[int]) -> float:
        """The same of one sequence."""
        check_tokens(torch.tensor([tokens]), self.config, len(tokens))
        slots, total = Slots(self.config, [len(tokens)]), 0.0
        asked = torch.tensor(targets)
        for first in range(0, len(tokens), BLOCK):
            read, due = np.array(tokens[first : first + BLOCK]), asked[first : first + BLOCK]
            seen = np.arange(first + 1, first + 1 + len(read), dtype=np.int32)
            wanted = (due != IGNORED).nonzero()[:, 0]
            ends, owner = wanted.numpy().astype(np.int32), np.zeros(len(read), np.int32)
            log_probs = self._read(slots, read, owner, seen, ends)
            total -= float(log_probs.gather(1, due[wanted][:, None]).double().sum())
        return total

    def _read(
        self,
        slots: Slots,
        tokens: Integer[np.ndarray, " rows"],
        owner: Int32[np.ndarray, " rows"],
        lengths: Int32[np.ndarray, " rows"],
        wanted: Int32[np.ndarray, " wanted"],
    ) -> Float[Tensor, "wanted vocab"]:
        """Put the tokens' keys and values into their slots; what follows the wanted rows."""
        from unrolled.kernels.compiling import telling
        from unrolled.kernels.step import Rows, step

        rows = Rows(slots.keys, slots.values, slots.table, owner, lengths, wanted)
        threads = self.threads if len(tokens) * self.weights > WORTH_A_THREAD else 1
        with self._lock:
            work = self._room(len(tokens), len(wanted))
            log_probs = empty((len(wanted), self.vocab_size), np.float32)
            self._embed(tokens, lengths - 1, work.x)
            with telling(self.tell):
                self.team.run(lambda *who: step(self.model, rows, work, log_probs, *who), threads)
            self.tell = None
        return torch.from_numpy(log_probs)

    def _embed(
        self,
        tokens: Integer[np.ndarray, " rows"],
        positions: Int32[np.ndarray, " rows"],
        x: Float32[np.ndarray, "rows hidden"],
    ) -> None:
        """As `Stack.embed`."""
        table = self.embedding
        if isinstance(table, Packed):
            x[:] = unpack(table, self.config.hidden_size, tokens)
        else:
            x[:] = table[tokens]
        if self.config.positions == "sinusoidal":
            x *= np.float32(math.sqrt(self.config.hidden_size))
        if self.added is not None:
            x += self.added[positions]

    def _room(self, rows: int, wanted: int) -> Any:
        """Room for a step of this size, within what was made for the largest one so far."""
        from unrolled.kernels.step import Work

        if rows > self._most[0] or wanted > self._most[1]:
            self._most = max(rows, self._most[0]), max(wanted, self._most[1])
            self._work = {}
            self._largest = self._made(*self._most)
        if (rows, wanted) not in self._work:
            *parts, scores, sums = self._largest
            cut = [part[:rows] for part in parts]
            self._work = {(rows, wanted): Work._make([*cut, scores, sums[:wanted]])}
        return self._work[rows, wanted]

    def _made(self, rows: int, wanted: int) -> list[np.ndarray]:
        """The arrays of `kernels.step.Work`."""
        from unrolled.kernels.arithmetic import SUMS
        from unrolled.kernels.heads import TOGETHER
        from unrolled.kernels.step import CHUNK

        shapes = matrices(self.config)
        wide, _, up, _ = (shapes[f"stack.blocks.0.{name}.weight"][0] for name in LAYER)
        hidden, mlp = self.config.hidden_size, self.config.mlp_size
        made = [empty((rows, width), np.float32) for width in (hidden, hidden, wide, up, mlp)]
        for width in (hidden, mlp):
            made.append(empty((rows, quantised(width)), np.int16))
            made.append(empty((rows, groups(width)), np.float32))
        longest = max(self.config.max_positions, CHUNK)
        made.append(empty((self.threads, TOGETHER, longest + SUMS), np.float32))
        made.append(empty((wanted, -(-self.vocab_size // CHUNK), 2), np.float32))
        return made

    def bytes_of_step(self, slots: Slots) -> int:
        """Bytes that the next step must read: every matrix once, and every held slot once."""
        names = matrices(self.config)
        held = [pack for name in names if isinstance(pack := self.packs[name], Packed)]
        width = 2 * slots.keys.itemsize * slots.keys.shape[0] * slots.keys.shape[2]
        return sum(pack.nbytes for pack in held) + len(slots.held()) * int(width)


def _checked(config: ModelConfig, packs: Packs) -> str:
    """The format of the matrices, all there and of the sizes that the config says."""
    formats = set()
    for name, shape in matrices(config).items():
        held = packs.get(name)
        if not isinstance(held, Packed):
            raise BadInput(f"{name} should be a packed matrix, not {type(held).__name__}")
        formats.add(held.format)
        _check_parts(name, held, *shape)
    if len(formats) != 1:
        raise BadInput(f"the matrices should be of one format, not {', '.join(sorted(formats))}")
    return formats.pop()


def _check_parts(name: str, held: Packed, outputs: int, inputs: int) -> None:
    """Raise `BadInput` unless all parts of a packed matrix are of the sizes that it must have."""
    like = pack(np.zeros((1, inputs), np.float32), held.format)
    blocks = -(-outputs // LANES) if len(like.scales) else outputs
    for part, array, one in zip(Packed._fields, held, like, strict=True):
        count = outputs if part == "scales" else blocks
        shape = (count if len(one) else 0, *one.shape[1:])
        if (array.dtype, array.shape) != (one.dtype, shape):
            raise BadInput(
                f"{name}: {part} should be {list(shape)} in {held.format}, of {one.dtype}, not "
                f"{list(array.shape)} of {array.dtype}"
            )


def _embedding(config: ModelConfig, packs: Packs) -> Packed | np.ndarray:
    """The table of tokens, packed or not."""
    held, shape = packs.get(EMBEDDING), (config.vocab_size, config.hidden_size)
    if isinstance(held, Packed):
        _check_parts(EMBEDDING, held, *shape)
        return held
    return _array(packs, EMBEDDING, *shape)


def _array(packs: Packs, name: str, *shape: int) -> Float32[np.ndarray, ...]:
    """A vector or table that is not packed."""
    array = packs.get(name)
    if not isinstance(array, np.ndarray):
        raise BadInput(f"{name} should be an array, not {type(array).__name__}")
    if array.shape != shape:
        raise BadInput(f"{name} should be {list(shape)}, not {list(array.shape)}")
    return np.ascontiguousarray(array, np.float32)


def _laid_out(config: ModelConfig, packs: Packs) -> Any:
    """The model as the step reads it (`kernels.step.Model`)."""
    from unrolled.kernels.step import CHUNK, Model

    places = []
    for name in matrices(config):
        pack = packs[name]
        assert isinstance(pack, Packed)
        values, scales, groups = pack
        if not all(part.flags.c_contiguous for part in pack):
            raise BadInput(f"{name} should be contiguous in memory")
        places.append(
            [
                *(values.ctypes.data, *values.shape),
                *(scales.ctypes.data, *scales.shape),
                *(groups.ctypes.data, *groups.shape[:2]),
            ]
        )
        like = Packed(*(np.empty((0,) * part.ndim, part.dtype) for part in pack))
    layers, hidden = config.num_layers, config.hidden_size
    norms = np.zeros((2 * layers + 1, 2, hidden), np.float32)
    names = [f"stack.blocks.{i}.{n}_norm" for i in range(layers) for n in ("attention", "mlp")]
    for norm, name in zip(norms, [*names, "stack.norm"], strict=True):
        norm[0] = _array(packs, f"{name}.weight", hidden)
        if f"{name}.bias" in packs:
            norm[1] = _array(packs, f"{name}.bias", hidden)
    biases = np.empty((layers, 0), np.float32)
    if config.bias:
        sizes = {name: outputs for name, (outputs, _) in matrices(config).items()}
        made = [
            _array(packs, f"{block}.{n}.bias", sizes[f"{block}.{n}.weight"])
            for block in (f"stack.blocks.{i}" for i in range(layers))
            for n in LAYER
        ]
        biases = np.concatenate(made).reshape(layers, -1)
    cos = sin = np.empty((0, config.head_size // 2), np.float32)
    if config.positions == "rope":
        cos, sin = (table.numpy() for table in rotary_table(config))
    return Model(
        like, np.array(places, np.int64), norms, biases, cos, sin,
        np.ones(max(hidden, config.max_positions, CHUNK), np.float32),
        config.num_heads, config.kv_heads, config.head_size, np.float32(config.norm_eps),
        config.norm == "layernorm", config.activation == "swiglu",
    )  # fmt: skip
