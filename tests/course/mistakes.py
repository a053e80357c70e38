"""A dozen mistakes that students make, as changes to the solution, with what each should cost."""

from __future__ import annotations

from typing import NamedTuple


class Mistake(NamedTuple):
    name: str
    right: str
    wrong: str
    lost: dict[str, int]
    """Part, and how many of its tests fail."""


ATTENTION, WHOLE, MASKS = "GenericSelfAttention", "GenericTransformer", "Encoder and Decoder"
MISTAKES = (
    Mistake("no √d", " / math.sqrt(size)", "", {ATTENTION: 3}),
    Mistake("softmax over the wrong axis", "F.softmax(scores, dim=-1)", "F.softmax(scores, dim=-2)",
            {ATTENTION: 3}),
    Mistake("mask inverted", "attention_mask == 0", "attention_mask == 1", {ATTENTION: 4}),
    Mistake("heads joined without a transpose",
            ".transpose(1, 2).reshape(batch,", ".reshape(batch,",
            {ATTENTION: 3}),
    Mistake("final LayerNorm in the loop",
            'x = layer(x, attention_mask)\n        x = self.transformer["ln_f"](x)',
            'x = layer(x, attention_mask)\n            x = self.transformer["ln_f"](x)',
            {WHOLE: 2}),
    Mistake("a token too few", "for _ in range(max_new_tokens):\n        with",
            "for _ in range(max_new_tokens - 1):\n        with", {"generate": 3}),
    Mistake("greedy instead of sampling",
            "idx = torch.cat((idx, torch.multinomial(chances, num_samples=1)), dim=1)",
            "idx = torch.cat((idx, chances.argmax(-1, keepdim=True)), dim=1)", {"generate": 2}),
    Mistake("padding attended", "(columns < num_tokens[:, None]).int()",
            "(columns < 10 * num_tokens[:, None]).int()", {MASKS: 3}),
    Mistake("targets not shifted after a cache",
            "hidden_cache.shape[1] - 1", "hidden_cache.shape[1]",
            {WHOLE: 1}),
    Mistake("positions counted over the batch",
            "length = idx.shape[1]\n        places", "length = idx.shape[0]\n        places",
            {"Embedding": 2}),
    Mistake("missing dropout", "self.hidden_dropout(self.c_proj(joined))", "self.c_proj(joined)",
            {ATTENTION: 1}),
    Mistake("wrong device", "dtype=torch.long, device=prefix.device)",
            'dtype=torch.long, device="cuda")',
            {"prefix_generate": 2}),
    Mistake("no temperature", "logits[:, -1] / temperature, dim=-1)\n        idx",
            "logits[:, -1], dim=-1)\n        idx", {"generate": 1}),
    Mistake("the decoder looks ahead", "full_attention_mask.tril()", "full_attention_mask",
            {MASKS: 1}),
    Mistake("no residual connection", "return x + self.mlpf", "return self.mlpf",
            {"TransformerBlock": 2}),
    Mistake("the encoder is cut off", "hidden = self.encoder(prefix, return_hidden=True)",
            "hidden = self.encoder(prefix, return_hidden=True).detach()", {"EncoderDecoder": 1}),
    Mistake("the cache is empty", "hidden_cache=hidden)", "hidden_cache=hidden * 0)",
            {"EncoderDecoder": 2}),
)  # fmt: skip
