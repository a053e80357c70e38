"""What else can be decoded? Tables, functions, foreign models, exported graphs, packed weights.

The scorers of Unrolled's own models stand beside the protocol, in `unrolled.decoding.scorer`.
"""

from unrolled.decoding.scorers.function import FunctionScorer
from unrolled.decoding.scorers.graph import GraphScorer
from unrolled.decoding.scorers.huggingface import CausalScorer, Seq2SeqScorer
from unrolled.decoding.scorers.packed import PackedScorer
from unrolled.decoding.scorers.table import TableScorer

__all__ = [
    "CausalScorer",
    "FunctionScorer",
    "GraphScorer",
    "PackedScorer",
    "Seq2SeqScorer",
    "TableScorer",
]
