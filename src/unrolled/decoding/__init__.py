"""Decoding: from a model's next-token probabilities to a text."""

from unrolled.decoding.beam import beam_search
from unrolled.decoding.decoded import Decoded, Hypothesis
from unrolled.decoding.exact import exact_search
from unrolled.decoding.prefix_tree import Exact
from unrolled.decoding.rescore import rescore
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
    "Decoded",
    "DecoderScorer",
    "EncoderDecoderScorer",
    "Exact",
    "Hypothesis",
    "Sampled",
    "SamplingConfig",
    "Scorer",
    "TextStream",
    "alternatives",
    "beam_search",
    "exact_search",
    "rescore",
    "sample",
]
