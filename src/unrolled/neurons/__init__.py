"""One threshold neuron for a truth table, or the proof that there is none."""

from unrolled.neurons.count import count
from unrolled.neurons.network import Network, network
from unrolled.neurons.neuron import ThresholdNeuron
from unrolled.neurons.separate import Inseparable, Separable, separate
from unrolled.neurons.truth_table import TruthTable

__all__ = [
    "Inseparable",
    "Network",
    "Separable",
    "ThresholdNeuron",
    "TruthTable",
    "count",
    "network",
    "separate",
]
