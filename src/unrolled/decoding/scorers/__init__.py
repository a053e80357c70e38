"""What else can be decoded? Tables, functions, Hugging Face models, exported graphs.

The scorers of Unrolled's own models stand beside the protocol, in `unrolled.decoding.scorer`.
"""

from unrolled.decoding.scorers.function import FunctionScorer
from unrolled.decoding.scorers.graph import GraphScorer
from unrolled.decoding.scorers.huggingface import CausalScorer, Seq2SeqScorer
from unrolled.decoding.scorers.table import TableScorer

__all__ = ["CausalScorer", "FunctionScorer", "GraphScorer", "Seq2SeqScorer", "TableScorer"]
