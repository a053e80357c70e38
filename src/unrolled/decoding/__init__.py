"""Decoding: from a model's next-token probabilities to a text."""

from unrolled.decoding.sampling import (
    Alternative,
    Sampled,
    SamplingConfig,
    alternatives,
    sample,
)
from unrolled.decoding.scorer import DecoderScorer, EncoderDecoderScorer, Scorer
from unrolled.decoding.streaming import TextStream

__all__ = [
    "Alternative",
    "DecoderScorer",
    "EncoderDecoderScorer",
    "Sampled",
    "SamplingConfig",
    "Scorer",
    "TextStream",
    "alternatives",
    "sample",
]
