"""Models: one attention, one block; encoder, decoder, encoder–decoder, and an LSTM beside them."""

from unrolled.models.build import Model, build
from unrolled.models.cache import KeyValueCache
from unrolled.models.config import Architecture, ModelConfig
from unrolled.models.decoder import Decoder
from unrolled.models.encoder import Encoder
from unrolled.models.encoder_decoder import EncoderDecoder
from unrolled.models.lstm import LSTMModel, RecurrentState
from unrolled.models.store import load, save

__all__ = [
    "Architecture",
    "Decoder",
    "Encoder",
    "EncoderDecoder",
    "KeyValueCache",
    "LSTMModel",
    "Model",
    "ModelConfig",
    "RecurrentState",
    "build",
    "load",
    "save",
]
