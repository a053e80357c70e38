"""How is a decoder run with packed weights? By the compiled step of `kernels`, fed from here.

    packed = PackedDecoder.of(model, "int8")                a `Decoder`, its matrices packed here
    packed = packed_decoder(model.config, packs)            or from packs made before, by name
    slots, log_probs = packed.start([[5, 3], [7]])          prompts of any lengths, no padding
    log_probs = packed.step(slots, parents, tokens)         row i continues row parents[i]
    refusal(model)                                          why a model can't go this way, or None

`packs` names every parameter as the `Decoder` does (`stack.blocks.0.attention.qkv.weight`): what
`matrices` lists as a `Packed`, those of the layers of one format, the rest as float32 arrays. An
embedding of its own (not tied to the head) may be either. Arrays are used where they are, not
copied, and must not change. Where numba is missing or a model is refused, the ordinary `Decoder`
with Ŵ (`kernels.formats.unpack`) in the place of W gives the same answers, but for the rounding of
activations to 8 bits in the integer formats.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Int32, Integer
from torch import Tensor

from unrolled.errors import BadInput
from unrolled.kernels import no_numba
from unrolled.kernels.formats import WHOLE, Packed, empty, groups, pack, quantised, unpack
from unrolled.models.batch import IGNORED, Batch, segments
from unrolled.models.calibration import input_sizes
from unrolled.models.config import ModelConfig
from unrolled.models.laid_out import (
    EMBEDDING,
    LAYER,
    Packs,
    array_of,
    checked,
    embedding,
    format_for,
    laid_out,
    matrices,
    multiplied,
)
from unrolled.models.slots import Slots
from unrolled.models.stack import check_tokens, sinusoids

if TYPE_CHECKING:
    from unrolled.models.decoder import Decoder

BLOCK = 256
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


def pack_model(model: Decoder, weights: str) -> dict[str, Packed | np.ndarray]:
    """A decoder's parameters as `packed_decoder` takes them, the matrices in a format.

    In the integer formats it first writes some text (see `calibration`). Raises `BadInput` for an
    unknown format, and weights that are no numbers.
    """
    packed = {*matrices(model.config), EMBEDDING}
    sizes = input_sizes(model) if weights in WHOLE else {}
    arrays = ((n, p.detach().float().numpy()) for n, p in model.named_parameters())
    return {
        name: pack(array, format_for(name, weights), sizes.get(name)) if name in packed else array
        for name, array in arrays
    }


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
        self.format = checked(config, packs)
        self.threads = threads or min(torch.get_num_threads(), os.cpu_count() or 1)
        self.team = Team(self.threads)
        self.model = laid_out(config, packs)
        self.embedding = embedding(config, packs)
        self.added: Float32[np.ndarray, "positions hidden"] | None = None
        if config.positions == "learned":
            self.added = array_of(
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
        from unrolled.kernels.arrays import Rows
        from unrolled.kernels.compiling import telling
        from unrolled.kernels.step import step

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
        from unrolled.kernels.arrays import Work

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
        """The arrays of `kernels.arrays.Work`."""
        from unrolled.kernels.arithmetic import SUMS
        from unrolled.kernels.arrays import CHUNK
        from unrolled.kernels.heads import TOGETHER

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
