"""Which model? `ModelConfig` says it whole; an impossible combination is refused by field name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args, get_origin, get_type_hints

from unrolled.errors import BadInput
from unrolled.models.pattern import Pattern

Architecture = Literal["decoder", "encoder-decoder", "encoder", "lstm"]


def check_types(config: object, room: str) -> None:
    """Refuse, by its name, a field whose value is not of the type that it states.

    Covers the plain types and `Literal`; a whole number will do for a float.
    """
    for field, stated in get_type_hints(type(config)).items():
        value = getattr(config, field)
        if get_origin(stated) is Literal:
            good, expected = value in get_args(stated), " or ".join(map(str, get_args(stated)))
        else:
            allowed = (int, float) if stated is float else stated
            good = isinstance(value, allowed) and (stated is bool or not isinstance(value, bool))
            expected = f"of type {stated.__name__}"
        if not good:
            raise BadInput(f"{room}.{field} must be {expected}, not {value!r}")


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and options of a model; the same for all architectures."""

    vocab_size: int = 0
    """Number of tokens; 0 takes it from the tokenizer."""
    hidden_size: int = 128
    """Width of the residual stream (of the LSTM: of h and C)."""
    num_layers: int = 4
    """Number of blocks (an encoder–decoder has as many in each half)."""
    num_heads: int = 4
    """Query heads of an attention; each has hidden_size / num_heads dimensions."""
    num_kv_heads: int = 0
    """Key and value heads (Ainslie et al. 2023); 0 means as many as query heads."""
    intermediate_size: int = 0
    """Width inside the MLP; 0 means 4 × hidden_size for gelu, 8/3 of it for swiglu, in eights."""
    max_positions: int = 256
    """Longest sequence that the model takes, in tokens."""
    positions: Literal["rope", "learned", "sinusoidal"] = "rope"
    """Rotary (Su et al. 2021), learned, or sinusoidal (Vaswani et al. 2017, section 3.5)."""
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    """RMSNorm (Zhang and Sennrich 2019) or LayerNorm (Ba et al. 2016); always before the layer."""
    activation: Literal["swiglu", "gelu"] = "swiglu"
    """SwiGLU (Shazeer 2020) or the tanh form of GELU (Hendrycks and Gimpel 2016)."""
    bias: bool = False
    """Biases in the linear layers; with no-, none."""
    dropout: float = 0.0
    """Probability of dropping a value of the embeddings and of each layer's output, in [0, 1).
    Attention weights are not dropped: that would forbid the fused kernel."""
    tie_embeddings: bool = True
    """One matrix for embedding and output layer (Press and Wolf 2017); with no-, one for each."""
    norm_eps: float = 1e-5
    """Added to the variance in a norm."""
    rope_theta: float = 10_000.0
    """Base of the rotary wavelengths."""
    rope_factor: float = 1.0
    """Long rotary wavelengths are stretched by this factor, as Llama 3.1 does it to read further
    than it was trained (Grattafiori et al. 2024); 1: none is. The next three say which are long."""
    rope_low_frequency: float = 1.0
    """Waves that turn at most so often within rope_original_positions are stretched in full."""
    rope_high_frequency: float = 4.0
    """Waves that turn at least so often are left as they are; between the two it is blended."""
    rope_original_positions: int = 8192
    """Length of the sequences the model was trained on before."""
    memory: Literal["cross-attention", "prefix"] = "cross-attention"
    """How an encoder–decoder's decoder sees the source: cross-attention in every block (Vaswani
    et al. 2017), or the encoder's hidden states put before its own embeddings."""
    attention: str = "full"
    """Self-attention: full; window:128, the nearest positions only (Jiang et al. 2023; Beltagy et
    al. 2020); bigbird:64,2,3, a window, global tokens and random edges (Zaheer et al. 2020)."""
    num_classes: int = 0
    """Classes of an encoder's or LSTM's classification head; 0: it predicts tokens."""

    def __post_init__(self) -> None:
        """Refuse what no model can be built from."""
        check_types(self, "model")
        positive = ("hidden_size", "num_layers", "num_heads", "max_positions")
        for name in positive:
            if getattr(self, name) < 1:
                raise BadInput(f"model.{name} must be at least 1, not {getattr(self, name)}")
        for name in ("vocab_size", "num_kv_heads", "intermediate_size", "num_classes"):
            if getattr(self, name) < 0:
                raise BadInput(f"model.{name} must not be negative, and is {getattr(self, name)}")
        if self.hidden_size % self.num_heads:
            raise BadInput(
                f"model.num_heads must divide model.hidden_size: {self.hidden_size} / "
                f"{self.num_heads} is not whole"
            )
        if self.num_heads % self.kv_heads:
            raise BadInput(
                f"model.num_kv_heads must divide model.num_heads: {self.num_heads} / "
                f"{self.num_kv_heads} is not whole"
            )
        if self.positions == "rope" and self.head_size % 2:
            raise BadInput(
                f"model.positions 'rope' rotates pairs, so hidden_size / num_heads must be even, "
                f"not {self.head_size}"
            )
        if self.positions == "sinusoidal" and self.hidden_size % 2:
            raise BadInput(
                f"model.positions 'sinusoidal' needs an even model.hidden_size, not "
                f"{self.hidden_size}"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise BadInput(f"model.dropout must lie in [0, 1), not {self.dropout}")
        if not 0.0 < self.norm_eps < math.inf:
            raise BadInput(f"model.norm_eps must be positive, not {self.norm_eps}")
        if not 0.0 < self.rope_theta < math.inf:
            raise BadInput(f"model.rope_theta must be positive, not {self.rope_theta}")
        Pattern.parse(self.attention)
        self._check_rope_scaling()

    def _check_rope_scaling(self) -> None:
        if not 1.0 <= self.rope_factor < float("inf"):
            raise BadInput(f"model.rope_factor must be 1 or more, not {self.rope_factor}")
        if not 0.0 < self.rope_low_frequency < self.rope_high_frequency < float("inf"):
            raise BadInput(
                "model.rope_low_frequency must be positive and below model.rope_high_frequency, "
                f"not {self.rope_low_frequency} and {self.rope_high_frequency}"
            )
        if self.rope_original_positions < 1:
            raise BadInput(
                "model.rope_original_positions must be at least 1, not "
                f"{self.rope_original_positions}"
            )
        if self.rope_factor != 1.0 and self.positions != "rope":
            raise BadInput(
                f"model.rope_factor {self.rope_factor} needs model.positions 'rope', not "
                f"{self.positions!r}"
            )

    @property
    def pattern(self) -> Pattern | None:
        """The pattern of sparse self-attention; None: every position looks everywhere it may."""
        return Pattern.parse(self.attention)

    @property
    def head_size(self) -> int:
        """Dimensions of one head."""
        return self.hidden_size // self.num_heads

    @property
    def kv_heads(self) -> int:
        """Key and value heads, the default resolved."""
        return self.num_kv_heads or self.num_heads

    @property
    def mlp_size(self) -> int:
        """Width inside the MLP, the default resolved; both defaults cost the same products."""
        if self.intermediate_size:
            return self.intermediate_size
        if self.activation == "gelu":
            return 4 * self.hidden_size
        return -(-8 * self.hidden_size // 24) * 8
