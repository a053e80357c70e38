"""Decoding: from a model's next-token probabilities to a text."""

from unrolled.decoding.sampling import Sampled, SamplingConfig, sample
from unrolled.decoding.scorer import DecoderScorer, EncoderDecoderScorer, Scorer

__all__ = [
    "DecoderScorer",
    "EncoderDecoderScorer",
    "Sampled",
    "SamplingConfig",
    "Scorer",
    "sample",
]
