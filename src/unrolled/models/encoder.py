"""An encoder: every position sees every other. It fills in masked tokens, or sorts into classes."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from unrolled.models.attention import bidirectional
from unrolled.models.batch import Batch
from unrolled.models.config import ModelConfig
from unrolled.models.decoder import place
from unrolled.models.fused import is_on
from unrolled.models.spans import spans
from unrolled.models.sparse import sparse_sight
from unrolled.models.stack import Head, Stack, check_company, check_tokens


class Encoder(nn.Module):
    """Bidirectional Transformer with a masked-language-model head or a classification head.

    Devlin et al. 2019; the class is read from the mean over real positions.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.stack = Stack(config)
        self.head: Head | None = None
        self.classifier: nn.Linear | None = None
        if config.num_classes:
            self.classifier = nn.Linear(config.hidden_size, config.num_classes)
        else:
            self.head = Head(config, self.stack.embedding)

    def hidden(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        attention_mask: Bool[Tensor, "batch time"] | None = None,
        documents: Int[Tensor, "batch time"] | None = None,
        positions: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time hidden"]:
        """Hidden states after the last norm; padding is looked at by nobody."""
        if attention_mask is not None and bool(attention_mask.all()):
            attention_mask = None
        if positions is None:
            positions = place(tokens.shape[1], 0, attention_mask, tokens.device)
        x = self.stack.embed(tokens, positions)
        pattern = self.config.pattern
        if pattern is None:
            sight = bidirectional(attention_mask, documents)
            if is_on(tokens.device):
                runs = spans(tokens.shape[1], documents, attention_mask, causal=False)
                sight = replace(sight, spans=runs)
        else:
            sight = sparse_sight(pattern, positions, attention_mask, documents, causal=False)
        hidden: Tensor = self.stack(x, sight, positions)
        return hidden

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        attention_mask: Bool[Tensor, "batch time"] | None = None,
        documents: Int[Tensor, "batch time"] | None = None,
        positions: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time vocab"] | Float[Tensor, "batch classes"]:
        """Logits of the token at each position, or of the row's class."""
        check_tokens(tokens, self.config, tokens.shape[1])
        check_company(tokens, self.config, attention_mask, documents, positions)
        hidden = self.hidden(
            tokens, attention_mask=attention_mask, documents=documents, positions=positions
        )
        return self.read(hidden, attention_mask)

    def read(
        self,
        hidden: Float[Tensor, "batch time hidden"],
        attention_mask: Bool[Tensor, "batch time"] | None,
    ) -> Tensor:
        """Apply the head that the model has."""
        if self.classifier is not None:
            return F.linear(
                mean_over_real(hidden, attention_mask), self.classifier.weight, self.classifier.bias
            )
        assert self.head is not None
        logits: Tensor = self.head(hidden)
        return logits

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats, summed over masked tokens, or over rows for a classifier."""
        hidden = self.hidden(
            batch.tokens,
            attention_mask=batch.attention_mask,
            documents=batch.documents,
            positions=batch.positions,
        )
        if self.head is not None:
            return self.head.summed_loss(hidden, batch.targets)
        logits = self.read(hidden, batch.attention_mask).float()
        return F.cross_entropy(logits, batch.targets, reduction="sum")


def mean_over_real(
    hidden: Float[Tensor, "batch time hidden"], attention_mask: Bool[Tensor, "batch time"] | None
) -> Float[Tensor, "batch hidden"]:
    """Mean over the positions that are not padding."""
    if attention_mask is None:
        return hidden.mean(1)
    weights = attention_mask.to(hidden.dtype)
    return torch.einsum("bth,bt->bh", hidden, weights) / weights.sum(1, keepdim=True)
