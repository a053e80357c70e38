"""The recurrent baseline: an LSTM language model behind the decoder's interface.

Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000 (`torch.nn.LSTM`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unrolled.models.batch import IGNORED, Batch
from unrolled.models.config import ModelConfig
from unrolled.models.stack import Head, check_company, check_tokens

State = tuple[Float[Tensor, "layers batch hidden"], Float[Tensor, "layers batch hidden"]]


class RecurrentState:
    """What an LSTM keeps of the past, h and C of every layer: a cache of fixed size."""

    def __init__(self, batch: int, state: State | None = None) -> None:
        self.batch, self.state = batch, state

    def branch(self) -> None:
        """As a `KeyValueCache` does; nothing here is shared."""

    def reorder(self, rows: Int[Tensor, " new"]) -> None:
        """Keep the given rows in the given order; a row may be dropped or doubled."""
        self.batch = len(rows)
        if self.state is not None:
            self.state = (self.state[0][:, rows], self.state[1][:, rows])


class LSTMModel(nn.Module):
    """Embedding, LSTM layers, output layer; or a class read from the last real state."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        between = config.dropout if config.num_layers > 1 else 0.0
        self.lstm = nn.LSTM(
            config.hidden_size,
            config.hidden_size,
            config.num_layers,
            batch_first=True,
            dropout=between,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head: Head | None = None
        self.classifier: nn.Linear | None = None
        if config.num_classes:
            self.classifier = nn.Linear(config.hidden_size, config.num_classes)
        else:
            self.head = Head(config, self.embedding)

    def make_cache(self, batch: int, capacity: int) -> RecurrentState:
        """An empty state; its size does not depend on how much it will read."""
        return RecurrentState(batch)

    def hidden(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        attention_mask: Bool[Tensor, "batch time"] | None = None,
        cache: RecurrentState | None = None,
    ) -> tuple[Float[Tensor, "batch time hidden"], State]:
        """H of the last layer at each position (at padding: of no meaning), and the last state.

        Padding, on whichever side, is not read: a row's state is that of the row alone.
        """
        x = self.dropout(self.embedding(tokens))
        before = None if cache is None else cache.state
        if attention_mask is None:
            out, state = self.lstm(x, before)
        else:
            out, state = self._ragged(x, attention_mask, before)
        if cache is not None:
            cache.state = state
        return self.dropout(out), state

    def _ragged(
        self,
        x: Float[Tensor, "batch time hidden"],
        real: Bool[Tensor, "batch time"],
        before: State | None,
    ) -> tuple[Float[Tensor, "batch time hidden"], State]:
        """Shift every row to the left edge, run without the padding, shift back."""
        order = (~real).long().argsort(dim=1, stable=True)
        index = order[..., None].expand_as(x)
        packed = pack_padded_sequence(
            x.gather(1, index), real.sum(1).cpu(), batch_first=True, enforce_sorted=False
        )
        out, state = self.lstm(packed, before)
        padded, _ = pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])
        return torch.zeros_like(padded).scatter(1, index, padded), state

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        attention_mask: Bool[Tensor, "batch time"] | None = None,
        cache: RecurrentState | None = None,
    ) -> Float[Tensor, "batch time vocab"] | Float[Tensor, "batch classes"]:
        """Logits of the token that follows each position, or of the row's class."""
        check_tokens(tokens, self.config, 0)
        check_company(tokens, self.config, attention_mask)
        hidden, state = self.hidden(tokens, attention_mask=attention_mask, cache=cache)
        if self.classifier is not None:
            scores: Tensor = self.classifier(state[0][-1])
            return scores
        assert self.head is not None
        logits: Tensor = self.head(hidden)
        return logits

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats, summed over the batch's targets."""
        if self.head is None:
            logits = self(batch.tokens, attention_mask=batch.attention_mask)
            return F.cross_entropy(logits.float(), batch.targets, reduction="sum")
        if batch.documents is not None:
            batch = one_document_a_row(batch)
        # Padding on the right is read after all that counts, so it need not be skipped.
        hidden, _ = self.hidden(batch.tokens)
        return self.head.summed_loss(hidden, batch.targets)


def one_document_a_row(batch: Batch) -> Batch:
    """Undo packing: a recurrent state must not run from one document into the next."""
    assert batch.documents is not None
    rows = torch.arange(len(batch.tokens), device=batch.tokens.device)[:, None]
    key = rows * (int(batch.documents.max()) + 2) + batch.documents
    _, lengths = key.flatten().unique_consecutive(return_counts=True)
    cut = lengths.tolist()

    def unpack(x: Int[Tensor, "batch time"], fill: int) -> Int[Tensor, "documents longest"]:
        pieces = x.flatten().split(cut)
        return nn.utils.rnn.pad_sequence(pieces, batch_first=True, padding_value=fill)

    return Batch(tokens=unpack(batch.tokens, 0), targets=unpack(batch.targets, IGNORED))
