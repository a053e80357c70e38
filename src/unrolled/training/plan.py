"""What would it take to train a decoder at this size? Memory and time, by arithmetic alone.

Symbols: N parameters, L layers, h hidden_size, k = num_kv_heads · head size, a num_heads,
m intermediate_size, V vocab_size, T positions of a row, D tokens in all, n GPUs.

Time: Kaplan et al. 2020, section 2.1 and Hoffmann et al. 2022, appendix F (6ND), with attention as
Chowdhery et al. 2022, appendix B count it. Memory: the method of Korthikanti et al. 2022, section
4, applied to this package's own block: fused attention keeps no score matrix (a CPU's bfloat16 does
for short rows), the residual stream stays float32. Rajbhandari et al. 2020, section 3, for the
states and their sharding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unrolled.errors import BadInput
from unrolled.models.config import ModelConfig
from unrolled.models.cross_entropy import SMALLEST_CHUNK

CHINCHILLA = 20
"""Tokens a parameter that make the least loss for the compute (Hoffmann et al. 2022, table 3)."""
FLOAT, HALF = 4, 2
"""Bytes of a float32 and of a bfloat16."""


@dataclass(frozen=True)
class Scale:
    """How much is trained, and on what."""

    gpus: int = 64
    """GPUs, one process each."""
    gpu_memory: float = 80.0
    """Memory of one GPU, in GB (10^9 bytes)."""
    gpu_tflops: float = 312.0
    """Peak of one GPU in the chosen precision, in TFLOP/s (312: an A100's dense bfloat16)."""
    utilisation: float = 0.4
    """Share of that peak that is reached: an assumption, not a measurement."""
    tokens: int = 0
    """Tokens of the whole training; 0: 20 a parameter (Hoffmann et al. 2022)."""
    tokens_per_step: int = 524_288
    """Tokens of one step, over all GPUs."""
    accumulate: int = 1
    """Parts that a GPU's share of a step is computed in, one behind the other."""
    row_length: int = 0
    """Positions of a row; 0: model.max_positions."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Number format of the products; the weights are float32 in both."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """AdamW keeps two numbers a weight, Muon one for the matrices inside the blocks."""

    def __post_init__(self) -> None:
        """Refuse what is no size."""
        for name in ("gpus", "tokens_per_step", "accumulate"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("tokens", "row_length"):
            if getattr(self, name) < 0:
                raise BadInput(f"{name} must be 0 or more, not {getattr(self, name)}")
        for name in ("gpu_memory", "gpu_tflops"):
            if not 0 < getattr(self, name) < float("inf"):
                raise BadInput(f"{name} must be positive, not {getattr(self, name)}")
        if not 0 < self.utilisation <= 1:
            raise BadInput(f"utilisation is a share, above 0 and at most 1: {self.utilisation}")


@dataclass(frozen=True)
class Part:
    """One line of what a GPU holds, in bytes: every process with all of it, or with a share."""

    name: str
    formula: str
    ddp: float
    fsdp: float


@dataclass(frozen=True)
class Plan:
    """What training needs."""

    parameters: int
    flop_per_token: int
    """Forward and backward pass."""
    tokens: int
    steps: int
    rows_per_gpu: int
    """Rows that a GPU computes at once."""
    seconds: float
    memory: list[Part]

    def total(self, way: Literal["ddp", "fsdp"]) -> float:
        """Bytes a GPU."""
        return float(sum(getattr(part, way) for part in self.memory))


def make_plan(model: ModelConfig, scale: Scale) -> Plan:
    """Memory a GPU and time of a training.

    Raises `BadInput` where a step can't be divided into whole rows among the GPUs.
    """
    if model.vocab_size < 1:
        raise BadInput("model.vocab_size must be stated: there is no tokenizer to take it from")
    length = scale.row_length or model.max_positions
    if length > model.max_positions:
        raise BadInput(f"row_length {length} is above model.max_positions {model.max_positions}")
    unit = length * scale.gpus * scale.accumulate
    rows, rest = divmod(scale.tokens_per_step, unit)
    if rest or not rows:
        raise BadInput(
            f"tokens_per_step {scale.tokens_per_step:,} is no multiple of row_length × gpus × "
            f"accumulate = {length} × {scale.gpus} × {scale.accumulate} = {unit:,}: "
            f"try {max(1, rows) * unit:,}"
        )
    count = parameter_count(model)
    tokens = scale.tokens or CHINCHILLA * count
    flop = flop_per_token(model, length)
    rate = scale.gpus * scale.gpu_tflops * 1e12 * scale.utilisation
    return Plan(
        parameters=count,
        flop_per_token=flop,
        tokens=tokens,
        steps=-(-tokens // scale.tokens_per_step),
        rows_per_gpu=rows,
        seconds=tokens * flop / rate,
        memory=memory(model, scale, rows, length),
    )


def block_matrices(model: ModelConfig) -> int:
    """Weights in the products of one block: h(h + 2k) + h² + h·m·(3 for swiglu, 2 for gelu)."""
    h, k = model.hidden_size, model.kv_heads * model.head_size
    halves = 3 if model.activation == "swiglu" else 2
    return h * (h + 2 * k) + h * h + halves * h * model.mlp_size


def block_parameters(model: ModelConfig) -> int:
    """All weights of one block: its matrices, two norms, and the biases where there are any.

    A norm has h weights, and LayerNorm with `bias` h more. Biases stand at the outputs of the four
    products: h + 2k, h, m (swiglu: 2m) and h.
    """
    h, k = model.hidden_size, model.kv_heads * model.head_size
    inner = model.mlp_size * (2 if model.activation == "swiglu" else 1)
    biases = (h + 2 * k) + h + inner + h if model.bias else 0
    return block_matrices(model) + 2 * norm_parameters(model) + biases


def norm_parameters(model: ModelConfig) -> int:
    """Weights of one norm."""
    return model.hidden_size * (2 if model.norm == "layernorm" and model.bias else 1)


def parameter_count(model: ModelConfig) -> int:
    """N of a decoder: L blocks, the last norm, V·h for the embedding and, untied, as many again.

    Learned positions add max_positions · h.
    """
    tables = 1 if model.tie_embeddings else 2
    positions = model.max_positions if model.positions == "learned" else 0
    outside = (tables * model.vocab_size + positions) * model.hidden_size + norm_parameters(model)
    return model.num_layers * block_parameters(model) + outside


def flop_per_token(model: ModelConfig, length: int) -> int:
    """Floating-point operations of one token's forward and backward pass, in rows of `length`.

    Every weight of a product takes a multiplication and an addition forward and twice that backward
    (gradients of input and weight): 6 a weight, the output layer's V·h included, embeddings not.
    Attention takes two products of T·h numbers with T positions a layer, so 4·T·h forward and three
    times that in all: 12·L·h·T. A causal kernel may skip up to half of it; by convention it is
    counted whole. Recomputation inside fused kernels, norms and activations are not counted.
    """
    products = model.num_layers * block_matrices(model) + model.vocab_size * model.hidden_size
    return 6 * products + 12 * model.num_layers * model.hidden_size * length


def activations_per_token(model: ModelConfig, *, half: bool) -> int:
    """Bytes that one block keeps of one token between its forward and its backward pass.

    Float32 whatever the precision: each norm's input and (RMSNorm) its normed copy before the
    weights, h each; a number or two a norm, and the softmax's a sums. In the products' format (4
    bytes, or 2 under bfloat16): the two norms' outputs h; queries, keys and values h + 2k, rotated
    queries and keys h + k more; the attention's output h; gate, up, silu(gate) and their product
    4m, or for gelu 2m; dropout's two masks h.
    """
    h, k = model.hidden_size, model.kv_heads * model.head_size
    rms, swiglu = model.norm == "rmsnorm", model.activation == "swiglu"
    whole = (4 if rms else 2) * h + (2 if rms else 4) + model.num_heads
    rotated = h + k if model.positions == "rope" else 0
    masks = 2 * h if model.dropout else 0
    products = 2 * h + (h + 2 * k) + rotated + h + (4 if swiglu else 2) * model.mlp_size + masks
    return FLOAT * whole + (HALF if half else FLOAT) * products


def activation_bytes(model: ModelConfig, tokens: int, *, half: bool) -> int:
    """Bytes that are kept of `tokens` tokens: all blocks, ids, the last norm, the loss's gradient.

    Outside the blocks: the id (8 bytes) and its dropout mask, the last norm's input and normed
    copy, and the gradient of the hidden state that the chunked loss makes on its way, h each.
    """
    outside = 3 + (1 if model.dropout else 0) - (0 if model.norm == "rmsnorm" else 1)
    block = activations_per_token(model, half=half)
    return tokens * (model.num_layers * block + 8 + FLOAT * outside * model.hidden_size)


def loss_bytes(model: ModelConfig) -> int:
    """The chunked loss: the output weights' gradient twice, and one chunk of logits.

    The gradient is made with the loss and scaled into a second copy in the backward pass; a chunk
    is max(256, 2h) rows of V float32 (`models/cross_entropy.py`).
    """
    rows = max(SMALLEST_CHUNK, 2 * model.hidden_size)
    return FLOAT * model.vocab_size * (2 * model.hidden_size + rows)


def memory(model: ModelConfig, scale: Scale, rows: int, length: int) -> list[Part]:
    """What one GPU holds at most, part by part, with DDP and with FSDP.

    DDP keeps everything in every process, and a second copy of the gradients in its buckets. FSDP
    keeps a share of 1/n, and gathers what it works on: the embeddings, and two blocks (one of them
    ahead) with the gradients of one. Activations are a process's own in both; while one block is
    gone back through, each of its activations has a gradient as large. A checkpoint is
    copied on the device before it is written. Not counted: the allocator's fragments and what CUDA
    and its libraries take for themselves (about 1 GB).
    """
    count, block = parameter_count(model), block_parameters(model)
    half = scale.precision == "bfloat16"
    inner = model.num_layers * block_matrices(model) if scale.optimizer == "muon" else 0
    moments = FLOAT * (2 * (count - inner) + inner)
    outside = count - model.num_layers * block
    tokens = rows * length
    act = activation_bytes(model, tokens, half=half)
    moment_words = "8 N" if not inner else "8 N - 4 (weights of the blocks' matrices)"
    states = [
        ("weights", "4 N", FLOAT * count),
        ("gradients", "4 N", FLOAT * count),
        ("optimizer", moment_words, moments),
        ("copy for a checkpoint", "weights + optimizer", FLOAT * count + moments),
    ]
    parts = [Part(name, words, size, size / scale.gpus) for name, words, size in states]
    gathered = FLOAT * (outside + 3 * block) if scale.gpus > 1 else 0
    buckets = FLOAT * count if scale.gpus > 1 else 0
    parts.append(Part("between GPUs", "4 N, or embeddings + 3 blocks", buckets, gathered))
    if half:
        copies = HALF * count
        parts.append(Part("bfloat16 copies", "2 N", copies, copies))
    work = tokens * activations_per_token(model, half=half)
    parts.append(Part("one block's gradients", "of its activations, at most", work, work))
    words = f"{rows} × {length} tokens × L × {activations_per_token(model, half=half):,} + ends"
    parts.append(Part("activations", words, act, act))
    lost = loss_bytes(model)
    parts.append(Part("loss", "4 V (2 h + max(256, 2 h))", lost, lost))
    return parts
