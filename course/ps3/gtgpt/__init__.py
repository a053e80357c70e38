"""What the problem set's notebook builds on: layers with their weights, but without their forward.

The names and shapes of weights, the order in which they are drawn, and the configuration are those
of the published course, so that weights and exported files fit both. The design is that of GPT-2
(Radford et al. 2019): learned positions, LayerNorm before each part, tanh-GELU.
"""
