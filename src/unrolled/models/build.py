"""From a name and a config to a model with drawn weights."""

from __future__ import annotations

import torch

from unrolled.errors import BadInput
from unrolled.models.config import ModelConfig
from unrolled.models.decoder import Decoder
from unrolled.models.encoder import Encoder
from unrolled.models.encoder_decoder import EncoderDecoder
from unrolled.models.lstm import LSTMModel
from unrolled.models.stack import initialise

Model = Decoder | Encoder | EncoderDecoder | LSTMModel

ARCHITECTURES: dict[str, type[Decoder | Encoder | EncoderDecoder | LSTMModel]] = {
    "decoder": Decoder,
    "encoder": Encoder,
    "encoder-decoder": EncoderDecoder,
    "lstm": LSTMModel,
}


def build(architecture: str, config: ModelConfig, *, seed: int = 0) -> Model:
    """A new model; the same seed gives the same weights.

    Raises `BadInput` for an unknown architecture, for classes asked of a model that has none, and
    for sizes that the memory can't hold.
    """
    if architecture not in ARCHITECTURES:
        raise BadInput(
            f"unknown architecture {architecture!r}; there are {', '.join(ARCHITECTURES)}"
        )
    if config.num_classes and architecture not in ("encoder", "lstm"):
        raise BadInput(
            f"model.num_classes {config.num_classes} needs an encoder or an lstm, "
            f"not {architecture!r}"
        )
    if config.pattern is not None and architecture == "lstm":
        raise BadInput(f"model.attention {config.attention!r} needs a Transformer, not an lstm")
    prefixed = architecture == "encoder-decoder" and config.memory == "prefix"
    if config.pattern is not None and prefixed:
        raise BadInput(
            f"model.attention {config.attention!r} would hide most of a prefix from the target; "
            "take model.memory 'cross-attention', or model.attention 'full'"
        )
    if config.vocab_size < 1:
        raise BadInput("model.vocab_size must be at least 1; 0 needs a tokenizer to take it from")
    try:
        model = ARCHITECTURES[architecture](config)
    except (RuntimeError, MemoryError) as error:  # PyTorch's word for no memory is RuntimeError
        reason = str(error).partition("\n")[0]
        raise BadInput(
            f"a model of hidden_size {config.hidden_size}, vocab_size {config.vocab_size} and "
            f"max_positions {config.max_positions} can't be built here: {reason}"
        ) from None
    initialise(model, torch.Generator().manual_seed(seed), config.num_layers)
    return model
