"""h_t = W^T h_{t-1}: spectrum, growth, and gradients through time."""
