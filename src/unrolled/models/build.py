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

    Raises `BadInput` for an unknown architecture, and for classes asked of a model that has none.
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
    model = ARCHITECTURES[architecture](config)
    initialise(model, torch.Generator().manual_seed(seed), config.num_layers)
    return model
